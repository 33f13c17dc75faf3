// RMSProp (Tieleman and Hinton 2012), with momentum if asked:
//   v <- beta2 v + (1 - beta2) g^2,   P = sqrt(v) + epsilon
//   velocity <- momentum * velocity + P^-1 g
//   delta = -learning_rate * velocity
// On a quadratic loss with the Hessian H, if P no longer changes, theta stays bounded as long as no
// eigenvalue of P^-1 H is above 2 (1 + momentum) / learning_rate: that of the heavy ball (sgd.cpp).

#include "config/registry.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

class RmsProp final : public UpdateRule {
 public:
  void Allocate(const at::Tensor& theta) override {
    square_ = at::zeros_like(theta);
    if (momentum_ > 0) velocity_ = at::zeros_like(theta);
  }

  bool KnowsStability() const override { return true; }

  std::map<std::string, at::Tensor> State() const override {
    if (momentum_ == 0) return {{"square", square_}};
    return {{"square", square_}, {"velocity", velocity_}};
  }

 private:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "beta2",
                   .help = "decay of the mean of squared gradients",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  beta2_);
    visitor.Visit({.name = "epsilon",
                   .help = "added to the root of the mean square",
                   .min = 0,
                   .above_min = true},
                  epsilon_);
    visitor.Visit({.name = "momentum",
                   .help = "share of the velocity that is kept from step to step",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  momentum_);
  }

  Update OwnNext(const StepGradient& gradient) override {
    const at::Tensor& g = gradient.g;
    const double rate = LearningRate(gradient.step);
    square_.mul_(beta2_).addcmul_(g, g, 1 - beta2_);
    const at::Tensor root = square_.sqrt().add_(epsilon_);
    const Stability stability = {2 * (1 + momentum_) / rate, root};
    if (momentum_ == 0) return {g.div(root), -rate, stability};
    velocity_.mul_(momentum_).addcdiv_(g, root);
    return {velocity_, -rate, stability};
  }

  double beta2_ = 0.99;
  double epsilon_ = 1e-8;
  double momentum_ = 0;
  at::Tensor square_;    // [p]
  at::Tensor velocity_;  // [p]
};

const Registration<UpdateRule, RmsProp> kRegistration(
    "rmsprop", "the gradient over the root of its mean square (Tieleman and Hinton 2012)",
    {.variants = {R"({"momentum": 0.9, "epsilon": 1e-3})"}});

}  // namespace
}  // namespace sgdscope
