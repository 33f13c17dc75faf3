#pragma once

#include <filesystem>
#include <memory>

#include "core/config_json.h"
#include "core/files.h"

namespace sgdscope {

/// What to do with a run folder that exists.
enum class IfExists { kRefuse, kResume, kOverwrite };

/// The folder of one run, locked against other processes for as long as this object lives.
class RunFolder {
 public:
  /// Makes the folder, or takes the existing one as `if_exists` says, and writes config.json.
  /// Error kConfig: the folder has a run in it and `if_exists` is kRefuse; or, to be resumed, it
  /// was made by another config (names the first difference). Overwriting removes what runs write,
  /// and nothing else.
  RunFolder(const std::filesystem::path& path, const Json& config, IfExists if_exists);

  const std::filesystem::path& path() const { return path_; }
  /// Whether there was a run to go on with.
  bool resumed() const { return resumed_; }

  std::filesystem::path config() const { return path_ / "config.json"; }
  std::filesystem::path manifest() const { return path_ / "manifest.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
  std::filesystem::path eval() const { return path_ / "eval.csv"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path log() const { return path_ / "log.txt"; }

 private:
  void CheckSameConfig(const Json& config) const;
  void RemoveRun() const;

  std::filesystem::path path_;
  std::unique_ptr<FolderLock> lock_;
  bool resumed_ = false;
};

}  // namespace sgdscope
