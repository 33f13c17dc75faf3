#include "run/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/tensor_file.h"
#include "models/weights.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step_";
constexpr std::string_view kSuffix = ".safetensors";

std::string NameOf(int64_t step) {
  std::string digits = std::to_string(step);
  digits.insert(0, kCheckpointDigits - std::min(kCheckpointDigits, digits.size()), '0');
  return std::string(kPrefix) + digits + std::string(kSuffix);
}

/// Checkpoint files, the latest first.
std::vector<fs::path> List(const fs::path& folder) {
  std::vector<fs::path> files = FilesIn(folder);
  std::erase_if(files, [](const fs::path& path) {
    return !IsStepName(path.filename().string(), kCheckpointDigits);
  });
  std::ranges::reverse(files);
  return files;
}

/// Of a name that List has found.
int64_t StepOf(const fs::path& path) {
  const std::string name = path.filename().string();
  int64_t step = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  return step;
}

int64_t Number(const TensorFile& file, const std::string& key, const fs::path& path) {
  const auto found = file.metadata.find(key);
  int64_t value = -1;
  if (found != file.metadata.end()) {
    const std::string& text = found->second;
    std::from_chars(text.data(), text.data() + text.size(), value);
  }
  if (value >= 0) return value;
  throw Error(ErrorKind::kData, path.string(), "has no valid '" + key + "' in its metadata");
}

/// Checkpoints of earlier versions have no checksum.
CsvMark Mark(const TensorFile& file, const std::string& csv, const fs::path& path) {
  const auto crc32 = file.metadata.find(csv + "_crc32");
  return {Number(file, csv + "_bytes", path),
          crc32 == file.metadata.end() ? std::string() : crc32->second};
}

/// 0 where there is none: only forks have it.
int64_t Begin(const TensorFile& file, const std::string& key, const fs::path& path) {
  return file.metadata.contains(key) ? Number(file, key, path) : 0;
}

Checkpoint Load(const fs::path& path) {
  TensorFile file = ReadTensorFile(path);
  return {.step = Number(file, "step", path),
          .metrics = Mark(file, "metrics", path),
          .eval = Mark(file, "eval", path),
          .state = std::move(file.tensors),
          .update_begin = Begin(file, "update_begin", path),
          .batches_begin = Begin(file, "batches_begin", path),
          .layout = file.metadata[kLayout]};
}

}  // namespace

bool IsStepName(std::string_view name, size_t digits) {
  if (name.size() < kPrefix.size() + digits + kSuffix.size()) return false;
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  return name.find_first_not_of("0123456789") == std::string_view::npos;
}

void SaveCheckpoint(const fs::path& folder, const Checkpoint& checkpoint,
                    const KeptCheckpoints& keep) {
  fs::create_directories(folder);
  std::map<std::string, std::string> metadata = {
      {"step", std::to_string(checkpoint.step)},
      {"metrics_bytes", std::to_string(checkpoint.metrics.bytes)},
      {"metrics_crc32", checkpoint.metrics.crc32},
      {"eval_bytes", std::to_string(checkpoint.eval.bytes)},
      {"eval_crc32", checkpoint.eval.crc32},
      {kLayout, checkpoint.layout}};
  const auto add_begin = [&](const std::string& key, int64_t step) {
    if (step > 0) metadata[key] = std::to_string(step);
  };
  add_begin("update_begin", checkpoint.update_begin);
  add_begin("batches_begin", checkpoint.batches_begin);
  WriteTensorFile(folder / NameOf(checkpoint.step), {checkpoint.state, metadata});
  int64_t later = 0;
  for (const fs::path& file : List(folder)) {
    const int64_t step = StepOf(file);
    if (step > checkpoint.step || !keep.Stays(step, later++)) fs::remove(file);
  }
}

std::vector<int64_t> CheckpointSteps(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const fs::path& file : List(folder)) steps.push_back(StepOf(file));
  std::ranges::reverse(steps);
  return steps;
}

Checkpoint LoadCheckpoint(const fs::path& folder, int64_t step) {
  return Load(folder / NameOf(step));
}

std::optional<Checkpoint> LoadLastCheckpoint(const fs::path& folder,
                                             const std::function<void(const std::string&)>& warn) {
  std::vector<std::string> damages;
  for (const fs::path& path : List(folder)) {
    try {
      Checkpoint checkpoint = Load(path);
      for (const std::string& damage : damages) {
        warn("passing over a damaged checkpoint: " + damage);
      }
      return checkpoint;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kData) throw;
      damages.emplace_back(error.what());
    }
  }
  if (damages.empty()) return std::nullopt;
  std::string all = "all checkpoints are damaged";
  for (const std::string& damage : damages) all += "\n  " + damage;
  throw Error(
      ErrorKind::kData, folder.string(), all,
      "Nothing was changed. Bring back one of them and --resume, or start the run anew with "
      "--overwrite.");
}

void RestoreState(const std::map<std::string, at::Tensor>& saved,
                  const std::map<std::string, at::Tensor>& live, const std::string& where) {
  for (const auto& [name, tensor] : live) {
    const auto found = saved.find(name);
    if (found == saved.end()) throw Error(ErrorKind::kData, where, "has no tensor " + name);
    if (found->second.sizes() != tensor.sizes() ||
        found->second.scalar_type() != tensor.scalar_type()) {
      throw Error(ErrorKind::kData, where, "tensor " + name + " has another shape or type");
    }
    tensor.copy_(found->second);
  }
  if (saved.size() != live.size()) {
    throw Error(ErrorKind::kData, where, "has tensors that this run does not know");
  }
}

}  // namespace sgdscope
