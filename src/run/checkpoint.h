#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "core/torch.h"

namespace sgdscope {

/// The whole state of a run between two steps.
struct Checkpoint {
  int64_t step;           // the next step to take
  int64_t metrics_bytes;  // length of metrics.csv with the rows of the steps before
  int64_t eval_bytes;     // length of eval.csv, likewise
  std::map<std::string, at::Tensor> state;
};

/// Writes `folder`/step_N.safetensors atomically, then removes all but the last two checkpoints.
void SaveCheckpoint(const std::filesystem::path& folder, const Checkpoint& checkpoint);

/// The last checkpoint that is whole; nothing if there is none. `warn` is told of each damaged one
/// that was passed over.
std::optional<Checkpoint> LoadLastCheckpoint(const std::filesystem::path& folder,
                                             const std::function<void(const std::string&)>& warn);

/// Copies saved state into the live tensors. Error kData at `where` if names, shapes or types
/// differ.
void RestoreState(const std::map<std::string, at::Tensor>& saved,
                  const std::map<std::string, at::Tensor>& live, const std::string& where);

}  // namespace sgdscope
