// For each weight the mean of the batch's n per-example values without the k smallest and the k
// largest, k = floor(fraction n): Yin et al., "Byzantine-robust distributed learning", 2018,
// definition 2.

#include "config/registry.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"

namespace sgdscope {
namespace {

class TrimmedMean : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "fraction",
                   .help = "this share of the values is left out at each end, rounded down",
                   .required = true,
                   .min = 0,
                   .max = 0.499},
                  fraction_);
    memory_.Fields(visitor);
  }

  bool NeedsSingleExamples() const override { return true; }
  bool NeedsWholeBatch() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    constexpr double kRounding = 1e-9;  // of fraction * n where it is meant to be whole
    const int64_t n = view.gradients.losses.size(0);
    const auto out = static_cast<int64_t>(fraction_ * static_cast<double>(n) + kRounding);
    if (out == 0) return view.gradients.Mean();
    return PerExample(view.gradients, memory_)
        .Reduce({kernels::Reduction::Kind::kTrim, out, n - 1 - out});
  }

 private:
  double fraction_ = 0;
  TileMemory memory_;
};

const Registration<Estimator, TrimmedMean> kRegistration(
    "trimmed_mean", "each weight's mean without its extreme per-example gradients");

}  // namespace
}  // namespace sgdscope
