#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace sgdscope {

/// What to do about files of a run that the system cannot read.
inline constexpr const char* kMakeReadable =
    "Nothing was changed. Make it readable and try again; --overwrite starts the run anew.";

/// The whole content of a file. Error `kind` with the system's reason and `hint` if it can't be
/// read.
std::string ReadFile(
    const std::filesystem::path& path, ErrorKind kind = ErrorKind::kData,
    const std::string& hint = "Check that the path is right and that you may read it.");

/// Whether there is a file, folder or link of this name, even a broken one. Error kResource if the
/// system cannot tell.
bool Exists(const std::filesystem::path& path);

/// Whether it is a file, or a link to one. Error kResource if the system cannot tell.
bool IsFile(const std::filesystem::path& path);

/// What lies in a folder, by name; nothing if there is no folder. Error kConfig if it is none, and
/// kResource if the system cannot tell.
std::vector<std::filesystem::path> FilesIn(const std::filesystem::path& folder);

/// Writes a file so that a reader, or a crash at any moment, sees the old content or the new, never
/// a part: temporary name, fsync, rename, fsync of the folder. Error kResource names the file and
/// the system's reason (a full disk, say), and the temporary file is gone. Only one writer at a
/// time: the temporary name, PATH.tmp, is fixed, so that crashes leave at most one of them behind.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view content);
/// WriteFileAtomically for content in several parts.
void WriteFileAtomically(const std::filesystem::path& path,
                         std::span<const std::string_view> parts);

/// Keeps a second process out of a folder for as long as it lives, by a lock on its file `.lock`,
/// which stays; released by the kernel even after kill -9. Error kConfig if another process holds
/// it. Some network file systems have no locks: there it keeps nobody out, and says so.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// "" if the folder is locked; else why it is not, and what that means.
  const std::string& warning() const { return warning_; }

 private:
  int descriptor_;
  std::string warning_;
};

}  // namespace sgdscope
