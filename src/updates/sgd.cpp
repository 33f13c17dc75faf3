// Stochastic gradient descent with optional momentum, Nesterov momentum and L2 weight decay
// (decay):
//   d = g + decay * theta
//   velocity <- momentum * velocity + (1 - dampening) * d,  at the first step  velocity = d
//   delta = -learning_rate * velocity,                    or, with Nesterov momentum,
//   delta = -learning_rate * (d + momentum * velocity)
// Without dampening this is Polyak's heavy ball (1964); dampening = momentum makes the velocity the
// exponential average of the d, with the first one for its start. Where the rate is constant,
// momentum with dampening is the heavy ball with the rate times 1 - dampening, but for the start.
// On a quadratic loss whose Hessian has the eigenvalue h, with x = learning_rate * (1 - dampening)
// * (h + decay), theta and velocity turn by a matrix of trace 1 + momentum - x and determinant
// momentum, or, with Nesterov momentum, (1 + momentum) (1 - x) and momentum (1 - x). Its eigenvalues
// stay in the unit circle as long as
//   x <= 2 (1 + momentum),   with Nesterov momentum   x <= 2 (1 + momentum) / (1 + 2 momentum).

#include "config/registry.h"
#include "core/error.h"
#include "nn/add_multiple.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

class Sgd : public UpdateRule {
 public:
  void Check(const std::string& path) const override {
    if (momentum_ == 0 && (nesterov_ || dampening_ > 0)) {
      const std::string name = nesterov_ ? ".nesterov" : ".dampening";
      throw Error(ErrorKind::kConfig, path + name, "given, but momentum is 0",
                  "Set " + path + ".momentum above 0, or leave it out.");
    }
    if (nesterov_ && dampening_ > 0) {
      throw Error(ErrorKind::kConfig, path + ".dampening",
                  "given, but Nesterov's momentum is not dampened",
                  "Leave out either " + path + ".dampening or " + path + ".nesterov.");
    }
  }

  void Allocate(const at::Tensor& theta) override {
    if (momentum_ > 0) velocity_ = at::zeros_like(theta);
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
    visitor.Visit({.name = "dampening",
                   .help = "to the velocity, 1 - dampening times the gradient is added, but at the "
                           "first step all of it: 0 is the heavy ball, dampening = momentum the "
                           "exponential average of the gradients; needs momentum > 0",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  dampening_);
    visitor.Visit({.name = "nesterov", .help = "Nesterov's momentum; needs momentum > 0"},
                  nesterov_);
    visitor.Visit({.name = "weight_decay",
                   .help = "L2 penalty: adds weight_decay * theta to the gradient",
                   .min = 0},
                  weight_decay_);
  }

  Update OwnNext(const StepGradient& gradient) override {
    const double scale = -LearningRate(gradient.step);
    const at::Tensor& g = gradient.g;
    const Stability stability = {StableUpTo() / ((1 - dampening_) * -scale) - weight_decay_};
    if (momentum_ == 0) {
      return {weight_decay_ > 0 ? g.add(gradient.theta, weight_decay_) : g, scale, stability};
    }
    const double fresh = Seen(gradient.step) == 0 ? 1 : 1 - dampening_;
    return {
        MoveVelocity({weight_decay_, momentum_, fresh, nesterov_}, g, gradient.theta, velocity_),
        scale, stability};
  }

  bool OwnOnlyScales() const override { return momentum_ == 0 && weight_decay_ == 0; }

  /// The largest stable x.
  double StableUpTo() const { return 2 * (1 + momentum_) / (nesterov_ ? 1 + 2 * momentum_ : 1); }

  double momentum_ = 0;
  double dampening_ = 0;
  bool nesterov_ = false;
  double weight_decay_ = 0;
  at::Tensor velocity_;  // [p]
};

const Registration<UpdateRule, Sgd> kRegistration(
    "sgd", "gradient descent, with momentum, Nesterov momentum and L2 weight decay if asked",
    {.variants = {
         R"({"momentum": 0.9})", R"({"momentum": 0.9, "nesterov": true, "weight_decay": 0.01})",
         R"({"momentum": 0.9, "dampening": 0.9, "clip_norm": 0.5})", R"({"weight_decay": 0.01})"}});

}  // namespace
}  // namespace sgdscope
