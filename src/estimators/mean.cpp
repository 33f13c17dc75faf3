// g = (1/n) sum_i grad L_i: plain SGD.

#include "config/registry.h"
#include "estimators/estimator.h"

namespace sgdscope {
namespace {

class Mean : public Estimator {
 public:
  at::Tensor Estimate(const EstimatorView& view) override { return view.gradients.Mean(); }
  bool TakesMean() const override { return true; }
};

const Registration<Estimator, Mean> kRegistration("mean", "the gradient of the batch's mean loss");

}  // namespace
}  // namespace sgdscope
