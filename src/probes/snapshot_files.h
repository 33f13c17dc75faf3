#pragma once

#include <filesystem>
#include <string>

#include "core/tensor_file.h"
#include "probes/probe.h"

namespace sgdscope {

/// Files snapshots/step_N.LABEL.safetensors in the run folder, which a probe writes: one for each
/// step. The label "snapshot" is left out.
class SnapshotFiles {
 public:
  SnapshotFiles() = default;
  /// Error kConfig where the label can't be a part of a file's name.
  SnapshotFiles(const ProbeContext& context, const std::string& label);

  void Write(int64_t step, TensorFile file) const;

 private:
  std::filesystem::path folder_;
  std::string mark_;  // between step and extension
};

}  // namespace sgdscope
