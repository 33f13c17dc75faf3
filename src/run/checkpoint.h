#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/csv.h"
#include "core/torch.h"
#include "run/keep.h"

namespace sgdscope {

/// The whole state of a run between two steps.
struct Checkpoint {
  int64_t step;     // the next step to take
  CsvMark metrics;  // of metrics.csv with the rows of the steps before
  CsvMark eval;     // of eval.csv, likewise
  std::map<std::string, at::Tensor> state;
  // Of forks that differ from their parent: from which step on the state of the update rule
  // (UpdateRule::begin) and the batches (Sampler::begin) are what they are.
  int64_t update_begin = 0;
  int64_t batches_begin = 0;
  std::string layout = "";  // LayoutOf(the parameters); "" in those of earlier versions
};

/// Whether it is the name step_N.safetensors, with N of at least `digits` digits: kCheckpointDigits
/// in the names of checkpoints, 1 in those of snapshots.
bool IsStepName(std::string_view name, size_t digits);
inline constexpr size_t kCheckpointDigits = 16;  // so that names sort like steps

/// Writes `folder`/step_N.safetensors atomically, then removes the checkpoints that `keep` does not
/// name, and all later ones: they are damaged, or the run would have gone on from there.
void SaveCheckpoint(const std::filesystem::path& folder, const Checkpoint& checkpoint,
                    const KeptCheckpoints& keep = {});

/// The steps that `folder` has checkpoints of, in order. Error kResource if the system cannot read
/// it.
std::vector<int64_t> CheckpointSteps(const std::filesystem::path& folder);

/// The checkpoint of a step that there is one of. Errors as of ReadTensorFile.
Checkpoint LoadCheckpoint(const std::filesystem::path& folder, int64_t step);

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
