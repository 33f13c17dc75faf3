// A rule with memory, made explicit: what its memory does to a step follows from the gradient and
// the Hessian of the step alone. With the estimate
//   g = u + eta M,  equation 3 of gradients/memory_rules.h,
// steps of plain gradient descent of the rate eta end where the rule's do, but for an error of third
// order in eps for each step; that of u, which forgets, is of second. Of momentum g is the gradient
// of a loss,
//   C + (eta / 4) (A - 1) |grad C|^2,  A - 1 = 2 beta / (1 - beta), or 2 beta^2 / (1 - beta) of
//   nesterov,
// which is gradient_norm_penalty with lambda = (A - 1) eta. Of the adaptive rules there is no such
// loss: with D = 1 / (|grad C| + epsilon) adam has
//   g = D grad C + eta D (beta1 / (1 - beta1) - beta2 / (1 - beta2) |grad C| D) H D grad C.
//
// It stands for the rule on full batches, once the averages have forgotten their start. On a smaller
// batch it is that of a rule which has come to rest on this batch: what a rule remembers of other
// batches is no function of the step's own. The run's update rule must be sgd without momentum, of
// the learning rate eta: with momentum, that of the rule is eta (1 - beta), of which the velocity
// makes eta. A step costs the forward and backward pass, and one Hessian-vector product.

#include "config/registry.h"
#include "estimators/estimator.h"
#include "gradients/memory_rules.h"

namespace sgdscope {
namespace {

class ExplicitMemory : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "rule",
                   .help = "whose memory is made explicit: heavy_ball and nesterov with momentum, "
                           "rmsprop with beta2 and epsilon, rmsprop_momentum with all three, adam "
                           "with beta1, beta2 and epsilon, adamw also with weight_decay",
                   .paper = "Cattaneo and Shigida 2025",
                   .required = true,
                   .allowed = MemoryRuleNames()},
                  rule_);
    visitor.Visit(
        {.name = "learning_rate",
         .help = "eta: that of the rule, with momentum over 1 - momentum; the update rule "
                 "has its own, which is to be the same",
         .required = true,
         .min = 0,
         .above_min = true},
        learning_rate_);
    visitor.Visit({.name = "momentum",
                   .help = "beta of heavy_ball, nesterov and rmsprop_momentum",
                   .min = 0,
                   .max = 1,
                   .below_max = true},
                  parameters_.momentum);
    parameters_.AdaptiveFields(visitor);
  }

  void Check(const std::string& path) const override {
    parameters_.CheckMomentum(rule_, path, "rule");
  }

  bool NeedsGraph() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    const auto rule = MakeMemoryRule(rule_, parameters_);
    const at::Tensor& g = view.gradients.Mean();
    const at::Tensor u = rule->Direction(g, view.theta);
    const at::Tensor h_u = view.oracle.HessianVectorProduct(view.gradients, u);
    return u.add(rule->Memory(g, h_u), learning_rate_);
  }

 private:
  std::string rule_;
  double learning_rate_ = 0;
  MemoryParameters parameters_;
};

const Registration<Estimator, ExplicitMemory> kRegistration(
    "explicit_memory", "a rule with memory made explicit, for gradient descent that has none",
    {.base = R"({"rule": "adam", "epsilon": 0.1})",
     .variants = {R"({"rule": "heavy_ball", "momentum": 0.5})",
                  R"({"rule": "rmsprop_momentum", "momentum": 0.5, "beta2": 0.9})"}});

}  // namespace
}  // namespace sgdscope
