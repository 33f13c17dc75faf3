#include "run/epoch_mean.h"

namespace sgdscope {

EpochMean::EpochMean(int64_t steps_per_epoch, at::Device device)
    : steps_per_epoch_(steps_per_epoch),
      sum_(at::zeros({}, at::device(device).dtype(at::kDouble))) {}

void EpochMean::Add(int64_t step, const at::Tensor& loss) {
  // Not cleared where it is read: a run that resumes there reads it again.
  if (step % steps_per_epoch_ == 0) sum_.zero_();
  sum_.add_(loss);
}

std::optional<double> EpochMean::Before(int64_t step) const {
  if (step == 0 || step % steps_per_epoch_ != 0) return std::nullopt;
  return sum_.item<double>() / static_cast<double>(steps_per_epoch_);
}

}  // namespace sgdscope
