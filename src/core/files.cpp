#include "core/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "core/posix.h"

namespace sgdscope {
namespace {

const char* HintFor(ErrorKind kind, int code) {
  if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
    return "Free space (or raise the quota or the file size limit), then continue with --resume.";
  }
  if (kind == ErrorKind::kData) return "Check that the path is right and that you may read it.";
  return "Check that the folder exists and that you may write to it.";
}

void WriteAndSync(const std::filesystem::path& path, std::span<const std::string_view> parts) {
  const Descriptor file(OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC));
  if (file.get() < 0) throw SystemError(ErrorKind::kResource, path, "create the file");
  for (const std::string_view part : parts) {
    if (WriteAll(file.get(), part) < part.size()) {
      throw SystemError(ErrorKind::kResource, path, "write");
    }
  }
  if (fsync(file.get()) != 0) throw SystemError(ErrorKind::kResource, path, "bring to disk");
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

Error SystemError(ErrorKind kind, const std::filesystem::path& path, const std::string& action) {
  const int code = errno;
  return Error(kind, path.string(), "cannot " + action + ": " + std::strerror(code),
               HintFor(kind, code));
}

std::string ReadFile(const std::filesystem::path& path) {
  const Descriptor file(OpenFile(path, O_RDONLY));
  if (file.get() < 0) throw SystemError(ErrorKind::kData, path, "open the file");
  struct stat status;
  if (fstat(file.get(), &status) != 0) throw SystemError(ErrorKind::kData, path, "read");
  // One byte more than the size, so that the read which finds the end needs no more room. The size
  // is only a guess: for pipes and /proc it is 0.
  std::string content(static_cast<size_t>(status.st_size) + 1, '\0');
  size_t length = 0;
  while (true) {
    const ssize_t count = read(file.get(), content.data() + length, content.size() - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw SystemError(ErrorKind::kData, path, "read");
    if (count == 0) break;
    length += count;
    if (length == content.size()) content.resize(2 * length);
  }
  content.resize(length);
  return content;
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
      throw SystemError(ErrorKind::kResource, path, "put the new file in place");
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
  if (descriptor_ < 0) throw SystemError(ErrorKind::kResource, path, "create the lock file");
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;

  const bool held = errno == EWOULDBLOCK;
  const Error error = SystemError(ErrorKind::kResource, path, "lock the folder");
  close(descriptor_);
  if (!held) throw error;
  throw Error(ErrorKind::kConfig, folder.string(), "another process is using this folder",
              "Wait until it ends, or choose another folder with --output.");
}

FolderLock::~FolderLock() { close(descriptor_); }

}  // namespace sgdscope
