// For each weight the mean of the signs of the batch's per-example values: a majority vote whose
// strength counts. Bernstein et al., "signSGD with majority vote", 2019, takes the sign of it.

#include "config/registry.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"

namespace sgdscope {
namespace {

class SignSum : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override { memory_.Fields(visitor); }

  bool NeedsSingleExamples() const override { return true; }
  bool NeedsWholeBatch() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    return PerExample(view.gradients, memory_).Reduce({kernels::Reduction::Kind::kSigns});
  }

 private:
  TileMemory memory_;
};

const Registration<Estimator, SignSum> kRegistration(
    "sign_sum", "each weight's mean of the signs of the per-example gradients");

}  // namespace
}  // namespace sgdscope
