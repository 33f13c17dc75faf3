// Clipping by the norm (Pascanu, Mikolov and Bengio 2013, algorithm 1): with c = clip_norm each
// gradient g that the rule asks for, also at other weights, becomes  g min(1, c / |g|).

#include "updates/update_rule.h"

#include "nn/reduce.h"

namespace sgdscope {
namespace {

at::Tensor Clipped(const at::Tensor& g, double norm) {
  return g.mul(Dot(g, g).sqrt().reciprocal().mul(norm).clamp_max(1));
}

}  // namespace

void UpdateRule::Fields(FieldVisitor& visitor) {
  visitor.Choose(
      {.name = "learning_rate", .help = "step size: a number or a schedule", .required = true},
      learning_rate_);
  visitor.Visit({.name = "clip_norm",
                 .help = "a longer gradient g is scaled down to this length, before weight decay "
                         "and momentum; left out: none is",
                 .unit = "norm of g",
                 .min = 0,
                 .above_min = true},
                clip_norm_);
  OwnFields(visitor);
}

Update UpdateRule::Next(const StepGradient& gradient) {
  if (!clip_norm_) return OwnNext(gradient);
  const double norm = *clip_norm_;
  const at::Tensor g = Clipped(gradient.g, norm);
  return OwnNext({gradient.step, gradient.batch, gradient.gradients, gradient.oracle, g,
                  gradient.theta,
                  [&](const at::Tensor& theta) { return Clipped(gradient.at(theta), norm); }});
}

}  // namespace sgdscope
