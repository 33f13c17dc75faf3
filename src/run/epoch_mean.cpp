#include "run/epoch_mean.h"

#include <limits>

namespace sgdscope {
namespace {

constexpr double kUnknown = -std::numeric_limits<double>::infinity();  // whatever loss is added

}  // namespace

EpochMean::EpochMean(int64_t steps_per_epoch, at::Device device)
    : steps_per_epoch_(steps_per_epoch),
      sum_(at::zeros({}, at::device(device).dtype(at::kDouble))) {}

void EpochMean::Forget() { sum_.fill_(kUnknown); }

void EpochMean::Add(int64_t step, const at::Tensor& loss) {
  // Not cleared where it is read: a run that resumes there reads it again.
  if (step % steps_per_epoch_ == 0) sum_.zero_();
  sum_.add_(loss);
}

std::optional<double> EpochMean::Before(int64_t step) const {
  if (step == 0 || step % steps_per_epoch_ != 0) return std::nullopt;
  const auto sum = sum_.item<double>();
  if (sum == kUnknown) return std::nullopt;
  return sum / static_cast<double>(steps_per_epoch_);
}

}  // namespace sgdscope
