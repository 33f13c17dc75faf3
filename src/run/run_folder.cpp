#include "run/run_folder.h"

#include <system_error>
#include <utility>

#include "core/error.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

void MakeFolder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error && fs::is_directory(path)) return;
  throw Error(ErrorKind::kResource, path.string(),
              "can't make this folder" + (error ? ": " + error.message() : std::string()),
              "Choose another place with --output FOLDER.");
}

/// The first JSON path at which a and b differ, with both values; "" if they are equal.
std::string FirstDifference(const Json& a, const Json& b, const std::string& path) {
  if (a == b) return "";
  const bool both_objects = a.is_object() && b.is_object();
  const bool both_lists = a.is_array() && b.is_array() && a.size() == b.size();
  if (both_objects) {
    for (const auto& [key, value] : a.items()) {
      const std::string below = path.empty() ? key : path + "." + key;
      if (!b.contains(key)) return below + " is " + value.dump() + " there and absent here";
      const std::string found = FirstDifference(value, b[key], below);
      if (!found.empty()) return found;
    }
    for (const auto& [key, value] : b.items()) {
      const std::string below = path.empty() ? key : path + "." + key;
      if (!a.contains(key)) return below + " is absent there and " + value.dump() + " here";
    }
  }
  if (both_lists) {
    for (size_t i = 0; i < a.size(); ++i) {
      const std::string found = FirstDifference(a[i], b[i], path + "[" + std::to_string(i) + "]");
      if (!found.empty()) return found;
    }
  }
  return path + " is " + a.dump() + " there and " + b.dump() + " here";
}

}  // namespace

RunFolder::RunFolder(const fs::path& path, Json config, IfExists if_exists)
    : path_(path), config_(std::move(config)) {
  MakeFolder(path_);
  lock_ = std::make_unique<FolderLock>(path_);
  const bool exists = fs::exists(this->config()) || fs::exists(manifest());
  if (exists && if_exists == IfExists::kRefuse) {
    throw Error(ErrorKind::kConfig, path_.string(), "there is a run in this folder",
                "--resume continues it, --overwrite replaces it, --output FOLDER goes elsewhere.");
  }
  if (!exists || if_exists != IfExists::kResume) return;
  CheckSameConfig();
  resumed_ = true;
}

void RunFolder::Begin() const {
  if (resumed_) return;
  RemoveRun();
  WriteFileAtomically(config(), config_.dump(2) + "\n");
}

void RunFolder::CheckSameConfig() const {
  const Json saved = ParseConfig(ReadFile(this->config()), this->config().string());
  // The folder may have been moved, or be named in another way.
  Json there = saved;
  Json here = config_;
  there.erase("output");
  here.erase("output");
  const std::string difference = FirstDifference(there, here, "");
  if (difference.empty()) return;
  throw Error(ErrorKind::kConfig, this->config().string(),
              "this run was made by another config: " + difference,
              "Resume with the same config (the saved one is one), or use another --output.");
}

void RunFolder::RemoveRun() const {
  // Only what runs write: the user may keep other things here.
  for (const auto& name : {"config.json", "manifest.json", "metrics.csv", "eval.csv", "learned.csv",
                           "label_noise.safetensors", "log.txt", "checkpoints", "snapshots"}) {
    fs::remove_all(path_ / name);
  }
}

}  // namespace sgdscope
