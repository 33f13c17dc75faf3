#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "data/dataset.h"
#include "run/run_config.h"
#include "run/times.h"

namespace sgdscope {

/// manifest.json: what became of the run, and everything outside the config that its numbers depend
/// on.
class Manifest {
 public:
  Manifest(std::filesystem::path path, const RunConfig& config);
  /// Goes on with the times, the steps and the data of `earlier`, the manifest of an earlier
  /// process of this run. Returns what has changed since and may change results in the last bits
  /// (another LibTorch, another processor); "" if nothing has.
  std::string ContinueFrom(const Json& earlier);

  /// What of the processor and the versions is not as in `earlier`, another manifest, and may change
  /// results in the last bits; "" if all is.
  std::string ChangesSince(const Json& earlier) const;
  /// Whether the data files are those of `other`, a manifest.
  bool HasDataOf(const Json& other) const;
  /// Records where the weights of the first step come from: "fork", or "init".
  void SetBegin(const std::string& key, const Json& facts) { facts_[key] = facts; }

  /// Records the data files and, with label noise, the number of corrupt examples. Error kData if
  /// an earlier process of this run read other files.
  void SetData(const LoadedData& data);
  /// Writes the file atomically. `status`: running, done, diverged, interrupted or failed;
  /// `reason`: a sentence, empty for running and for a run that is done at full length;
  /// `steps_done`: steps whose rows are final.
  void Write(const std::string& status, const std::string& reason, int64_t steps_done);
  /// Writes the status failed, if this process has begun the run or gone on with it; otherwise the
  /// folder stays as it is.
  void Fail(const std::string& reason);
  int64_t steps_done() const { return steps_done_; }  // as last written
  Times& times() { return times_; }

 private:
  std::filesystem::path path_;
  Json facts_;
  Times times_;
  double earlier_seconds_ = 0;
  int64_t steps_done_ = 0;
  bool written_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The manifest.json of a run; nothing if there is no such file, or another program's. Error
/// kResource if the system cannot read it.
std::optional<Json> ReadManifest(const std::filesystem::path& path);

/// Whether a text is what an interruption leaves of a manifest.json that is being written.
bool BeginsManifest(std::string_view text);

/// Largest resident memory of this process so far, in bytes.
int64_t PeakMemory();

}  // namespace sgdscope
