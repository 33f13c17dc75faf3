#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "core/torch.h"
#include "data/dataset.h"

namespace sgdscope {

/// At which evaluated steps each training example was first and last right: its largest logit was
/// that of its label, which with label noise is the noisy one.
class Learned {
 public:
  /// Keeps a reference.
  explicit Learned(const Split& train);

  /// Takes in the evaluation before step `step`. right: [N] bool, on the split's device.
  void Add(int64_t step, const at::Tensor& right);

  /// "learned.first_right" and "learned.last_right" [N] int64, -1 for never; the live tensors.
  std::map<std::string, at::Tensor> State() const;

  /// Writes learned.csv atomically: example, label, with label noise also original_label and
  /// corrupt (0 or 1), then first_right and last_right, empty for never.
  void Write(const std::filesystem::path& path) const;

 private:
  const Split& train_;
  at::Tensor first_right_;
  at::Tensor last_right_;
};

}  // namespace sgdscope
