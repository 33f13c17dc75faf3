#include "probes/snapshot_files.h"

#include <utility>

#include "core/error.h"

namespace sgdscope {

SnapshotFiles::SnapshotFiles(const ProbeContext& context, const std::string& label)
    : folder_(context.run_folder / "snapshots"), mark_(label == "snapshot" ? "" : "." + label) {
  constexpr size_t kLongestLabel = 200;  // file names have at most 255 bytes
  if (label.size() <= kLongestLabel && label.find('/') == std::string::npos) return;
  throw Error(
      ErrorKind::kConfig, context.path + ".label",
      "'" + label + "' has a slash or more than " + std::to_string(kLongestLabel) + " bytes",
      "It becomes a part of the files' names: choose a shorter one without slashes.");
}

void SnapshotFiles::Write(int64_t step, TensorFile file) const {
  file.metadata["step"] = std::to_string(step);
  std::filesystem::create_directories(folder_);
  WriteTensorFile(folder_ / ("step_" + std::to_string(step) + mark_ + ".safetensors"), file);
}

}  // namespace sgdscope
