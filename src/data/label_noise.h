#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "config/fields.h"

namespace sgdscope {

struct Split;

/// What a config says about noise in the labels of the training set (coherent_gradients, section
/// 2.1). round(fraction N) examples are chosen at random.
///   permute  their labels are permuted among them: each class keeps its number of examples
///   uniform  each of them gets a label drawn uniformly from all classes
/// Either way some of the chosen ones keep the right label. An example is corrupt if its label
/// differs from the original one, and pristine otherwise.
struct LabelNoise {
  double fraction = 0;
  std::string kind = "permute";

  void Fields(FieldVisitor& visitor);
};

/// Gives `train` noisy labels, and fills its original_labels and corrupt. A pure function of the
/// arguments; where only the fraction differs, the larger one chooses all examples of the smaller.
/// `train` lies on the CPU; its labels are replaced, the tensor that held them is not modified.
void AddLabelNoise(const LabelNoise& noise, int64_t classes, uint64_t seed, Split& train);

/// Writes `labels` and `original_labels` [N] int64 and `corrupt` [N] uint8 (0 or 1) of a split with
/// label noise into a safetensors file, atomically.
void WriteLabelNoise(const std::filesystem::path& path, const Split& train);

}  // namespace sgdscope
