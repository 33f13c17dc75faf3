// Adam (Kingma and Ba 2015), algorithm 1, at the t-th step of the state:
//   m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
//   delta = -learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
// AdamW (Loshchilov and Hutter 2019, algorithm 2) adds to delta, apart from the gradient,
//   -learning_rate * weight_decay * theta
// With P = sqrt(v / (1 - beta2^t)) + epsilon and the rate r = learning_rate / (1 - beta1^t), delta is
//   -r P^-1 m - learning_rate * weight_decay * theta.
// On a quadratic loss with the Hessian H, if P and the rates no longer change, theta and P^-1 m turn,
// along an eigenvector of P^-1 H with the eigenvalue h, by a matrix of trace a + beta1 - y and
// determinant a beta1, with a = 1 - learning_rate * weight_decay and y = (1 - beta1) r h: they stay
// bounded as long as y <= (1 + a) (1 + beta1). Without decay that is h <= (2 + 2 beta1) /
// ((1 - beta1) r) (Cohen et al. 2022, "Adaptive gradient methods at the edge of stability", who
// count 1 - beta1^t, soon 1, as part of P).

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

  bool KnowsStability() const override { return true; }

  std::map<std::string, at::Tensor> State() const override {
    return {{"mean", mean_}, {"square", square_}};
  }

 protected:
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

  double weight_decay_ = 0;  // AdamW's

 private:
  Update OwnNext(const StepGradient& gradient) override {
    const at::Tensor& g = gradient.g;
    const auto t = static_cast<double>(Seen(gradient.step) + 1);
    mean_.mul_(beta1_).add_(g, 1 - beta1_);
    square_.mul_(beta2_).addcmul_(g, g, 1 - beta2_);
    const at::Tensor root = square_.sqrt().div_(std::sqrt(1 - std::pow(beta2_, t))).add_(epsilon_);
    const double learning_rate = LearningRate(gradient.step);
    const double correction = 1 - std::pow(beta1_, t);  // learning_rate / rate, unless both are 0
    const double rate = learning_rate / correction;
    const at::Tensor direction = mean_.div(root);
    if (weight_decay_ > 0) direction.add_(gradient.theta, weight_decay_ * correction);
    const double stable_up_to = (2 - learning_rate * weight_decay_) * (1 + beta1_);  // y
    return {direction, -rate, {stable_up_to / ((1 - beta1_) * rate), root}};
  }

  double beta1_ = 0.9;
  double beta2_ = 0.999;
  double epsilon_ = 1e-8;
  at::Tensor mean_;    // [p]
  at::Tensor square_;  // [p]
};

class AdamW final : public Adam {
 public:
  AdamW() { weight_decay_ = 0.01; }

 private:
  void OwnFields(FieldVisitor& visitor) override {
    Adam::OwnFields(visitor);
    visitor.Visit({.name = "weight_decay",
                   .help = "decoupled: each step also takes learning_rate * weight_decay of theta "
                           "from it",
                   .min = 0},
                  weight_decay_);
  }
};

const TestFields kTests = {.variants = {R"({"beta1": 0, "epsilon": 1e-3})"}};

const Registration<UpdateRule, Adam> kAdam("adam", "Adam (Kingma and Ba 2015), bias-corrected",
                                           kTests);
const Registration<UpdateRule, AdamW> kAdamW(
    "adamw", "Adam with decoupled weight decay (Loshchilov and Hutter 2019)", kTests);

}  // namespace
}  // namespace sgdscope
