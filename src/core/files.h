#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sgdscope {

/// The whole content of a file. Error kData if it can't be read.
std::string ReadFile(const std::filesystem::path& path);

/// Writes a file so that a reader, or a crash at any moment, sees the old content or the new, never
/// a part: temporary name, fsync, rename, fsync of the folder. Error kResource names the file and
/// the system's reason (a full disk, say), and the temporary file is gone. Only one writer at a
/// time: the temporary name, PATH.tmp, is fixed, so that crashes leave at most one of them behind.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view content);
/// The same, for content in several parts.
void WriteFileAtomically(const std::filesystem::path& path,
                         std::span<const std::string_view> parts);

/// Keeps a second process out of a folder for as long as it lives, by a lock on its file `.lock`,
/// which stays; released by the kernel even after kill -9. Error kConfig if another process holds
/// it.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace sgdscope
