// Rules that move every weight by the learning rate alone, in the direction of a sign (of 0: not at
// all). With an average m of the gradients, 0 at the start:
//   c = beta1 m + (1 - beta1) g,   m <- beta2 m + (1 - beta2) g
//   delta = -learning_rate * (sign(c) + weight_decay * theta)
// lion is that (Chen et al. 2023, "Symbolic discovery of optimization algorithms", program 1);
// sign_sgd has beta1 = beta2 = momentum, so that it takes the sign of m, and no decay: signSGD, and
// with momentum Signum (Bernstein et al. 2018, "signSGD: compressed optimisation for non-convex
// problems", algorithms 1 and 2). At which sharpness they become unstable is not known: on a
// quadratic loss they end in a cycle as wide as their step, whatever the curvature.

#include "config/registry.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

/// The signs of x [p]; NaN where x is.
at::Tensor Signs(const at::Tensor& x) { return at::where(x.isnan(), x, x.sign()); }

class SignRule : public UpdateRule {
 public:
  void Allocate(const at::Tensor& theta) override {
    if (beta1() > 0 || beta2_ > 0) mean_ = at::zeros_like(theta);
  }

  std::map<std::string, at::Tensor> State() const override {
    if (!mean_.defined()) return {};
    return {{"mean", mean_}};
  }

 protected:
  explicit SignRule(double beta2) : beta2_(beta2) {}

  double beta2_;
  double weight_decay_ = 0;

 private:
  virtual double beta1() const = 0;

  Update OwnNext(const StepGradient& gradient) override {
    const at::Tensor& g = gradient.g;
    at::Tensor direction;
    if (mean_.defined()) {
      direction = Signs(mean_.mul(beta1()).add(g, 1 - beta1()));
      mean_.mul_(beta2_).add_(g, 1 - beta2_);
    } else {
      direction = Signs(g);
    }
    if (weight_decay_ > 0) direction.add_(gradient.theta, weight_decay_);
    return {direction, -LearningRate(gradient.step)};
  }

  at::Tensor mean_;  // m [p]; undefined where it would be g
};

class Lion final : public SignRule {
 public:
  Lion() : SignRule(0.99) {}

 private:
  double beta1() const override { return beta1_; }

  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "beta1",
                   .help = "share of the mean of gradients in what the sign is taken of",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  beta1_);
    visitor.Visit({.name = "beta2",
                   .help = "decay of the mean of gradients",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  beta2_);
    visitor.Visit({.name = "weight_decay",
                   .help = "decoupled: each step also takes learning_rate * weight_decay of theta "
                           "from it",
                   .min = 0},
                  weight_decay_);
  }

  double beta1_ = 0.9;
};

class SignSgd final : public SignRule {
 public:
  SignSgd() : SignRule(0) {}

 private:
  double beta1() const override { return beta2_; }

  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "momentum",
                   .help = "decay of the mean of gradients, of which the sign is taken",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  beta2_);
  }
};

const Registration<UpdateRule, Lion> kLion(
    "lion",
    "the sign of an average of the gradients, with decoupled weight decay (Chen et al. 2023)",
    {.variants = {R"({"beta2": 0, "weight_decay": 0.1})"}});
const Registration<UpdateRule, SignSgd> kSignSgd(
    "sign_sgd", "the sign of the gradient, or of its average (Bernstein et al. 2018)",
    {.variants = {R"({"momentum": 0.9})"}});

}  // namespace
}  // namespace sgdscope
