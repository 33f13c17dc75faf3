// For each weight the median of the batch's per-example values, with the mean of the two in the
// middle where their number is even: Yin et al., "Byzantine-robust distributed learning", 2018,
// definition 1.

#include "config/registry.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"

namespace sgdscope {
namespace {

class CoordinateMedian : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override { memory_.Fields(visitor); }

  bool NeedsSingleExamples() const override { return true; }
  bool NeedsWholeBatch() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    return PerExample(view.gradients, memory_).Reduce(MedianOf(view.gradients.losses.size(0)));
  }

 private:
  TileMemory memory_;
};

const Registration<Estimator, CoordinateMedian> kRegistration(
    "coordinate_median", "each weight's median of the per-example gradients");

}  // namespace
}  // namespace sgdscope
