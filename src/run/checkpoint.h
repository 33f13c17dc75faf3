#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/csv.h"
#include "core/torch.h"

namespace sgdscope {

/// The whole state of a run between two steps.
struct Checkpoint {
  int64_t step;     // the next step to take
  CsvMark metrics;  // of metrics.csv with the rows of the steps before
  CsvMark eval;     // of eval.csv, likewise
  std::map<std::string, at::Tensor> state;
};

/// Whether it is the name step_N.safetensors, with N of at least `digits` digits: kCheckpointDigits
/// in the names of checkpoints, 1 in those of snapshots.
bool IsStepName(std::string_view name, size_t digits);
inline constexpr size_t kCheckpointDigits = 16;  // so that names sort like steps

/// Writes `folder`/step_N.safetensors atomically, then removes all checkpoints but this one and the
/// one before: later ones are damaged, or the run would have gone on from there.
void SaveCheckpoint(const std::filesystem::path& folder, const Checkpoint& checkpoint);

/// The last checkpoint that is whole; nothing if there is none at all. `warn` is told of each
/// damaged one that was passed over. Error kData if all are damaged; kResource if the system cannot
/// read the folder or one of those looked at, whose content nobody knows then.
std::optional<Checkpoint> LoadLastCheckpoint(const std::filesystem::path& folder,
                                             const std::function<void(const std::string&)>& warn);

/// Copies saved state into the live tensors. Error kData at `where` if names, shapes or types
/// differ.
void RestoreState(const std::map<std::string, at::Tensor>& saved,
                  const std::map<std::string, at::Tensor>& live, const std::string& where);

}  // namespace sgdscope
