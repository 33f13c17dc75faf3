#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/json.h"
#include "core/files.h"
#include "run/run_config.h"

namespace sgdscope {

/// What to do with a run folder that exists.
enum class IfExists { kRefuse, kResume, kOverwrite };

/// The folder of one run, locked against other processes for as long as this object lives. What
/// tells that a run wrote the files in it is its manifest.json, which is therefore the first of them
/// to be written.
class RunFolder {
 public:
  /// Makes and locks the folder, or takes the existing one as `if_exists` says. Changes no file of
  /// a run yet. `inputs`: the files that the new run reads, that of its config among them. Error
  /// kConfig: files that no run wrote have names that a run needs; the folder has a run in it and
  /// `if_exists` is kRefuse; to be resumed, it was made by another config (names the first
  /// difference); replacing the run would remove an input.
  RunFolder(const std::filesystem::path& path, Json config, IfExists if_exists,
            const std::vector<InputFile>& inputs);

  /// Starts the run, unless it is resumed: removes what an earlier run wrote, and nothing else, and
  /// writes config.json. Removes what an interruption left half written. Called when the data is
  /// read, so that a missing file costs no results, and when the manifest is written.
  void Begin() const;

  const std::filesystem::path& path() const { return path_; }
  /// The manifest of the run that there is to go on with; nothing for a new run.
  const std::optional<Json>& earlier() const { return earlier_; }
  const Json& resolved() const { return config_; }  // as given
  /// Why the folder is not locked, "" if it is.
  const std::string& warning() const { return lock_->warning(); }

  std::filesystem::path config() const { return path_ / "config.json"; }
  std::filesystem::path manifest() const { return path_ / "manifest.json"; }
  std::filesystem::path network() const { return path_ / "network.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
  std::filesystem::path eval() const { return path_ / "eval.csv"; }
  std::filesystem::path learned() const { return path_ / "learned.csv"; }
  std::filesystem::path label_noise() const { return path_ / "label_noise.safetensors"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path snapshots() const { return path_ / "snapshots"; }
  std::filesystem::path log() const { return path_ / "log.txt"; }

 private:
  /// Whatever is there of what runs write, half written files too.
  std::vector<std::filesystem::path> RunFiles() const;
  /// Whether config.json is as this run would write it.
  bool HoldsConfig() const;
  /// What earlier() returns, when all is checked.
  std::optional<Json> RunToResume(IfExists if_exists, const std::vector<InputFile>& inputs) const;
  void CheckNothingInTheWay() const;
  void CheckReplaceable(const std::vector<InputFile>& inputs) const;
  void CheckSameConfig() const;

  std::filesystem::path path_;
  Json config_;
  std::string config_text_;
  std::unique_ptr<FolderLock> lock_;
  std::optional<Json> earlier_;
};

}  // namespace sgdscope
