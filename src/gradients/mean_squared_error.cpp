// Mean squared error over k outputs:  L(z, y) = |z - y|^2 / k,  where y is an example's targets, or
// its label as the one-hot vector of one of k classes.
// On a line of logits:  L' = 2 <z - y, z'> / k,   L'' = 2 (|z'|^2 + <z - y, z''>) / k.

#include "config/registry.h"
#include "gradients/loss.h"

namespace sgdscope {
namespace {

class MeanSquaredError : public Loss {
 public:
  bool TakesTargets() const override { return true; }

  at::Tensor Losses(const at::Tensor& z, const at::Tensor& labels) const override {
    const at::Tensor error = Error(z, labels);
    return error.mul(error).mean(1);
  }

  LineLosses AlongLine(const Line& z, const at::Tensor& labels, bool curvature) const override {
    const at::Tensor error = Error(z.value.to(at::kDouble), labels);
    const at::Tensor moved = Error(z.moved.to(at::kDouble), labels);
    const at::Tensor slope = z.slope.to(at::kDouble);
    LineLosses losses;
    losses.value = error.mul(error).mean(1);
    losses.moved = moved.mul(moved).mean(1);
    losses.slope = error.mul(slope).mean(1).mul(2);
    if (!curvature) return losses;
    losses.curvature = slope.mul(slope).mean(1).mul(2);
    if (!z.curvature.defined()) return losses;
    const at::Tensor bend = error.mul(z.curvature.to(at::kDouble)).mean(1).mul(2);
    losses.curvature = losses.curvature.add(bend);
    return losses;
  }

 private:
  static at::Tensor Error(const at::Tensor& z, const at::Tensor& labels) {
    if (labels.is_floating_point()) return z.sub(labels.to(z.scalar_type()));
    return z.sub(at::one_hot(labels, z.size(1)).to(z.scalar_type()));
  }
};

const Registration<Loss, MeanSquaredError> kRegistration(
    "mean_squared_error", "mean over the outputs of (z - y)^2, y: targets or the one-hot label");

}  // namespace
}  // namespace sgdscope
