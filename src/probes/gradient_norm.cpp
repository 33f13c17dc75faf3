// |g| of the estimator's gradient and |delta| of the update, sums in double.

#include "config/registry.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

at::Tensor Norm(const at::Tensor& v) {
  return at::linalg_vector_norm(v, 2, {}, false, at::kDouble);
}

class GradientNorm : public Probe {
 public:
  std::vector<std::string> Values() const override { return {"g", "delta"}; }

  at::Tensor Measure(const StepView& view) override {
    const at::Tensor g = Norm(view.g);
    const bool same = view.update.direction.is_same(view.g);
    const at::Tensor direction = same ? g : Norm(view.update.direction);
    return at::stack({g, direction.mul(std::abs(view.update.scale))});
  }
};

const Registration<Probe, GradientNorm> kRegistration(
    "gradient_norm", "Euclidean norms of the gradient g and of the update delta");

}  // namespace
}  // namespace sgdscope
