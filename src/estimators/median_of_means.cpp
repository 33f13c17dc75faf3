// For each weight the median of the mean gradients of groups of examples. With 3 groups this is RM3
// of Zielinski, Krishnan and Chatterjee, "Weak and strong gradient directions", 2020.

#include <algorithm>

#include "config/registry.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"

namespace sgdscope {
namespace {

class MedianOfMeans : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "groups",
                   .help = "the batch is cut into so many groups, in its order; at most as many as "
                           "it has examples",
                   .min = 1,
                   .max = 1e6},
                  groups_);
    memory_.Fields(visitor);
  }

  bool NeedsSingleExamples() const override { return true; }
  bool NeedsWholeBatch() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    const int64_t n = view.gradients.losses.size(0);
    return PerExample(view.gradients, memory_).MedianOfMeans(std::min(groups_, n));
  }

 private:
  int64_t groups_ = 3;
  TileMemory memory_;
};

const Registration<Estimator, MedianOfMeans> kRegistration(
    "median_of_means", "each weight's median of the mean gradients of groups of examples");

}  // namespace
}  // namespace sgdscope
