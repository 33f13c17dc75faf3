#include "run/run_folder.h"

#include <system_error>
#include <utility>

#include "core/error.h"
#include "run/checkpoint.h"
#include "run/manifest.h"

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

/// The name under which WriteFileAtomically writes a file.
fs::path Temporary(fs::path path) { return path += ".tmp"; }

bool IsTemporary(const fs::path& path) { return path.extension() == ".tmp"; }

/// Whether it is the name step_N.safetensors or step_N.LABEL.safetensors.
bool IsSnapshotName(const fs::path& name) {
  const std::string text = name.string();
  const std::string step = text.substr(0, text.find('.'));
  return IsStepName(step + name.extension().string(), 1);
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

RunFolder::RunFolder(const fs::path& path, Json config, IfExists if_exists,
                     const std::vector<InputFile>& inputs)
    : path_(path), config_(std::move(config)), config_text_(config_.dump(2) + "\n") {
  MakeFolder(path_);
  // Before the lock, which is a file, is made in a folder that is not ours.
  if (!ReadManifest(manifest())) CheckNothingInTheWay();
  lock_ = std::make_unique<FolderLock>(path_);
  earlier_ = RunToResume(if_exists, inputs);
}

std::optional<Json> RunFolder::RunToResume(IfExists if_exists,
                                           const std::vector<InputFile>& inputs) const {
  const auto found = ReadManifest(manifest());
  if (!found) {
    CheckNothingInTheWay();
    return std::nullopt;
  }
  if (if_exists == IfExists::kRefuse) {
    throw Error(ErrorKind::kConfig, path_.string(), "there is a run in this folder",
                "--resume continues it, --overwrite replaces it, --output FOLDER goes elsewhere.");
  }
  const bool begun = (*found)["steps_done"] > 0 || Exists(config());
  if (if_exists == IfExists::kOverwrite || !begun) {
    CheckReplaceable(inputs);
    return std::nullopt;
  }
  CheckSameConfig();
  return found;
}

void RunFolder::Begin() const {
  for (const fs::path& file : RunFiles()) {
    const bool replaced = file == manifest() || file == config();
    if (earlier_ ? IsTemporary(file) : !replaced) fs::remove(file);
  }
  if (!earlier_ && !HoldsConfig()) WriteFileAtomically(config(), config_text_);
}

std::vector<fs::path> RunFolder::RunFiles() const {
  std::vector<fs::path> files;
  const auto add_steps = [&](const fs::path& folder, const auto& is_ours) {
    for (const fs::path& file : FilesIn(folder)) {
      if (is_ours(IsTemporary(file) ? file.stem() : file.filename())) files.push_back(file);
    }
  };
  // First, so that an interrupted removal leaves no checkpoint without the rows before it.
  add_steps(checkpoints(),
            [](const fs::path& name) { return IsStepName(name.string(), kCheckpointDigits); });
  add_steps(snapshots(), IsSnapshotName);
  for (const fs::path& file :
       {config(), manifest(), network(), metrics(), eval(), learned(), label_noise(), log(),
        Temporary(config()), Temporary(manifest()), Temporary(network()), Temporary(learned()),
        Temporary(label_noise())}) {
    if (Exists(file)) files.push_back(file);
  }
  return files;
}

bool RunFolder::HoldsConfig() const {
  return IsFile(config()) &&
         ReadFile(config(), ErrorKind::kResource, kMakeReadable) == config_text_;
}

void RunFolder::CheckNothingInTheWay() const {
  for (const fs::path& file : RunFiles()) {
    if (file == config() && HoldsConfig()) continue;
    if (file == Temporary(manifest()) && IsFile(file) && BeginsManifest(ReadFile(file))) continue;
    throw Error(ErrorKind::kConfig, file.string(),
                "is in the way: a run needs this name, and the folder has no manifest.json that "
                "tells that a run wrote it",
                "Move it away, or choose another folder with --output.");
  }
}

void RunFolder::CheckReplaceable(const std::vector<InputFile>& inputs) const {
  for (const fs::path& file : RunFiles()) {
    if (fs::is_directory(fs::symlink_status(file))) {
      throw Error(ErrorKind::kConfig, file.string(), "is a folder, which no run makes here",
                  "Move it away, or choose another folder with --output.");
    }
    if (file == config() && HoldsConfig()) continue;
    for (const InputFile& input : inputs) {
      std::error_code differs;
      if (!fs::equivalent(file, input.path, differs)) continue;
      throw Error(ErrorKind::kConfig, file.string(),
                  "is " + input.what + ", and the new run would replace it",
                  "Copy it out of the folder first and name the copy, or choose another folder "
                  "with --output.");
    }
  }
}

void RunFolder::CheckSameConfig() const {
  if (!Exists(config())) {
    throw Error(ErrorKind::kData, config().string(),
                "is gone, and nothing else tells what made this run",
                "Bring it back, or start the run anew with --overwrite.");
  }
  const Json saved =
      ParseConfig(ReadFile(this->config(), ErrorKind::kResource, kMakeReadable), config().string());
  // The folder may have been moved, or be named in another way.
  Json there = saved;
  Json here = config_;
  there.erase("output");
  here.erase("output");
  const std::string difference = FirstDifference(there, here, "");
  if (difference.empty()) return;
  throw Error(ErrorKind::kConfig, config().string(),
              "this run was made by another config: " + difference,
              "Resume with the same config (the saved one is one), use another --output, or go on "
              "with another config from one of its checkpoints: sgdscope fork " +
                  path_.string() + " --at STEP.");
}

}  // namespace sgdscope
