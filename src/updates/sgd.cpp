// Stochastic gradient descent with optional momentum, Nesterov momentum and L2 weight decay
// (decay):
//   d = g + decay * theta
//   velocity <- momentum * velocity + d
//   delta = -learning_rate * velocity,                    or, with Nesterov momentum,
//   delta = -learning_rate * (d + momentum * velocity)
// On a quadratic loss whose Hessian has the eigenvalue h, with x = learning_rate * (h + decay),
// theta and velocity turn by a matrix of trace 1 + momentum - x and determinant momentum, or, with
// Nesterov momentum, (1 + momentum) (1 - x) and momentum (1 - x). Its eigenvalues stay in the unit
// circle as long as
//   x <= 2 (1 + momentum),   with Nesterov momentum   x <= 2 (1 + momentum) / (1 + 2 momentum).

#include "config/registry.h"
#include "core/error.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

class Sgd : public UpdateRule {
 public:
  void Check(const std::string& path) const override {
    if (!nesterov_ || momentum_ > 0) return;
    throw Error(ErrorKind::kConfig, path + ".nesterov", "true, but momentum is 0",
                "Set " + path + ".momentum above 0, or leave nesterov out.");
  }

  void Allocate(const at::Tensor& theta) override {
    if (momentum_ > 0) velocity_ = at::zeros_like(theta);
  }

  Update Next(const StepGradient& gradient) override {
    const double scale = -LearningRate(gradient.step);
    const at::Tensor& g = gradient.g;
    const at::Tensor d = weight_decay_ > 0 ? g.add(gradient.theta, weight_decay_) : g;
    const Stability stability = {StableUpTo() / -scale - weight_decay_};
    if (momentum_ == 0) return {d, scale, stability};
    velocity_.mul_(momentum_).add_(d);
    return {nesterov_ ? d.add(velocity_, momentum_) : velocity_, scale, stability};
  }

  bool KnowsStability() const override { return true; }

  std::map<std::string, at::Tensor> State() const override {
    if (momentum_ == 0) return {};
    return {{"velocity", velocity_}};
  }

 private:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "momentum",
                   .help = "share of the velocity that is kept from step to step",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  momentum_);
    visitor.Visit({.name = "nesterov", .help = "Nesterov's momentum; needs momentum > 0"},
                  nesterov_);
    visitor.Visit({.name = "weight_decay",
                   .help = "L2 penalty: adds weight_decay * theta to the gradient",
                   .min = 0},
                  weight_decay_);
  }

  /// The largest stable x.
  double StableUpTo() const { return 2 * (1 + momentum_) / (nesterov_ ? 1 + 2 * momentum_ : 1); }

  double momentum_ = 0;
  bool nesterov_ = false;
  double weight_decay_ = 0;
  at::Tensor velocity_;  // [p]
};

const Registration<UpdateRule, Sgd> kRegistration(
    "sgd", "gradient descent, with momentum, Nesterov momentum and L2 weight decay if asked",
    {.variants = {R"({"momentum": 0.9})",
                  R"({"momentum": 0.9, "nesterov": true, "weight_decay": 0.01})",
                  R"({"weight_decay": 0.01})"}});

}  // namespace
}  // namespace sgdscope
