// Batch normalization, for each channel:  z = gamma x + beta,  x = c r,  c = h - mean(h),
// r = (var + epsilon)^(-1/2),  var = mean(c^2), where means go over the examples of a part of the
// batch and over their positions. With dz = dL/dz:  dL/dgamma = sum dz x,  dL/dbeta = sum dz.
//
// Along theta + s (dgamma, dbeta), with h(s), at s = 0:
//   v' = 2 mean(c h'),             v'' = 2 (mean((h' - mean(h'))^2) + mean(c h''))
//   r' = -1/2 r^3 v',              r'' = 3/4 r^5 v'^2 - 1/2 r^3 v''
//   z'  = gamma (c' r + c r') + dgamma c r + dbeta
//   z'' = gamma (c'' r + 2 c' r' + c r'') + 2 dgamma (c' r + c r')
// so z' is linear in h' and h, and z'' in h'', h' and h, with one coefficient for each channel: two
// or three passes beside the sums.

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

/// h [n, ...] itself where the part is all of it: a slice would cost autograd a copy.
at::Tensor Of(const at::Tensor& h, Part part) {
  return h.defined() && h.size(0) != part.size ? h.narrow(0, part.begin, part.size) : h;
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
    ForEachPart(tap, [&](Part part, const at::Tensor& mean, const at::Tensor& scale) {
      // sum d x' = r sum d c' + r' sum d c
      const at::Tensor some_d = Of(d, part);
      const at::Tensor move = Of(input_slope, part);
      const Terms terms = TermsOnLine({Of(h, part), move, {}, {}}, {mean, scale}, false);
      Gamma(slope).add_(CentredSum(some_d, move, terms.mean_slope).mul(scale));
      Gamma(slope).add_(CentredSum(some_d, Of(h, part), mean).mul(terms.scale_slope));
    });
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
  struct Moments {  // [channels] each
    at::Tensor mean;
    at::Tensor scale;  // r
  };

  /// What the moments are on a line: derivatives of the mean of h and of r, [channels].
  struct Terms {
    at::Tensor mean_slope;
    at::Tensor scale_slope;
    at::Tensor mean_curvature;   // undefined: zero
    at::Tensor scale_curvature;  // undefined where it is not asked for
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

  /// sum a (b - mean) of each channel, in one pass: what batch normalization's own backward pass
  /// computes for gamma.
  static at::Tensor CentredSum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& mean) {
    return std::get<1>(at::native_batch_norm_backward(a, b, {}, {}, {}, mean, at::ones_like(mean),
                                                      /*train=*/true, kEpsilon,
                                                      {false, true, false}));
  }

  /// h.slope is defined.
  static Terms TermsOnLine(const Line& h, const Moments& at, bool curvature) {
    const auto count = static_cast<double>(h.value.numel() / at.mean.numel());
    const std::vector<int64_t> dims = Dims(h.value);
    const auto covariance = [&](const at::Tensor& a, const at::Tensor& b, const at::Tensor& mean) {
      return CentredSum(a, b, mean).div(count);
    };
    const at::Tensor cube = at.scale.pow(3);
    const at::Tensor v1 = covariance(h.slope, h.value, at.mean).mul(2);
    Terms terms{h.slope.mean(dims), cube.mul(v1).mul(-0.5), {}, {}};
    if (!curvature) return terms;
    at::Tensor half_v2 = covariance(h.slope, h.slope, terms.mean_slope);
    if (h.curvature.defined()) {
      terms.mean_curvature = h.curvature.mean(dims);
      half_v2 = half_v2.add(covariance(h.curvature, h.value, at.mean));
    }
    const at::Tensor steep = cube.mul(at.scale.square()).mul(v1.square()).mul(0.75);
    terms.scale_curvature = steep.sub(cube.mul(half_v2));
    return terms;
  }

  Line PartOnLine(const Line& h, const LinePass& pass) const {
    const auto channel = [&](const at::Tensor& t) { return PerChannel(t, h.value); };
    const at::Tensor gamma = Gamma(pass.theta);
    const at::Tensor gamma_move = Gamma(pass.direction).mul(pass.scale);
    const at::Tensor beta_move = Beta(pass.direction).mul(pass.scale);
    const auto [value, mean, scale] = Normalize(h.value, gamma, Beta(pass.theta));
    Line z;
    z.value = value;
    // The coefficients of h, and of h', in z'.
    at::Tensor by_value = gamma_move.mul(scale);
    const at::Tensor by_slope = gamma.mul(scale);
    if (!h.slope.defined()) {
      const at::Tensor rest = beta_move.sub(mean.mul(by_value));
      z.slope = at::addcmul(channel(rest), h.value, channel(by_value));
      return z;
    }
    const Terms terms = TermsOnLine(h, {mean, scale}, pass.curvature);
    by_value = by_value.add(gamma.mul(terms.scale_slope));
    at::Tensor rest = beta_move.sub(mean.mul(by_value)).sub(terms.mean_slope.mul(by_slope));
    z.slope =
        at::addcmul(channel(rest), h.value, channel(by_value)).addcmul_(h.slope, channel(by_slope));
    if (!pass.curvature) return z;
    const at::Tensor twice =
        gamma.mul(terms.scale_slope).add(gamma_move.mul(scale)).mul(2);  // of h' in z''
    const at::Tensor bend =
        gamma.mul(terms.scale_curvature).add(gamma_move.mul(terms.scale_slope).mul(2));  // of h
    rest = mean.mul(bend).add(terms.mean_slope.mul(twice)).neg();
    if (h.curvature.defined()) rest = rest.sub(terms.mean_curvature.mul(by_slope));
    z.curvature =
        at::addcmul(channel(rest), h.value, channel(bend)).addcmul_(h.slope, channel(twice));
    if (h.curvature.defined()) z.curvature.addcmul_(h.curvature, channel(by_slope));
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
