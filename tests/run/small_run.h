#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/files.h"
#include "run/run_config.h"
#include "tests/run/process.h"
#include "tests/temp_folder.h"

// A run of a second or less on synthetic data, with all kinds of state: momentum, running sums,
// rows and evaluations at different steps.

namespace sgdscope {

inline Json SmallConfig() {
  return Json::parse(R"({
    "name": "small", "seed": 3, "steps": 60, "batch_size": 20,
    "data": {"name": "synthetic", "train_size": 200, "test_size": 50, "shape": [8], "classes": 4},
    "model": {"name": "mlp", "hidden": [16]},
    "update": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "eval": {"every": 25},
    "checkpoint": {"every_steps": 20}
  })");
}

/// Writes the config into the folder, so that it can be run.
inline std::string WriteConfig(const TempFolder& folder, const Json& config) {
  const auto path = folder / "config_of_the_test.json";
  WriteFileAtomically(path, config.dump(2));
  return path.string();
}

inline Json ReadJson(const std::filesystem::path& path) { return Json::parse(ReadFile(path)); }

inline std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// Names of the checkpoint files, in order.
inline std::vector<std::string> CheckpointNames(const std::filesystem::path& run_folder) {
  std::vector<std::string> names;
  for (const auto& file : FilesIn(run_folder / "checkpoints")) {
    names.push_back(file.filename().string());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace sgdscope
