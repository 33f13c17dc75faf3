// a(z) = z Phi(z), with the standard normal distribution function Phi and its density phi:
//   a'(z) = Phi(z) + z phi(z),   a''(z) = (2 - z^2) phi(z);
// or with t = tanh(u), u = k (z + c z^3), in place of 2 Phi - 1:
//   a'(z) = (1 + t + z (1 - t^2) u') / 2,   a''(z) = (1 - t^2) (u' + z (u'' / 2 - t u'^2)).
// Along a line:  h' = a'(z) z',   h'' = a'(z) z'' + a''(z) z'^2.

#include "nn/gelu.h"

#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "nn/taps.h"

namespace sgdscope {
namespace {

class Gelu : public ElementwiseLayer {
 public:
  /// approximate: as ATen calls it, "none" or "tanh".
  Gelu(std::string approximate, std::string name)
      : approximate_(std::move(approximate)), name_(std::move(name)) {}

  at::Tensor Forward(const at::Tensor& z, const Pass& pass) const override {
    AddStep(pass, [this, z](const at::Tensor& d) { return Slope(d, z); });
    return Apply(z);
  }

  bool KnowsWayBack() const override { return true; }

  Line ForwardLine(const Line& z, const LinePass& pass) const override {
    Line h;
    h.value = Apply(z.value);
    if (z.moved.defined()) h.moved = Apply(z.moved);
    if (!z.slope.defined()) return h;
    h.slope = Slope(z.slope, z.value);
    if (!pass.curvature) return h;
    h.curvature = Bend(z.value).mul(z.slope.square());
    if (z.curvature.defined()) h.curvature = h.curvature.add(Slope(z.curvature, z.value));
    return h;
  }

  std::string Describe() const override { return name_; }

 private:
  at::Tensor Apply(const at::Tensor& z) const { return at::gelu(z, approximate_); }
  at::Tensor Slope(const at::Tensor& d, const at::Tensor& z) const {  // a'(z) d
    return at::gelu_backward(d, z, approximate_);
  }
  at::Tensor Bend(const at::Tensor& z) const {  // a''(z)
    const at::Tensor square = z.square();
    if (approximate_ == "none") {
      const double root = std::sqrt(2 * std::numbers::pi);
      return at::rsub(square, 2).mul(square.mul(-0.5).exp()).div(root);
    }
    const double k = std::sqrt(2 / std::numbers::pi), c = 0.044715;
    const at::Tensor t = square.mul(c).add(1).mul(z).mul(k).tanh();
    const at::Tensor u1 = square.mul(3 * c).add(1).mul(k), half_u2 = z.mul(3 * k * c);
    const at::Tensor by_z = half_u2.sub(t.mul(u1.square()));
    return at::rsub(t.square(), 1).mul(u1.add(z.mul(by_z)));
  }

  std::string approximate_;
  std::string name_;
};

}  // namespace

std::unique_ptr<ElementwiseLayer> MakeGelu() { return std::make_unique<Gelu>("none", "gelu"); }

std::unique_ptr<ElementwiseLayer> MakeGeluTanh() {
  return std::make_unique<Gelu>("tanh", "gelu_tanh");
}

}  // namespace sgdscope
