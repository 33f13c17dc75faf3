// A learnable gain: z = alpha h.
// With dz = dL/dz:  dL/dalpha = sum_i g_i,  g_i = <dz_i, h_i>.
// Along theta + s dalpha, with h(s):  z' = alpha h' + dalpha h,  z'' = alpha h'' + 2 dalpha h' at
// s = 0.

#include "nn/scale.h"

#include "nn/channels.h"
#include "nn/reduce.h"
#include "nn/taps.h"

namespace sgdscope {
namespace {

class Scale : public ExampleLayer {
 public:
  Scale(ParameterTable& table, const std::string& name)
      : offset_(table.Add(name + ".alpha", {1}, 1, 1, /*is_bias=*/false, /*start=*/0)) {}

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    const at::Tensor alpha = Alpha(pass.theta);
    const at::Tensor z = Recorded(*this, h, h.mul(alpha), pass);
    AddStepOf(alpha, pass);
    return z;
  }

  at::Tensor ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const override {
    if (!end.add.defined() || !h.is_cpu()) return Layer::ForwardTo(end, h, pass);
    const at::Tensor alpha = Alpha(pass.theta);
    const auto of_each = [&](const at::Tensor& number) {
      return number.to(at::kDouble).expand({h.size(1)});
    };
    const at::Tensor zero = at::zeros({1}, at::kDouble);
    // Nothing changes where -0 is added, nor where 1 is multiplied: the two roundings of z + add.
    const at::Tensor out = RoomFor(h);
    WriteCombination(
        {{h, of_each(zero), of_each(alpha)}, {end.add, of_each(zero), of_each(at::ones({1}))}},
        of_each(zero.neg()), out, end.positive);
    if (pass.taps != nullptr) Recorded(*this, h, {}, pass);
    AddStepOf(alpha, pass);
    return out;
  }

  bool KnowsWayBack() const override { return true; }

  Line ForwardLine(const Line& h, const LinePass& pass) const override {
    const at::Tensor alpha = Alpha(pass.theta);
    const at::Tensor move = Alpha(pass.direction).mul(pass.scale);
    Line z;
    z.value =
        ValueOnLine(*this, h.value, pass, [&](const at::Tensor& rest) { return rest.mul(alpha); });
    z.slope = h.value.mul(move);
    if (h.slope.defined()) z.slope = z.slope.add(h.slope.mul(alpha));
    if (pass.curvature && h.slope.defined()) {
      z.curvature = h.slope.mul(move.mul(2));
      if (h.curvature.defined()) z.curvature = z.curvature.add(h.curvature.mul(alpha));
    }
    // z is linear in alpha: where the input stays, the slope is the whole change.
    z.moved = h.moved.defined() ? h.moved.mul(alpha.add(move)) : z.value.add(z.slope);
    return z;
  }

  void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                     const at::Tensor& gradient) const override {
    Alpha(gradient).copy_(Derivatives(tap, output_gradient).sum());
  }

  at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const override {
    return tap.input.mul(Alpha(v));
  }

  void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope, const at::Tensor& d,
                          const at::Tensor& d_slope, const at::Tensor& slope) const override {
    at::Tensor sum = Derivatives(tap, d_slope).sum();
    if (input_slope.defined()) sum = sum.add(ExampleDots(d, input_slope).sum());
    Alpha(slope).copy_(sum);
  }

  at::Tensor SquaredNorms(const Tap& tap, const at::Tensor& d) const override {
    return Derivatives(tap, d).square();
  }

  at::Tensor Dots(const Tap& tap, const at::Tensor& d, const at::Tensor& v) const override {
    return Derivatives(tap, d).mul(Alpha(v));
  }

  at::Tensor Gram(const Tap& tap, const at::Tensor& d) const override {
    const at::Tensor g = Derivatives(tap, d);
    return at::outer(g, g);
  }

  void ForEachTile(const Tap& tap, const at::Tensor& d, int64_t groups, int64_t,
                   const UseTile& use) const override {
    const at::Tensor sums = Derivatives(tap, d).view({groups, -1}).sum(1, /*keepdim=*/true);
    use(offset_, sums.to(d.scalar_type()));
  }

  std::string Describe() const override { return "scale by one gain"; }

 private:
  static void AddStepOf(const at::Tensor& alpha, const Pass& pass) {
    if (pass.back == nullptr) return;
    AddWayBack(pass, [alpha](const at::Tensor& d) { return d.mul(alpha); });
  }

  at::Tensor Alpha(const at::Tensor& theta) const { return theta.narrow(0, offset_, 1); }  // a view

  /// g_i [n], in double.
  static at::Tensor Derivatives(const Tap& tap, const at::Tensor& d) {
    return ExampleDots(d, tap.input.detach());
  }

  int64_t offset_;
};

}  // namespace

std::unique_ptr<ExampleLayer> MakeScale(ParameterTable& table, const std::string& name) {
  return std::make_unique<Scale>(table, name);
}

}  // namespace sgdscope
