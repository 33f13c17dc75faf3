#pragma once

#include <sys/inotify.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "tests/run/process.h"

namespace sgdscope {

/// Wakes up when something changes in a folder, so that a test can act at a chosen moment of a run.
class FolderWatch {
 public:
  /// Watches the folder itself and, if it is there, its folder checkpoints.
  explicit FolderWatch(const std::filesystem::path& folder)
      : descriptor_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    constexpr uint32_t kChanges = IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE;
    if (inotify_add_watch(descriptor_, folder.c_str(), kChanges) < 0) {
      throw std::runtime_error("cannot watch " + folder.string());
    }
    inotify_add_watch(descriptor_, (folder / "checkpoints").c_str(), kChanges);
  }
  ~FolderWatch() { close(descriptor_); }
  FolderWatch(const FolderWatch&) = delete;
  FolderWatch& operator=(const FolderWatch&) = delete;

  /// Waits for the next change; false if the process ends first.
  bool Next(const Process& process) const {
    if (process.EndedBefore(descriptor_)) return false;
    alignas(inotify_event) char events[4096];
    while (read(descriptor_, events, sizeof(events)) > 0) {
    }
    return true;
  }

  /// Waits until a file has at least `bytes` bytes; false if the process ends first.
  bool UntilSize(const Process& process, const std::filesystem::path& file, uintmax_t bytes) const {
    std::error_code absent;
    while (true) {
      const uintmax_t size = std::filesystem::file_size(file, absent);
      if (!absent && size >= bytes) return true;
      if (!Next(process)) return false;
    }
  }

 private:
  int descriptor_;
};

}  // namespace sgdscope
