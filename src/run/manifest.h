#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/json.h"
#include "data/dataset.h"
#include "run/run_config.h"

namespace sgdscope {

/// manifest.json: what became of the run, and everything outside the config that its numbers depend
/// on.
class Manifest {
 public:
  Manifest(std::filesystem::path path, const RunConfig& config);
  /// Goes on with the wall time, the steps and the data of an earlier process of this run, if there
  /// is one. Returns what has changed since and may change results in the last bits (another
  /// LibTorch, another processor); "" if nothing has.
  std::string ContinueFrom(const std::filesystem::path& earlier);

  /// Records the data files and, with label noise, the number of corrupt examples. Error kData if
  /// an earlier process of this run read other files.
  void SetData(const LoadedData& data);
  /// Writes the file atomically. `status`: running, done, diverged, interrupted or failed;
  /// `reason`: a sentence, empty for running and for a run that is done at full length;
  /// `steps_done`: steps whose rows are final.
  void Write(const std::string& status, const std::string& reason, int64_t steps_done);
  int64_t steps_done() const { return steps_done_; }  // as last written

 private:
  std::filesystem::path path_;
  Json facts_;
  double earlier_seconds_ = 0;
  int64_t steps_done_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The status in a manifest.json; "" if there is no readable one.
std::string StatusOf(const std::filesystem::path& manifest);

/// Largest resident memory of this process so far, in bytes.
int64_t PeakMemory();

}  // namespace sgdscope
