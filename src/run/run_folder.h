#pragma once

#include <filesystem>
#include <memory>

#include "config/json.h"
#include "core/files.h"

namespace sgdscope {

/// What to do with a run folder that exists.
enum class IfExists { kRefuse, kResume, kOverwrite };

/// The folder of one run, locked against other processes for as long as this object lives.
class RunFolder {
 public:
  /// Makes and locks the folder, or takes the existing one as `if_exists` says. Changes no file of
  /// a run yet. Error kConfig: the folder has a run in it and `if_exists` is kRefuse; or, to be
  /// resumed, it was made by another config (names the first difference).
  RunFolder(const std::filesystem::path& path, Json config, IfExists if_exists);

  /// Starts the run, unless it is resumed: removes what an earlier run wrote, and nothing else, and
  /// writes config.json. Called when the data is read, so that a missing file costs no results.
  void Begin() const;

  const std::filesystem::path& path() const { return path_; }
  /// Whether there was a run to go on with.
  bool resumed() const { return resumed_; }

  std::filesystem::path config() const { return path_ / "config.json"; }
  std::filesystem::path manifest() const { return path_ / "manifest.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
  std::filesystem::path eval() const { return path_ / "eval.csv"; }
  std::filesystem::path learned() const { return path_ / "learned.csv"; }
  std::filesystem::path label_noise() const { return path_ / "label_noise.safetensors"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path log() const { return path_ / "log.txt"; }

 private:
  void CheckSameConfig() const;
  void RemoveRun() const;

  std::filesystem::path path_;
  Json config_;
  std::unique_ptr<FolderLock> lock_;
  bool resumed_ = false;
};

}  // namespace sgdscope
