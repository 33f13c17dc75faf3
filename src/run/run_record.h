#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/json.h"
#include "core/csv_table.h"

namespace sgdscope {

/// The units of a layer whose outputs' positive part the next layer takes; of convolutions the
/// channels.
struct ReluUnits {
  std::string layer;
  int64_t units;
  int64_t silent;  // those of which no output was above 0 on any of the examples
  int64_t silent_at_start =
      0;  // the same with the weights drawn for step 0, if some are silent now
};

/// A way in which a run cuts its examples into what batch normalization sees at once.
struct Normalized {
  std::string path;  // the field that cuts them
  int64_t examples;
};

/// What only the network, the data and the last checkpoint tell.
struct NetworkFacts {
  int64_t batch_size;
  int64_t smallest_batch;
  int64_t train_size;
  std::vector<Normalized> normalized;  // empty without batch normalization
  std::vector<ReluUnits> relus;        // in the order of the forward pass
  int64_t examples = 0;                // that relus were looked at on; 0 before any checkpoint
};

/// What a run has left in its folder so far, as it is told to whoever judges it.
struct RunRecord {
  std::filesystem::path folder;
  Json manifest;
  Json config;  // the resolved one
  CsvTable metrics, eval;
  bool at_work = false;  // whether a process may be at work in the folder
  std::optional<NetworkFacts> network;
  std::string no_network;  // why there is none

  /// Numbers and texts of the manifest and the config, for files of any version: `fallback` where
  /// there is none at the path ("update.learning_rate").
  static double NumberAt(const Json& object, const std::string& path, double fallback);
  static std::string TextAt(const Json& object, const std::string& path);
  /// The value at the path; null if there is none.
  static Json At(const Json& object, const std::string& path);
};

/// Reads a run folder and changes nothing in it. Error kConfig if there is no run in it, kData if
/// its files are damaged. Of the data set and the last checkpoint as much as a few seconds allow:
/// where they can't be read, no_network says why.
RunRecord ReadRun(const std::filesystem::path& folder);

}  // namespace sgdscope
