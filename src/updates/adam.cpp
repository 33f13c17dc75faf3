// Adam (Kingma and Ba 2015), algorithm 1, t = step + 1:
//   m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
//   delta = -learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
// With P = sqrt(v / (1 - beta2^t)) + epsilon and the rate r = learning_rate / (1 - beta1^t) that is
//   delta = -r P^-1 m,
// which stays bounded on a quadratic loss with the Hessian H, if P and r no longer change, as long
// as no eigenvalue of P^-1 H is above (2 + 2 beta1) / ((1 - beta1) r) (Cohen et al. 2022, "Adaptive
// gradient methods at the edge of stability", who count 1 - beta1^t, soon 1, as part of P).

#include <cmath>

#include "config/registry.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

class Adam : public UpdateRule {
 public:
  void Allocate(const at::Tensor& theta) override {
    mean_ = at::zeros_like(theta);
    square_ = at::zeros_like(theta);
  }

  Update Next(const StepGradient& gradient) override {
    const at::Tensor& g = gradient.g;
    const auto t = static_cast<double>(gradient.step + 1);
    mean_.mul_(beta1_).add_(g, 1 - beta1_);
    square_.mul_(beta2_).addcmul_(g, g, 1 - beta2_);
    const at::Tensor root = square_.sqrt().div_(std::sqrt(1 - std::pow(beta2_, t))).add_(epsilon_);
    const double rate = LearningRate(gradient.step) / (1 - std::pow(beta1_, t));
    return {mean_.div(root), -rate, {(2 + 2 * beta1_) / ((1 - beta1_) * rate), root}};
  }

  bool KnowsStability() const override { return true; }

  std::map<std::string, at::Tensor> State() const override {
    return {{"mean", mean_}, {"square", square_}};
  }

 private:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "beta1",
                   .help = "decay of the mean of gradients",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  beta1_);
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
  }

  double beta1_ = 0.9;
  double beta2_ = 0.999;
  double epsilon_ = 1e-8;
  at::Tensor mean_;    // [p]
  at::Tensor square_;  // [p]
};

const Registration<UpdateRule, Adam> kRegistration("adam",
                                                   "Adam (Kingma and Ba 2015), bias-corrected",
                                                   {.variants = {
                                                        R"({"beta1": 0, "epsilon": 1e-3})"}});

}  // namespace
}  // namespace sgdscope
