#include "core/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "core/error.h"
#include "core/posix.h"

namespace sgdscope {
namespace {

/// Whether an error of lstat, open or opendir says that nothing of that name is there.
bool IsAbsent(int code) { return code == ENOENT || code == ENOTDIR; }

/// Whether an error of flock says that the file system has no locks.
bool HasNoLocks(int code) {
  return code == ENOSYS || code == ENOLCK || code == EOPNOTSUPP || code == EINVAL;
}

void WriteAndSync(const std::filesystem::path& path, std::span<const std::string_view> parts) {
  const Descriptor file(OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC));
  if (file.get() < 0) throw WriteError(path, "create the file");
  for (const std::string_view part : parts) {
    if (WriteAll(file.get(), part) < part.size()) {
      throw WriteError(path, "write");
    }
  }
  if (fsync(file.get()) != 0) throw WriteError(path, "bring to disk");
}

// Makes a rename survive a power cut. Some network file systems cannot do it; the file is whole
// anyway.
void SyncFolderOf(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const Descriptor descriptor(OpenFile(folder, O_RDONLY | O_DIRECTORY));
  if (descriptor.get() >= 0) fsync(descriptor.get());
}

}  // namespace

Descriptor::~Descriptor() {
  if (value_ >= 0) close(value_);
}

int OpenFile(const std::filesystem::path& path, int flags) {
  int descriptor;
  do {
    descriptor = open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

size_t WriteAll(int descriptor, std::string_view text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = write(descriptor, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    done += count;
  }
  return done;
}

Error SystemError(ErrorKind kind, const std::filesystem::path& path, const std::string& action,
                  const std::string& hint) {
  return Error(kind, path.string(), "cannot " + action + ": " + std::strerror(errno), hint);
}

Error WriteError(const std::filesystem::path& path, const std::string& action) {
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  return SystemError(ErrorKind::kResource, path, action,
                     full ? "Free space (or raise the quota or the file size limit), then continue "
                            "with --resume."
                          : "Check that the folder exists and that you may write to it.");
}

std::string ReadFile(const std::filesystem::path& path, ErrorKind kind, const std::string& hint) {
  const Descriptor file(OpenFile(path, O_RDONLY));
  if (file.get() < 0) throw SystemError(kind, path, "open the file", hint);
  struct stat status;
  if (fstat(file.get(), &status) != 0) throw SystemError(kind, path, "read", hint);
  // One byte more than the size, so that the read which finds the end needs no more room. The size
  // is only a guess: for pipes and /proc it is 0.
  std::string content(static_cast<size_t>(status.st_size) + 1, '\0');
  size_t length = 0;
  while (true) {
    const ssize_t count = read(file.get(), content.data() + length, content.size() - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw SystemError(kind, path, "read", hint);
    if (count == 0) break;
    length += count;
    if (length == content.size()) content.resize(2 * length);
  }
  content.resize(length);
  return content;
}

bool Exists(const std::filesystem::path& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) == 0) return true;
  if (IsAbsent(errno)) return false;
  throw SystemError(ErrorKind::kResource, path, "look at it", kMakeReadable);
}

bool IsFile(const std::filesystem::path& path) {
  struct stat status;
  if (stat(path.c_str(), &status) == 0) return S_ISREG(status.st_mode);
  if (IsAbsent(errno)) return false;
  throw SystemError(ErrorKind::kResource, path, "look at it", kMakeReadable);
}

std::vector<std::filesystem::path> FilesIn(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  if (!Exists(folder)) return files;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    files.push_back(entry->path());
  }
  if (error == std::errc::not_a_directory) {
    throw Error(ErrorKind::kConfig, folder.string(), "is in the way: a run needs a folder here",
                "Move it away, or choose another folder with --output.");
  }
  if (error) {
    throw Error(ErrorKind::kResource, folder.string(), "cannot list: " + error.message(),
                kMakeReadable);
  }
  std::ranges::sort(files);
  return files;
}

void WriteFileAtomically(const std::filesystem::path& path, std::string_view content) {
  WriteFileAtomically(path, std::span(&content, 1));
}

void WriteFileAtomically(const std::filesystem::path& path,
                         std::span<const std::string_view> parts) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  try {
    WriteAndSync(temporary, parts);
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
      throw WriteError(path, "put the new file in place");
    }
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  SyncFolderOf(path);
}

FolderLock::FolderLock(const std::filesystem::path& folder) {
  const auto path = folder / ".lock";
  descriptor_ = OpenFile(path, O_RDWR | O_CREAT);
  if (descriptor_ < 0) throw WriteError(path, "create the lock file");
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;

  const int code = errno;
  if (HasNoLocks(code)) {
    warning_ = folder.string() + ": this file system has no locks (" + std::strerror(code) +
               "), so nothing keeps a second process out of the folder: start only one at a time";
    return;
  }
  close(descriptor_);
  if (code == EWOULDBLOCK) {
    throw Error(ErrorKind::kConfig, folder.string(), "another process is using this folder",
                "Wait until it ends, or choose another folder with --output.");
  }
  errno = code;
  throw SystemError(ErrorKind::kResource, path, "lock the folder",
                    "Try again, or choose a folder on another file system with --output.");
}

FolderLock::~FolderLock() { close(descriptor_); }

}  // namespace sgdscope
