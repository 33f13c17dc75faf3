#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace sgdscope {

/// The configs that are shipped, sorted. Beside them are studies of them, and how long their runs take.
inline std::vector<std::filesystem::path> ShippedConfigs() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(SGDSCOPE_SOURCE_DIR "/configs")) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".json") && !name.ends_with(".study.json") && name != "durations.json") {
      paths.push_back(entry.path());
    }
  }
  std::ranges::sort(paths);
  return paths;
}

}  // namespace sgdscope
