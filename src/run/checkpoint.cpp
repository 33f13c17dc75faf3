#include "run/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/tensor_file.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKept = 2;
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

Checkpoint Load(const fs::path& path) {
  TensorFile file = ReadTensorFile(path);
  return {Number(file, "step", path), Mark(file, "metrics", path), Mark(file, "eval", path),
          std::move(file.tensors)};
}

}  // namespace

bool IsStepName(std::string_view name, size_t digits) {
  if (name.size() < kPrefix.size() + digits + kSuffix.size()) return false;
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  return name.find_first_not_of("0123456789") == std::string_view::npos;
}

void SaveCheckpoint(const fs::path& folder, const Checkpoint& checkpoint) {
  fs::create_directories(folder);
  WriteTensorFile(folder / NameOf(checkpoint.step),
                  {checkpoint.state,
                   {{"step", std::to_string(checkpoint.step)},
                    {"metrics_bytes", std::to_string(checkpoint.metrics.bytes)},
                    {"metrics_crc32", checkpoint.metrics.crc32},
                    {"eval_bytes", std::to_string(checkpoint.eval.bytes)},
                    {"eval_crc32", checkpoint.eval.crc32}}});
  size_t kept = 0;
  for (const fs::path& file : List(folder)) {
    if (file.filename() > NameOf(checkpoint.step) || kept == kKept) {
      fs::remove(file);
    } else {
      ++kept;
    }
  }
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
