// Batch normalization, for each channel:  z = gamma x + beta,  x = c r,  c = h - mean(h),
// r = (var + epsilon)^(-1/2),  var = mean(c^2), where means go over the examples of a part of the
// batch and over their positions. With dz = dL/dz:  dL/dgamma = sum dz x,  dL/dbeta = sum dz.
//
// Along theta + s (dgamma, dbeta), with h(s), at s = 0:
//   c' = h' - mean(h'),            c'' = h'' - mean(h'')
//   v' = 2 mean(c c'),             v'' = 2 mean(c'^2 + c c'')
//   r' = -1/2 r^3 v',              r'' = 3/4 r^5 v'^2 - 1/2 r^3 v''
//   x' = c' r + c r',              x'' = c'' r + 2 c' r' + c r''
//   z' = gamma x' + dgamma x + dbeta,    z'' = gamma x'' + 2 dgamma x'

#include <algorithm>
#include <vector>

#include "nn/layer.h"
#include "nn/taps.h"

namespace sgdscope {
namespace {

constexpr double kEpsilon = 1e-5;

/// Batch [begin, begin + size) of the examples is normalized by itself.
struct Part {
  int64_t begin;
  int64_t size;
};

at::Tensor Of(const at::Tensor& h, Part part) {
  return h.defined() ? h.narrow(0, part.begin, part.size) : h;
}

/// Parts put together again; undefined where they are.
at::Tensor Joined(const std::vector<at::Tensor>& parts) {
  if (!parts.front().defined()) return {};
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

class BatchNorm : public Layer {
 public:
  BatchNorm(ParameterTable& table, ParameterTable& statistics, const std::string& name,
            int64_t channels, int64_t ghost)
      : channels_(channels), ghost_(ghost) {
    gamma_offset_ = table.Add(name + ".gamma", {channels}, 1, 1, /*is_bias=*/false, /*start=*/1);
    table.Add(name + ".beta", {channels}, 1, 1, /*is_bias=*/true, /*start=*/0);
    mean_offset_ = statistics.Add(name + ".mean", {channels}, 1, 1, false, /*start=*/0);
    statistics.Add(name + ".variance", {channels}, 1, 1, false, /*start=*/1);
  }

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    if (pass.running.defined()) {
      return std::get<0>(at::native_batch_norm(h, Gamma(pass.theta), Beta(pass.theta),
                                               Mean(pass.running), Variance(pass.running),
                                               /*training=*/false, 0, kEpsilon));
    }
    std::vector<at::Tensor> outputs, moments;
    for (const Part part : Parts({h.size(0)})) {
      const auto [z, mean, scale] = Normalize(Of(h, part), Gamma(pass.theta), Beta(pass.theta));
      outputs.push_back(z);
      moments.push_back(at::stack({mean, scale}));
    }
    const at::Tensor z = Recorded(*this, h, Joined(outputs), pass);
    if (pass.taps != nullptr) pass.taps->back().moments = at::stack(moments).detach();
    return z;
  }

  Line ForwardLine(const Line& h, const LinePass& pass) const override {
    std::vector<at::Tensor> value, slope, curvature, moved;
    const at::Tensor moved_theta = Moved(pass);
    const at::Tensor rest = h.moved.defined() ? h.moved : h.value;
    const auto sizes = pass.batches.empty() ? std::vector<int64_t>{h.value.size(0)} : pass.batches;
    for (const Part part : Parts(sizes)) {
      const Line some{Of(h.value, part), Of(h.slope, part), Of(h.curvature, part), {}};
      const Line z = PartOnLine(some, pass);
      value.push_back(z.value);
      slope.push_back(z.slope);
      curvature.push_back(z.curvature);
      moved.push_back(std::get<0>(Normalize(Of(rest, part), moved_theta.narrow(0, 0, channels_),
                                            moved_theta.narrow(0, channels_, channels_))));
    }
    return {Joined(value), Joined(slope), Joined(curvature), Joined(moved)};
  }

  void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                     const at::Tensor& gradient) const override {
    const at::Tensor place = Both(gradient);
    place.zero_();
    ForEachPart(tap, [&](Part part, const at::Tensor& mean, const at::Tensor& scale) {
      place.add_(Derivatives(Of(tap.input.detach(), part), Of(output_gradient, part), mean, scale));
    });
  }

  at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const override {
    std::vector<at::Tensor> parts;
    for (const Part part : Parts({tap.input.size(0)})) {
      parts.push_back(std::get<0>(Normalize(Of(tap.input, part), Gamma(v), Beta(v))));
    }
    return Joined(parts);
  }

  void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope, const at::Tensor& d,
                          const at::Tensor& d_slope, const at::Tensor& slope) const override {
    WriteGradient(tap, d_slope, slope);
    if (!input_slope.defined()) return;
    const at::Tensor h = tap.input.detach();
    for (const Part part : Parts({h.size(0)})) {
      const Unit x = UnitOnLine({Of(h, part), Of(input_slope, part), {}, {}}, /*curvature=*/false);
      Gamma(slope).add_(x.slope.mul(Of(d, part)).sum(Dims(h)));
    }
  }

  void WriteStatistics(const Tap& tap, const at::Tensor& statistics) const override {
    // Of several parts the mean, each with the weight of its examples.
    const at::Tensor out = statistics.narrow(0, mean_offset_, 2 * channels_).view({2, channels_});
    out.zero_();
    const double positions =
        static_cast<double>(tap.input.numel()) / static_cast<double>(tap.input.size(0) * channels_);
    ForEachPart(tap, [&](Part part, const at::Tensor& mean, const at::Tensor& scale) {
      const double count = static_cast<double>(part.size) * positions;
      const at::Tensor biased = scale.pow(-2).sub(kEpsilon).clamp_min(0);
      const at::Tensor variance = biased.mul(count / std::max(count - 1, 1.0));
      out.add_(at::stack({mean, variance}),
               static_cast<double>(part.size) / static_cast<double>(tap.input.size(0)));
    });
  }

  std::string Describe() const override {
    return "batch norm of " + std::to_string(channels_) + " channels" +
           (ghost_ > 0 ? ", ghost batches of " + std::to_string(ghost_) : "");
  }

 private:
  /// x on a line: h normalized, without gamma and beta.
  struct Unit {
    at::Tensor value;
    at::Tensor slope;      // undefined: zero
    at::Tensor curvature;  // undefined: zero, or not asked for
  };

  at::Tensor Both(const at::Tensor& theta) const {  // [2 channels], a view
    return theta.narrow(0, gamma_offset_, 2 * channels_);
  }
  at::Tensor Gamma(const at::Tensor& theta) const {  // [channels], a view
    return theta.narrow(0, gamma_offset_, channels_);
  }
  at::Tensor Beta(const at::Tensor& theta) const {  // [channels], a view
    return theta.narrow(0, gamma_offset_ + channels_, channels_);
  }
  at::Tensor Mean(const at::Tensor& statistics) const {
    return statistics.narrow(0, mean_offset_, channels_);
  }
  at::Tensor Variance(const at::Tensor& statistics) const {
    return statistics.narrow(0, mean_offset_ + channels_, channels_);
  }

  /// gamma and beta at the end of the line [2 channels].
  at::Tensor Moved(const LinePass& pass) const {
    return Both(pass.theta).add(Both(pass.direction), pass.scale);
  }

  static std::vector<int64_t> Dims(const at::Tensor& h) {  // all but the channels'
    std::vector<int64_t> dims = {0};
    for (int64_t dim = 2; dim < h.dim(); ++dim) dims.push_back(dim);
    return dims;
  }

  /// [channels] in the shape that meets h [n, channels, ...].
  static at::Tensor PerChannel(const at::Tensor& numbers, const at::Tensor& h) {
    std::vector<int64_t> shape(static_cast<size_t>(h.dim()), 1);
    shape[1] = numbers.size(0);
    return numbers.view(shape);
  }

  /// The parts of batches of these sizes that follow one another.
  std::vector<Part> Parts(const std::vector<int64_t>& batches) const {
    std::vector<Part> parts;
    int64_t begin = 0;
    for (const int64_t size : batches) {
      const int64_t most = ghost_ > 0 ? ghost_ : size;
      for (int64_t end = begin + size; begin < end;) {
        parts.push_back({begin, std::min(most, end - begin)});
        begin += parts.back().size;
      }
    }
    return parts;
  }

  /// Calls use(part, mean, scale) for each part of the tap's batch.
  template <class Use>
  void ForEachPart(const Tap& tap, const Use& use) const {
    const auto parts = Parts({tap.input.size(0)});
    for (size_t i = 0; i < parts.size(); ++i) {
      const at::Tensor moments = tap.moments[static_cast<int64_t>(i)];
      use(parts[i], moments[0], moments[1]);
    }
  }

  /// z, and mean and 1 / sqrt(var + epsilon) [channels].
  static std::tuple<at::Tensor, at::Tensor, at::Tensor> Normalize(const at::Tensor& h,
                                                                  const at::Tensor& gamma,
                                                                  const at::Tensor& beta) {
    return at::native_batch_norm(h, gamma, beta, {}, {}, /*training=*/true, 0, kEpsilon);
  }

  /// The losses' derivatives by gamma and beta, one after the other: [2 channels].
  static at::Tensor Derivatives(const at::Tensor& h, const at::Tensor& d, const at::Tensor& mean,
                                const at::Tensor& scale) {
    const auto [input, gamma, beta] =
        at::native_batch_norm_backward(d, h, {}, {}, {}, mean, scale,
                                       /*train=*/true, kEpsilon, {false, true, true});
    return at::cat({gamma, beta});
  }

  static Unit UnitOnLine(const Line& h, bool curvature) {
    const std::vector<int64_t> dims = Dims(h.value);
    const auto mean = [&](const at::Tensor& t) { return t.mean(dims, /*keepdim=*/true); };
    const at::Tensor c = h.value.sub(mean(h.value));
    const at::Tensor r = mean(c.mul(c)).add(kEpsilon).rsqrt();
    Unit x{c.mul(r), {}, {}};
    if (!h.slope.defined()) return x;
    const at::Tensor c1 = h.slope.sub(mean(h.slope));
    const at::Tensor v1 = mean(c.mul(c1)).mul(2);
    const at::Tensor r3 = r.pow(3);
    const at::Tensor r1 = r3.mul(v1).mul(-0.5);
    x.slope = c1.mul(r).add(c.mul(r1));
    if (!curvature) return x;
    at::Tensor half_v2 = mean(c1.mul(c1));
    x.curvature = c1.mul(r1.mul(2));
    if (h.curvature.defined()) {
      const at::Tensor c2 = h.curvature.sub(mean(h.curvature));
      half_v2 = half_v2.add(mean(c.mul(c2)));
      x.curvature = x.curvature.add(c2.mul(r));
    }
    const at::Tensor r2 = r3.mul(r).mul(r).mul(v1).mul(v1).mul(0.75).sub(r3.mul(half_v2));
    x.curvature = x.curvature.add(c.mul(r2));
    return x;
  }

  Line PartOnLine(const Line& h, const LinePass& pass) const {
    const auto channel = [&](const at::Tensor& t) { return PerChannel(t, h.value); };
    const at::Tensor gamma = channel(Gamma(pass.theta));
    const at::Tensor gamma_move = channel(Gamma(pass.direction)).mul(pass.scale);
    const at::Tensor beta_move = channel(Beta(pass.direction)).mul(pass.scale);
    const Unit x = UnitOnLine(h, pass.curvature);
    Line z;
    z.value = std::get<0>(Normalize(h.value, Gamma(pass.theta), Beta(pass.theta)));
    z.slope = x.value.mul(gamma_move).add(beta_move);
    if (!x.slope.defined()) return z;
    z.slope = z.slope.add(x.slope.mul(gamma));
    if (pass.curvature) z.curvature = x.curvature.mul(gamma).add(x.slope.mul(gamma_move.mul(2)));
    return z;
  }

  int64_t channels_;
  int64_t ghost_;
  int64_t gamma_offset_ = 0;
  int64_t mean_offset_ = 0;
};

}  // namespace

std::unique_ptr<Layer> MakeBatchNorm(ParameterTable& table, ParameterTable& statistics,
                                     const std::string& name, int64_t channels, int64_t ghost) {
  return std::make_unique<BatchNorm>(table, statistics, name, channels, ghost);
}

}  // namespace sgdscope
