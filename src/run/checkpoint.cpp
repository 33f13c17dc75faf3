#include "run/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "core/error.h"
#include "core/tensor_file.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKept = 2;

std::string NameOf(int64_t step) {
  std::string digits = std::to_string(step);
  digits.insert(0, 16 - std::min<size_t>(16, digits.size()), '0');  // so that names sort like steps
  return "step_" + digits + ".safetensors";
}

/// Checkpoint files, the latest first.
std::vector<fs::path> List(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!fs::is_directory(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step_") && name.ends_with(".safetensors")) files.push_back(entry.path());
  }
  std::ranges::sort(files, std::greater<>());
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

Checkpoint Load(const fs::path& path) {
  TensorFile file = ReadTensorFile(path);
  return {Number(file, "step", path), Number(file, "metrics_bytes", path),
          Number(file, "eval_bytes", path), std::move(file.tensors)};
}

}  // namespace

void SaveCheckpoint(const fs::path& folder, const Checkpoint& checkpoint) {
  fs::create_directories(folder);
  WriteTensorFile(folder / NameOf(checkpoint.step),
                  {checkpoint.state,
                   {{"step", std::to_string(checkpoint.step)},
                    {"metrics_bytes", std::to_string(checkpoint.metrics_bytes)},
                    {"eval_bytes", std::to_string(checkpoint.eval_bytes)}}});
  const auto files = List(folder);
  for (size_t i = kKept; i < files.size(); ++i) fs::remove(files[i]);
}

std::optional<Checkpoint> LoadLastCheckpoint(const fs::path& folder,
                                             const std::function<void(const std::string&)>& warn) {
  for (const fs::path& path : List(folder)) {
    try {
      return Load(path);
    } catch (const Error& error) {
      warn(std::string("passing over a damaged checkpoint: ") + error.what());
    }
  }
  return std::nullopt;
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
