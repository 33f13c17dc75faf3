// Normalization of each example by itself. For each of its groups of numbers:  z = gamma x + beta,
// x = c r,  c = h - mean(h),  r = (var + epsilon)^(-1/2),  var = mean(c^2). One gamma and one beta
// belong to the P positions of a channel, or (layer norm, P = 1) to each number. With dz = dL/dz,
// example i adds  sum_p dz x  to dL/dgamma, and  sum_p dz  to dL/dbeta.
//
// Along theta + s (dgamma, dbeta), with h(s), at s = 0:
//   c'  = h' - mean(h'),           c'' = h'' - mean(h'')
//   v'  = 2 mean(c c'),            v'' = 2 (mean(c'^2) + mean(c c''))
//   r'  = -1/2 r^3 v',             r'' = 3/4 r^5 v'^2 - 1/2 r^3 v''
//   x'  = c' r + c r',             x'' = c'' r + 2 c' r' + c r''
//   z'  = gamma x' + dgamma x + dbeta
//   z'' = gamma x'' + 2 dgamma x'

#include "nn/group_norm.h"

#include <algorithm>
#include <utility>

#include "nn/taps.h"

namespace sgdscope {
namespace {

constexpr double kEpsilon = 1e-5;

/// Of each group, [n, groups, 1].
at::Tensor Mean(const at::Tensor& h) { return h.mean(2, /*keepdim=*/true); }

at::Tensor FromMean(const at::Tensor& h) { return h.sub(Mean(h)); }  // c

at::Tensor ScaleOf(const at::Tensor& c) { return Mean(c.mul(c)).add(kEpsilon).rsqrt(); }  // r

class GroupNorm : public ExampleLayer {
 public:
  /// affine: the shape of gamma and beta; text: what it is.
  GroupNorm(ParameterTable& table, const std::string& name, const std::vector<int64_t>& affine,
            int64_t groups, std::string text)
      : groups_(groups), text_(std::move(text)) {
    offset_ = table.Add(name + ".gamma", affine, 1, 1, /*is_bias=*/false, /*start=*/1);
    table.Add(name + ".beta", affine, 1, 1, /*is_bias=*/true, /*start=*/0);
    features_ = (table.size() - offset_) / 2;
  }

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    return Recorded(*this, h, Moved(Normalized(h), pass.theta).reshape(h.sizes()), pass);
  }

  Line ForwardLine(const Line& h, const LinePass& pass) const override {
    const Line x = NormalizedLine(h, pass.curvature);
    const at::Tensor gamma = Gamma(pass.theta);
    const at::Tensor gamma_move = Gamma(pass.direction).mul(pass.scale);
    const at::Tensor beta_move = Beta(pass.direction).mul(pass.scale);
    const auto shaped = [&](const at::Tensor& z) { return z.reshape(h.value.sizes()); };
    at::Tensor slope = x.value.mul(gamma_move).add(beta_move);
    if (x.slope.defined()) slope = slope.add(x.slope.mul(gamma));
    Line z{shaped(Moved(x.value, pass.theta)), shaped(slope), {}, {}};
    if (x.curvature.defined()) {
      z.curvature = shaped(x.curvature.mul(gamma).add(x.slope.mul(gamma_move.mul(2))));
    }
    const at::Tensor& end = x.moved.defined() ? x.moved : x.value;
    z.moved = shaped(end.mul(gamma.add(gamma_move)).add(Beta(pass.theta).add(beta_move)));
    return z;
  }

  void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                     const at::Tensor& gradient) const override {
    Place(gradient).copy_(Derivatives(tap, output_gradient).sum(0));
  }

  at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const override {
    return Moved(Normalized(tap.input), v).reshape(tap.input.sizes());
  }

  void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope, const at::Tensor& d,
                          const at::Tensor& d_slope, const at::Tensor& slope) const override {
    at::Tensor sum = Derivatives(tap, d_slope).sum(0);
    if (input_slope.defined()) {
      const at::Tensor h = tap.input.detach().to(at::kDouble);
      const Line x = NormalizedLine({h, input_slope.to(at::kDouble), {}, {}}, false);
      const at::Tensor by_gamma = InDouble(d).mul(x.slope).sum(at::IntArrayRef({0, 2}));
      sum = sum.add(at::cat({by_gamma, at::zeros_like(by_gamma)}));
    }
    Place(slope).copy_(sum);
  }

  at::Tensor SquaredNorms(const Tap& tap, const at::Tensor& d) const override {
    return Derivatives(tap, d).square().sum(1);
  }

  at::Tensor Dots(const Tap& tap, const at::Tensor& d, const at::Tensor& v) const override {
    return Derivatives(tap, d).mv(Place(v).to(at::kDouble));
  }

  at::Tensor Gram(const Tap& tap, const at::Tensor& d) const override {
    const at::Tensor g = Derivatives(tap, d);
    return g.mm(g.t());
  }

  void ForEachTile(const Tap& tap, const at::Tensor& d, int64_t groups, int64_t max_numbers,
                   const UseTile& use) const override {
    const at::Tensor g = Derivatives(tap, d);
    const at::Tensor sums = g.view({groups, -1, g.size(1)}).sum(1).to(d.scalar_type());
    const int64_t most = std::max<int64_t>(1, max_numbers / groups);  // coordinates of a tile
    for (int64_t begin = 0; begin < sums.size(1); begin += most) {
      const int64_t size = std::min(most, sums.size(1) - begin);
      use(offset_ + begin, sums.narrow(1, begin, size).contiguous());
    }
  }

  std::string Describe() const override { return text_; }

 private:
  at::Tensor Place(const at::Tensor& theta) const {  // gamma, then beta; a view
    return theta.narrow(0, offset_, 2 * features_);
  }
  at::Tensor Gamma(const at::Tensor& theta) const {  // [features, 1], a view
    return theta.narrow(0, offset_, features_).view({features_, 1});
  }
  at::Tensor Beta(const at::Tensor& theta) const {  // [features, 1], a view
    return theta.narrow(0, offset_ + features_, features_).view({features_, 1});
  }

  /// gamma x + beta of x [n, features, P].
  at::Tensor Moved(const at::Tensor& x, const at::Tensor& theta) const {
    return x.mul(Gamma(theta)).add(Beta(theta));
  }

  at::Tensor Grouped(const at::Tensor& h) const {  // [n, groups, m]
    return h.reshape({h.size(0), groups_, -1});
  }
  at::Tensor Featured(const at::Tensor& x) const {  // [n, features, P]
    return x.reshape({x.size(0), features_, -1});
  }

  /// x [n, features, P].
  at::Tensor Normalized(const at::Tensor& h) const {
    const at::Tensor c = FromMean(Grouped(h));
    return Featured(c.mul(ScaleOf(c)));
  }

  /// x on a line of h, each [n, features, P].
  Line NormalizedLine(const Line& h, bool curvature) const {
    const at::Tensor c = FromMean(Grouped(h.value)), r = ScaleOf(c);
    Line x;
    x.value = Featured(c.mul(r));
    if (h.moved.defined()) x.moved = Normalized(h.moved);
    if (!h.slope.defined()) return x;
    const at::Tensor c1 = FromMean(Grouped(h.slope));
    const at::Tensor v1 = Mean(c.mul(c1)).mul(2), cube = r.pow(3);
    const at::Tensor r1 = cube.mul(v1).mul(-0.5);
    x.slope = Featured(c1.mul(r).add(c.mul(r1)));
    if (!curvature) return x;
    at::Tensor half_v2 = Mean(c1.mul(c1)), bend = c1.mul(r1).mul(2);
    if (h.curvature.defined()) {
      const at::Tensor c2 = FromMean(Grouped(h.curvature));
      half_v2 = half_v2.add(Mean(c.mul(c2)));
      bend = bend.add(c2.mul(r));
    }
    const at::Tensor steep = cube.mul(r.square()).mul(v1.square()).mul(0.75);
    x.curvature = Featured(bend.add(c.mul(steep.sub(cube.mul(half_v2)))));
    return x;
  }

  at::Tensor InDouble(const at::Tensor& d) const {  // [n, features, P]
    return d.to(at::kDouble).reshape({d.size(0), features_, -1});
  }

  /// g_i [n, 2 features] in double.
  at::Tensor Derivatives(const Tap& tap, const at::Tensor& d) const {
    const at::Tensor dz = InDouble(d);
    const at::Tensor x = Normalized(tap.input.detach().to(at::kDouble));
    return at::cat({dz.mul(x).sum(2), dz.sum(2)}, 1);
  }

  int64_t groups_;
  std::string text_;
  int64_t offset_ = 0;
  int64_t features_ = 0;
};

}  // namespace

std::unique_ptr<ExampleLayer> MakeGroupNorm(ParameterTable& table, const std::string& name,
                                            int64_t channels, int64_t groups) {
  return std::make_unique<GroupNorm>(table, name, std::vector<int64_t>{channels}, groups,
                                     "group norm of " + std::to_string(channels) + " channels in " +
                                         std::to_string(groups) + " groups");
}

std::unique_ptr<ExampleLayer> MakeLayerNorm(ParameterTable& table, const std::string& name,
                                            const std::vector<int64_t>& shape) {
  std::string text = "layer norm of";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? " " : " x ") + std::to_string(shape[i]);
  }
  return std::make_unique<GroupNorm>(table, name, shape, 1, text + " numbers");
}

}  // namespace sgdscope
