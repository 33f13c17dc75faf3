#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "core/torch.h"

namespace sgdscope {

/// The mean of the batches' losses over each epoch: a training loss that costs nothing, of weights
/// that move meanwhile. Kept on the device, and read back once an epoch.
class EpochMean {
 public:
  EpochMean(int64_t steps_per_epoch, at::Device device);

  /// Says that no earlier step is known: neither the epoch that has just ended nor one that is
  /// under way will have a mean.
  void Forget();
  /// Takes in the loss of a step: a scalar, double.
  void Add(int64_t step, const at::Tensor& loss);
  /// The mean over the epoch that ended before `step`; nothing if none did, or not all of it is
  /// known.
  std::optional<double> Before(int64_t step) const;
  /// "epoch_mean.sum", of the losses of the epoch so far, -inf if they are not all known; the live
  /// tensor.
  std::map<std::string, at::Tensor> State() const { return {{kSum, sum_}}; }
  static constexpr const char* kSum = "epoch_mean.sum";

 private:
  int64_t steps_per_epoch_;
  at::Tensor sum_;  // scalar, double
};

}  // namespace sgdscope
