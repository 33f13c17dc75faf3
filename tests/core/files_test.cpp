#include "core/files.h"

#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/expect_error.h"
#include "tests/full_disk.h"
#include "tests/temp_folder.h"

namespace {
int flock_error = 0;  // 0: none
}

/// Takes the place of the C library's, so that a test can have the errors of other file systems.
extern "C" int flock(int descriptor, int operation) noexcept {
  if (flock_error == 0) return static_cast<int>(syscall(SYS_flock, descriptor, operation));
  errno = flock_error;
  return -1;
}

namespace sgdscope {
namespace {

std::vector<std::string> NamesIn(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST(Files, RoundTrip) {
  const TempFolder folder;
  const auto path = folder / "file";
  const std::string long_text(3'000'000, 'x');
  for (const std::string& text : {std::string(), std::string("a\0b\n", 4), long_text}) {
    WriteFileAtomically(path, text);
    EXPECT_EQ(ReadFile(path), text);
    EXPECT_EQ(NamesIn(folder.path()), std::vector<std::string>{"file"});
  }
}

TEST(Files, WritesPartsInOrder) {
  const TempFolder folder;
  const std::vector<std::string_view> parts = {"one ", "", "two ", "three"};
  WriteFileAtomically(folder / "file", parts);
  EXPECT_EQ(ReadFile(folder / "file"), "one two three");
}

TEST(Files, WritesToTheCurrentFolder) {
  const TempFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  WriteFileAtomically("file", std::string_view("text"));
  std::filesystem::current_path(before);
  EXPECT_EQ(ReadFile(folder / "file"), "text");
}

TEST(Files, ReadsFilesWithoutASize) {
  EXPECT_NE(ReadFile("/proc/self/status").find("Name:"), std::string::npos);
}

TEST(Files, ReadErrorsNameTheFileAndTheReason) {
  const TempFolder folder;
  ExpectError(ErrorKind::kData, {"missing", "No such file"}, [&] { ReadFile(folder / "missing"); });
  ExpectError(ErrorKind::kData, {folder.path().string(), "Is a directory"},
              [&] { ReadFile(folder.path()); });
  ExpectError(ErrorKind::kResource, {"missing", "No such file", "do this"},
              [&] { ReadFile(folder / "missing", ErrorKind::kResource, "do this"); });
}

/// A name that is there, and that the system cannot follow: for root as for everybody.
void MakeLoop(const std::filesystem::path& path) {
  std::filesystem::create_symlink(path.filename(), path);
}

TEST(Files, WhatTheSystemCannotTellIsAnErrorAndNotAnAbsence) {
  const TempFolder folder;
  MakeLoop(folder / "loop");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  WriteFileAtomically(folder / "file", std::string_view("text"));
  std::filesystem::create_symlink("file", folder / "link");

  EXPECT_TRUE(Exists(folder / "file"));
  EXPECT_TRUE(Exists(folder / "dangling"));
  EXPECT_TRUE(Exists(folder / "loop"));
  EXPECT_FALSE(Exists(folder / "missing"));
  EXPECT_FALSE(Exists(folder / "file/below"));
  ExpectError(ErrorKind::kResource, {"loop/below", "symbolic links", "Nothing was changed"},
              [&] { Exists(folder / "loop/below"); });

  EXPECT_TRUE(IsFile(folder / "link"));
  EXPECT_FALSE(IsFile(folder.path()));
  EXPECT_FALSE(IsFile(folder / "missing"));
  ExpectError(ErrorKind::kResource, {"loop", "symbolic links"}, [&] { IsFile(folder / "loop"); });

  EXPECT_EQ(FilesIn(folder.path()),
            (std::vector<std::filesystem::path>{folder / "dangling", folder / "file",
                                                folder / "link", folder / "loop"}));
  EXPECT_TRUE(FilesIn(folder / "missing").empty());
  for (const std::string name : {"loop", "dangling"}) {
    ExpectError(ErrorKind::kResource, {name, "cannot list", "--overwrite"},
                [&] { FilesIn(folder / name); });
  }
  ExpectError(ErrorKind::kConfig, {"file", "in the way", "--output"},
              [&] { FilesIn(folder / "file"); });
}

TEST(Files, AFailingWriteLeavesTheOldContent) {
  const TempFolder folder;
  const auto path = folder / "file";
  WriteFileAtomically(path, std::string_view("old"));
  std::string message;
  {
    const FullDisk full(1000);
    try {
      WriteFileAtomically(path, std::string(2000, 'n'));
    } catch (const Error& error) {
      message = error.what();
      if (error.kind() != ErrorKind::kResource) message += " of another kind";
    }
  }
  EXPECT_EQ(message, path.string() +
                         ".tmp: cannot write: File too large\n  Free space (or raise the quota or "
                         "the file size limit), then continue with --resume.");
  EXPECT_EQ(ReadFile(path), "old");
  EXPECT_EQ(NamesIn(folder.path()), std::vector<std::string>{"file"});
}

TEST(Files, AFailingRenameRemovesTheTemporaryFile) {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "taken/inside");
  ExpectError(ErrorKind::kResource, {"taken", "put the new file in place"},
              [&] { WriteFileAtomically(folder / "taken", std::string_view("text")); });
  EXPECT_EQ(NamesIn(folder.path()), std::vector<std::string>{"taken"});
}

TEST(Files, AMissingFolderIsNamed) {
  const TempFolder folder;
  ExpectError(ErrorKind::kResource,
              {"nowhere/file", "No such file", "Check that the folder exists"},
              [&] { WriteFileAtomically(folder / "nowhere/file", std::string_view("text")); });
}

// What a crash in the middle of an earlier write left behind must neither disturb nor stay.
TEST(Files, ReplacesATemporaryFileOfAnEarlierCrash) {
  const TempFolder folder;
  std::ofstream(folder / "file.tmp") << "much longer than the new content";
  WriteFileAtomically(folder / "file", std::string_view("new"));
  EXPECT_EQ(ReadFile(folder / "file"), "new");
  EXPECT_EQ(NamesIn(folder.path()), std::vector<std::string>{"file"});
}

TEST(FolderLock, ExcludesASecondHolderUntilReleased) {
  const TempFolder folder;
  std::optional<FolderLock> lock(folder.path());
  ExpectError(ErrorKind::kConfig, {folder.path().string(), "another process", "--output"},
              [&] { FolderLock second(folder.path()); });
  lock.reset();
  FolderLock third(folder.path());
}

TEST(FolderLock, IsReleasedByKill) {
  const TempFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    if (write(ready[1], "x", 1) != 1) _exit(1);
    while (true) pause();
  }
  close(ready[1]);
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  EXPECT_THROW(FolderLock second(folder.path()), Error);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  FolderLock third(folder.path());
}

// A program that the run starts must not keep the folder locked after it.
TEST(FolderLock, IsNotInheritedByPrograms) {
  const TempFolder folder;
  std::optional<FolderLock> lock(folder.path());
  int hold[2];
  ASSERT_EQ(pipe(hold), 0);
  int started[2];
  ASSERT_EQ(pipe(started), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(hold[0], 0);
    dup2(started[1], 1);
    close(hold[1]);
    execl("/bin/sh", "sh", "-c", "echo; read line", nullptr);
    _exit(1);
  }
  close(started[1]);
  char byte;
  ASSERT_EQ(read(started[0], &byte, 1), 1);  // the program runs
  lock.reset();
  FolderLock second(folder.path());
  close(hold[1]);
  close(hold[0]);
  close(started[0]);
  waitpid(child, nullptr, 0);
}

TEST(FolderLock, AFileSystemWithoutLocksIsAWarningWithTheReason) {
  const TempFolder folder;
  EXPECT_EQ(FolderLock(folder.path()).warning(), "");
  for (const int error : {ENOSYS, ENOLCK, EOPNOTSUPP, EINVAL}) {
    flock_error = error;
    const std::string warning = FolderLock(folder.path()).warning();
    flock_error = 0;
    for (const std::string& part : {folder.path().string(), std::string(std::strerror(error))}) {
      EXPECT_NE(warning.find(part), std::string::npos) << warning;
    }
  }
}

TEST(FolderLock, AnotherFailureIsAnErrorWithTheReason) {
  const TempFolder folder;
  for (const int error : {EIO, ESTALE}) {
    flock_error = error;
    ExpectError(ErrorKind::kResource, {".lock", std::strerror(error), "--output"},
                [&] { FolderLock lock(folder.path()); });
    flock_error = 0;
  }
}

TEST(FolderLock, NamesAMissingFolder) {
  const TempFolder folder;
  ExpectError(ErrorKind::kResource, {"nowhere", "No such file"},
              [&] { FolderLock lock(folder / "nowhere"); });
}

}  // namespace
}  // namespace sgdscope
