#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace sgdscope {

/// Names of the ways to normalize, as in the config.
///   unit       x / 255
///   dataset    (x - mean) / std per channel, over the whole training set. An example of three
///              dimensions [channels, height, width] has channels; any other counts as one channel.
///   per_image  (x - mean) / max(std, 1/sqrt(d)) over all d values of one image, x in [0, 1]
///   none       x as it is
std::vector<std::string> NormalizeNames();

/// Error kConfig at `where` if this way to normalize isn't defined for inputs of this type.
void CheckNormalize(const std::string& kind, at::ScalarType inputs, const std::string& where);

/// Gathers examples and normalizes them on the device: out = (x - shift) / scale, the subtraction
/// and the division each rounded once, so that CPU and CUDA give the same bits. Both are made in
/// the output's type, but in double where the inputs are in double: what differs by little beside
/// its mean would be equal in float32.
class Normalizer {
 public:
  /// `train`: the split that `dataset` takes its mean and standard deviation from (exact integer
  /// sums for uint8). dtype: at::kFloat or at::kDouble. Error as CheckNormalize, and kData if
  /// `dataset` meets a channel whose values are all equal, or too large for their squares.
  Normalizer(const std::string& kind, const Split& train, at::ScalarType dtype);

  /// `indices` [n] int64 on the CPU. Returns [n, ...shape] in dtype, on the split's device, which
  /// must be that of the constructor's `train`.
  at::Tensor Gather(const Split& split, const at::Tensor& indices) const;
  /// Normalizes all of `inputs` [n, ...shape], of the split's type and on its device.
  at::Tensor Normalize(const at::Tensor& inputs) const;
  /// That the output's type holds all inputs and targets of the split, whose numbers are finite.
  /// Error kData names the first that it doesn't hold. `name`: of the split, "training".
  void CheckHolds(const Split& split, const std::string& name) const;

 private:
  bool TakesBytes(const at::Tensor& inputs) const;
  at::Tensor GatherBytes(const at::Tensor& inputs, const at::Tensor& indices) const;

  std::string kind_;
  at::ScalarType dtype_;
  at::ScalarType working_;  // the type that shift and scale are applied in
  at::Tensor shift_;        // [1, channels, 1, 1], or ones for all dimensions; in working_
  at::Tensor scale_;        // the same
};

}  // namespace sgdscope
