// The gradient of the implicit regularizer |g|^2 / 4 of the updating batch, with g = grad C: H g /
// 2 (implicit_regularization, equation 1), and what becomes of it when H g is taken from a
// difference of two gradients, d_r = (grad C(theta + r g) - g) / r, as is often done:
//   squared_norm         |g|^2
//   norm                 |H g|, exact, by double backward
//   finite_difference    |d_r|
//   relative_difference  |d_r - H g| / |H g|; it need not vanish with r where the network has kinks

#include "config/registry.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

class PenaltyGradient : public Probe {
 public:
  std::vector<std::string> Values() const override {
    return {"squared_norm", "norm", "finite_difference", "relative_difference"};
  }

  at::Tensor Measure(const StepView& view) override {
    const Gradients gradients = view.oracle.Evaluate(view.batch, view.theta, /*keep_graph=*/true);
    const at::Tensor& g = gradients.Mean();
    const at::Tensor exact = view.oracle.HessianVectorProduct(gradients, g).to(at::kDouble);
    const at::Tensor difference =
        view.oracle.GradientDifference(view.batch, view.theta, gradients, difference_)
            .to(at::kDouble);
    const at::Tensor norm = exact.norm();
    return at::stack({g.to(at::kDouble).square().sum(), norm, difference.norm(),
                      Ratio(difference.sub(exact).norm(), norm)});
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "difference",
                   .help = "r: theta moves by r g for the second gradient",
                   .min = 0,
                   .above_min = true},
                  difference_);
  }

 private:
  double difference_ = 0.01;
};

const Registration<Probe, PenaltyGradient> kRegistration(
    "penalty_gradient",
    "the gradient of the squared gradient norm, exactly and by finite differences");

}  // namespace
}  // namespace sgdscope
