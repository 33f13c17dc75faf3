// Batch normalization, for each channel:  z = gamma x + beta,  x = c r,  c = h - mean(h),
// r = (var + epsilon)^(-1/2),  var = mean(c^2), where means go over the N values of a part of the
// batch: its examples and their positions. With dz = dL/dz:  dL/dgamma = sum dz x,  dL/dbeta = sum
// dz, and
//   dL/dh = gamma r (dz - mean(dz) - c r^2 mean(dz c)),
// which is linear in dz, and symmetric. Where u = dS/d(dL/dh) of a scalar S, dS/d(dz) is therefore
// the same of u, and with u~ = u - mean(u), dz~ = dz - mean(dz)
//   dS/dh = gamma (c (3 r^5 sum(u c) sum(dz c) / N^2 - r^3 sum(u~ dz~) / N)
//                  - u~ r^3 mean(dz c) - dz~ r^3 mean(u c)).
//
// Along theta + s (dgamma, dbeta), with h(s), at s = 0:
//   v' = 2 mean(c h'),             v'' = 2 (mean((h' - mean(h'))^2) + mean(c h''))
//   r' = -1/2 r^3 v',              r'' = 3/4 r^5 v'^2 - 1/2 r^3 v''
//   z'  = gamma (c' r + c r') + dgamma c r + dbeta
//   z'' = gamma (c'' r + 2 c' r' + c r'') + 2 dgamma (c' r + c r')
// so z' is linear in h' and h, and z'' in h'', h' and h, with one coefficient for each channel.
//
// Everything is thus made of sums and linear combinations of each channel. The sums are in double:
// where an error of the moments moves a value across the kink of a ReLU, the gradient jumps.

#include "nn/batch_norm.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "nn/channels.h"
#include "nn/taps.h"

namespace sgdscope {
namespace {

constexpr double kEpsilon = 1e-5;

/// Batch [begin, begin + size) of the examples is normalized by itself.
struct Part {
  int64_t begin;
  int64_t size;
};

/// The parts of batches of these sizes that follow one another.
std::vector<Part> PartsOf(const std::vector<int64_t>& batches, int64_t ghost) {
  std::vector<Part> parts;
  int64_t begin = 0;
  for (const int64_t size : batches) {
    const int64_t most = ghost > 0 ? ghost : size;
    for (const int64_t end = begin + size; begin < end;) {
      parts.push_back({begin, std::min(most, end - begin)});
      begin += parts.back().size;
    }
  }
  return parts;
}

/// h [n, ...] itself where the part is all of it.
at::Tensor Of(const at::Tensor& h, Part part) {
  return h.defined() && h.size(0) != part.size ? h.narrow(0, part.begin, part.size) : h;
}

double CountOf(const at::Tensor& h) {  // N
  return static_cast<double>(h.numel() / h.size(1));
}

/// mean and r [2, channels] in double of a part.
at::Tensor MomentsOf(const at::Tensor& h) {
  const double count = CountOf(h);
  if (count == 1) {
    throw Error(ErrorKind::kConfig, "model.norm",
                "batch normalization of a single value a channel, whose variance is always 0: one "
                "example, of which one pixel is left",
                "Use larger batches, larger images, or a norm without batches.");
  }
  // A value of the channel itself: (value - mean)^2 <= N var, so that what is subtracted below
  // costs no digits that matter.
  const at::Tensor shift = h[0].reshape({h.size(1), -1}).select(1, 0).to(at::kDouble);
  const at::Tensor sums = ChannelSums(h, shift, h, shift);
  const at::Tensor offset = sums[0].div(count);
  const at::Tensor variance = sums[1].div(count).sub(offset.square()).clamp_min(0);
  return at::stack({shift.add(offset), variance.add(kEpsilon).rsqrt()});
}

/// Of each part, [parts, 2, channels].
at::Tensor MomentsOf(const at::Tensor& h, const std::vector<Part>& parts) {
  std::vector<at::Tensor> moments;
  for (const Part part : parts) moments.push_back(MomentsOf(Of(h, part)));
  return at::stack(moments);
}

/// What is not differentiated; all in double.
struct Normalizing {
  at::Tensor moments;  // [parts, 2, channels]
  at::Tensor gamma;    // [channels]
  at::Tensor beta;     // [channels]
  int64_t ghost;
};

/// gamma r (dz - mean(dz) - c r^2 mean(dz c)) of a part. sums: of dz and dz c.
void WriteProduct(const at::Tensor& dz, const at::Tensor& h, const at::Tensor& sums,
                  const at::Tensor& moments, const at::Tensor& gamma, const at::Tensor& out) {
  const at::Tensor means = sums.div(CountOf(h));
  const at::Tensor weight = gamma.mul(moments[1]);
  const at::Tensor by_c = weight.mul(moments[1].square()).mul(means[1]).neg();
  WriteCombination({{dz, means[0], weight}, {h, moments[0], by_c}}, at::zeros_like(gamma), out);
}

/// What follows from dL/dz.
struct Derivatives {
  at::Tensor dz;
  at::Tensor sums;  // [parts, 2, channels] in double, of dz and dz c
  at::Tensor by_h;  // dL/dh
};

/// From d = dL/dz, or, where `positive` = max(z, 0) is defined, from the derivative by that.
Derivatives DerivativesFrom(const at::Tensor& d, const at::Tensor& positive, const at::Tensor& h,
                            const Normalizing& how) {
  const at::Tensor given = ChannelsTogether(d);
  Derivatives found{positive.defined() ? RoomFor(h) : given, {}, RoomFor(h)};
  std::vector<at::Tensor> sums;
  const auto parts = PartsOf({h.size(0)}, how.ghost);
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto of = [&](const at::Tensor& t) { return Of(t, parts[i]); };
    const at::Tensor moments = how.moments[static_cast<int64_t>(i)];
    sums.push_back(positive.defined()
                       ? MaskedChannelSums(of(given), of(positive), of(h), moments[0], of(found.dz))
                       : ChannelSums(of(given), {}, of(h), moments[0]));
    WriteProduct(of(found.dz), of(h), sums.back(), moments, how.gamma, of(found.by_h));
  }
  found.sums = at::stack(sums);
  return found;
}

/// dL/dh from dz = dL/dz and h.
class Backward : public torch::autograd::Function<Backward> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& given,
                            const at::Tensor& h, const Normalizing& how) {
    const auto [dz, sums, by_h] = DerivativesFrom(given, {}, h, how);
    context->save_for_backward({dz, h, how.moments, how.gamma, sums});
    context->saved_data["ghost"] = how.ghost;
    return by_h;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& given) {
    if (at::GradMode::is_enabled()) {
      throw Error(ErrorKind::kInternal, "batch norm", "is differentiable twice, not three times");
    }
    const auto saved = context->get_saved_variables();
    const at::Tensor u = ChannelsTogether(given[0]), dz = saved[0], h = saved[1];
    const at::Tensor by_dz = RoomFor(h), by_h = RoomFor(h);
    const auto parts = PartsOf({h.size(0)}, context->saved_data["ghost"].toInt());
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto of = [&](const at::Tensor& t) { return Of(t, parts[i]); };
      const at::Tensor moments = saved[2][static_cast<int64_t>(i)];
      const at::Tensor& gamma = saved[3];
      const at::Tensor of_dz = saved[4][static_cast<int64_t>(i)];  // sums of dz and dz c
      const at::Tensor of_u = ChannelSums(of(u), {}, of(h), moments[0]);
      WriteProduct(of(u), of(h), of_u, moments, gamma, of(by_dz));

      const double count = CountOf(of(h));
      const at::Tensor mean_u = of_u[0].div(count), mean_dz = of_dz[0].div(count);
      const at::Tensor both = ChannelSums(of(u), mean_u, of(dz), mean_dz)[1];
      const at::Tensor square = moments[1].square();  // r^2
      const at::Tensor factor = gamma.mul(moments[1]).mul(square).div(-count);
      const at::Tensor by_c = both.sub(of_u[1].mul(of_dz[1]).mul(square).mul(3 / count));
      WriteCombination({{of(h), moments[0], factor.mul(by_c)},
                        {of(u), mean_u, factor.mul(of_dz[1])},
                        {of(dz), mean_dz, factor.mul(of_u[1])}},
                       at::zeros_like(gamma), of(by_h));
    }
    return {by_dz, by_h, {}};
  }
};

/// gamma x + beta = z, and what `end` makes of it.
at::Tensor NormalizedTo(const End& end, const at::Tensor& h, const Normalizing& how) {
  const at::Tensor out = RoomFor(h), zero = at::zeros_like(how.gamma);
  const auto parts = PartsOf({h.size(0)}, how.ghost);
  for (size_t i = 0; i < parts.size(); ++i) {
    const at::Tensor moments = how.moments[static_cast<int64_t>(i)];
    std::vector<ChannelTerm> terms = {{Of(h, parts[i]), moments[0], how.gamma.mul(moments[1])}};
    if (end.add.defined()) terms.push_back({Of(end.add, parts[i]), zero, zero.add(1)});
    WriteCombination(terms, how.beta, Of(out, parts[i]), end.positive);
  }
  return out;
}

/// gamma x + beta.
class Normalize : public torch::autograd::Function<Normalize> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& h,
                            const Normalizing& how) {
    context->save_for_backward({h, how.moments, how.gamma});
    context->saved_data["ghost"] = how.ghost;
    return NormalizedTo({}, h, how);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& d) {
    const auto saved = context->get_saved_variables();
    return {
        Backward::apply(d[0], saved[0],
                        Normalizing{saved[1], saved[2], {}, context->saved_data["ghost"].toInt()}),
        {}};
  }
};

/// A part of the batch on a line: derivatives of the mean of h and of r, [channels] in double.
struct Terms {
  at::Tensor mean_slope;
  at::Tensor scale_slope;
  at::Tensor mean_curvature;   // undefined: zero
  at::Tensor scale_curvature;  // undefined where it is not asked for
};

/// h.slope is defined. moments: [2, channels].
Terms TermsOnLine(const Line& h, const at::Tensor& moments, bool curvature) {
  const double count = CountOf(h.value);
  const at::Tensor cube = moments[1].pow(3);
  const at::Tensor first = ChannelSums(h.slope, {}, h.value, moments[0]).div(count);
  const at::Tensor v1 = first[1].mul(2);
  Terms terms{first[0], cube.mul(v1).mul(-0.5), {}, {}};
  if (!curvature) return terms;
  at::Tensor half_v2 =
      ChannelSums(h.slope, terms.mean_slope, h.slope, terms.mean_slope)[1].div(count);
  if (h.curvature.defined()) {
    const at::Tensor second = ChannelSums(h.curvature, {}, h.value, moments[0]).div(count);
    terms.mean_curvature = second[0];
    half_v2 = half_v2.add(second[1]);
  }
  const at::Tensor steep = cube.mul(moments[1].square()).mul(v1.square()).mul(0.75);
  terms.scale_curvature = steep.sub(cube.mul(half_v2));
  return terms;
}

class BatchNorm : public ParameterLayer {
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
    if (pass.running.defined()) return ByRunning({}, h, pass);
    if (h.is_cpu() && !at::GradMode::is_enabled()) return ForwardTo({}, h, pass);
    const at::Tensor input = ChannelsTogether(h);
    const auto [z, moments] = Normalized(input, pass.theta, {});
    const at::Tensor output = Recorded(*this, input, z, pass);
    if (pass.taps != nullptr) pass.taps->back().moments = moments;
    if (pass.back != nullptr) {
      AddWayBack(pass, [this, input, moments, theta = pass.theta](const at::Tensor& d) {
        return BackByAten(d, input, moments, theta);
      });
    }
    return output;
  }

  at::Tensor ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const override {
    if (pass.running.defined()) return ByRunning(end, h, pass);
    const bool ends = end.positive || end.add.defined();
    // At the network's first tap no step is gone, which would find dL/dz behind a positive part.
    const bool first = pass.back != nullptr && pass.back->steps.empty();
    if ((ends && first) || !h.is_cpu()) return Layer::ForwardTo(end, h, pass);
    const at::Tensor input = ChannelsTogether(h);
    const Normalizing how = {MomentsOf(input, PartsOf({h.size(0)}, ghost_)), Gamma(pass.theta),
                             Beta(pass.theta), ghost_};
    const at::Tensor out = NormalizedTo(end, input, how);
    if (pass.taps == nullptr) return out;
    Recorded(*this, input, ends ? at::Tensor() : out, pass);
    pass.taps->back().moments = how.moments;
    if (pass.back != nullptr) {
      const bool behind_positive = end.positive && !end.add.defined();
      AddStepBack(input, how, behind_positive ? out : at::Tensor(), pass);
    }
    return out;
  }

  bool KnowsWayBack() const override { return true; }

  Line ForwardLine(const Line& h, const LinePass& pass) const override {
    const auto sizes = pass.batches.empty() ? std::vector<int64_t>{h.value.size(0)} : pass.batches;
    const auto parts = PartsOf(sizes, ghost_);
    const auto room = [&](bool wanted) { return wanted ? RoomFor(h.value) : at::Tensor(); };
    const Line z{room(true), room(true), room(pass.curvature && h.slope.defined()), room(true)};
    const at::Tensor end = pass.theta.add(pass.direction, pass.scale);
    for (const Part part : parts) {
      const auto of = [&](const Line& line) {
        return Line{Of(line.value, part), Of(line.slope, part), Of(line.curvature, part),
                    Of(line.moved, part)};
      };
      WriteLine(of(h), pass, end, of(z));
    }
    return z;
  }

  void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                     const at::Tensor& gradient) const override {
    at::Tensor by_gamma = Zeros(gradient), by_beta = Zeros(gradient);
    int64_t next = 0;  // part
    ForEachPart(tap, [&](Part part, const at::Tensor& moments) {
      const at::Tensor sums = tap.sums.defined()
                                  ? tap.sums[next++]
                                  : SumsOf(output_gradient, tap.input.detach(), moments, part);
      by_beta.add_(sums[0]);
      by_gamma.add_(sums[1].mul(moments[1]));
    });
    Place(gradient).copy_(at::cat({by_gamma, by_beta}));
  }

  at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const override {
    return Normalized(tap.input, v, tap.moments).first;
  }

  void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope, const at::Tensor& d,
                          const at::Tensor& d_slope, const at::Tensor& slope) const override {
    WriteGradient(tap, d_slope, slope);
    if (!input_slope.defined()) return;
    const at::Tensor h = tap.input.detach();
    at::Tensor by_gamma = Zeros(slope);
    ForEachPart(tap, [&](Part part, const at::Tensor& moments) {
      // sum d x' = r sum d c' + r' sum d c
      const at::Tensor move = Of(input_slope, part);
      const Terms terms = TermsOnLine({Of(h, part), move, {}, {}}, moments, false);
      const at::Tensor moves = ChannelSums(Of(d, part), {}, move, terms.mean_slope)[1];
      by_gamma.add_(moves.mul(moments[1]));
      by_gamma.add_(SumsOf(d, h, moments, part)[1].mul(terms.scale_slope));
    });
    Place(slope).narrow(0, 0, channels_).add_(by_gamma);
  }

  void MoveStatistics(const Tap& tap, double momentum, const at::Tensor& running) const override {
    const at::Tensor place = Running(running);
    const double positions = CountOf(tap.input) / static_cast<double>(tap.input.size(0));
    ForEachPart(tap, [&](Part part, const at::Tensor& moments) {
      const double count = static_cast<double>(part.size) * positions;
      const at::Tensor biased = moments[1].pow(-2).sub(kEpsilon).clamp_min(0);
      const at::Tensor seen = at::stack({moments[0], biased.mul(count / (count - 1))});
      place.lerp_(seen.to(place.scalar_type()), momentum);
    });
  }

  std::string Describe() const override {
    return "batch norm of " + std::to_string(channels_) + " channels" +
           (ghost_ > 0 ? ", ghost batches of " + std::to_string(ghost_) : "");
  }

 private:
  at::Tensor Place(const at::Tensor& theta) const {  // [2 channels], a view: gamma, then beta
    return theta.narrow(0, gamma_offset_, 2 * channels_);
  }
  at::Tensor Gamma(const at::Tensor& theta) const {  // [channels] in double
    return theta.narrow(0, gamma_offset_, channels_).to(at::kDouble);
  }
  at::Tensor Beta(const at::Tensor& theta) const {  // [channels] in double
    return theta.narrow(0, gamma_offset_ + channels_, channels_).to(at::kDouble);
  }
  at::Tensor Zeros(const at::Tensor& theta) const {  // [channels] in double
    return at::zeros({channels_}, theta.options().dtype(at::kDouble));
  }
  at::Tensor Running(const at::Tensor& statistics) const {  // [2, channels], a view
    return statistics.narrow(0, mean_offset_, 2 * channels_).view({2, channels_});
  }

  at::Tensor ByRunning(const End& end, const at::Tensor& h, const Pass& pass) const {
    const at::Tensor running = Running(pass.running).to(at::kDouble);
    const at::Tensor moments = at::stack({running[0], running[1].add(kEpsilon).rsqrt()});
    return NormalizedTo(end, h, {moments.unsqueeze(0), Gamma(pass.theta), Beta(pass.theta), 0});
  }

  /// positive: the positive part of the output, if the derivative by that comes.
  void AddStepBack(const at::Tensor& input, const Normalizing& how, const at::Tensor& positive,
                   const Pass& pass) const {
    AddWayBack(pass, [input, how, positive, &taps = *pass.taps, tap = pass.taps->size() - 1,
                      &back = *pass.back](const at::Tensor& d) {
      const auto [dz, sums, by_h] = DerivativesFrom(d, positive, input, how);
      taps[tap].sums = sums;
      back.output_gradients[tap] = dz;
      return by_h;
    });
  }

  /// Calls use(part, moments) for each part of the tap's batch.
  template <class Use>
  void ForEachPart(const Tap& tap, const Use& use) const {
    const auto parts = PartsOf({tap.input.size(0)}, ghost_);
    for (size_t i = 0; i < parts.size(); ++i) {
      use(parts[i], tap.moments[static_cast<int64_t>(i)]);
    }
  }

  /// sum d and sum d c over a part.
  static at::Tensor SumsOf(const at::Tensor& d, const at::Tensor& h, const at::Tensor& moments,
                           Part part) {
    return ChannelSums(Of(d, part), {}, Of(h, part), moments[0]);
  }

  /// z by gamma and beta of theta, and the moments of the parts, which are `known` if defined.
  std::pair<at::Tensor, at::Tensor> Normalized(const at::Tensor& h, const at::Tensor& theta,
                                               const at::Tensor& known) const {
    const auto parts = PartsOf({h.size(0)}, ghost_);
    if (!h.is_cpu() || theta.requires_grad()) return ByAten(h, theta, parts);
    const at::Tensor moments = known.defined() ? known : MomentsOf(h.detach(), parts);
    return {Normalize::apply(h, Normalizing{moments, Gamma(theta), Beta(theta), ghost_}), moments};
  }

  /// The same by ATen: differentiable in theta, and faster on a GPU.
  std::pair<at::Tensor, at::Tensor> ByAten(const at::Tensor& h, const at::Tensor& theta,
                                           const std::vector<Part>& parts) const {
    const auto affine = Place(theta).split(channels_);
    std::vector<at::Tensor> outputs, moments;
    for (const Part part : parts) {
      const auto [z, mean, scale] = at::native_batch_norm(Of(h, part), affine[0], affine[1], {}, {},
                                                          /*training=*/true, 0, kEpsilon);
      outputs.push_back(z);
      moments.push_back(at::stack({mean, scale}).detach().to(at::kDouble));
    }
    return {outputs.size() == 1 ? outputs[0] : at::cat(outputs), at::stack(moments)};
  }

  /// dL/dh of what ByAten made.
  at::Tensor BackByAten(const at::Tensor& d, const at::Tensor& h, const at::Tensor& moments,
                        const at::Tensor& theta) const {
    std::vector<at::Tensor> by_h;
    const auto parts = PartsOf({h.size(0)}, ghost_);
    for (size_t i = 0; i < parts.size(); ++i) {
      const at::Tensor of_part = moments[static_cast<int64_t>(i)].to(h.scalar_type());
      by_h.push_back(std::get<0>(at::native_batch_norm_backward(
          Of(d, parts[i]), Of(h, parts[i]), Place(theta).narrow(0, 0, channels_), {}, {},
          of_part[0], of_part[1], /*train=*/true, kEpsilon, {true, false, false})));
    }
    return by_h.size() == 1 ? by_h[0] : at::cat(by_h);
  }

  /// z of a part, to where it belongs. end: theta at the end of the line.
  void WriteLine(const Line& h, const LinePass& pass, const at::Tensor& end, const Line& z) const {
    const at::Tensor rest = h.moved.defined() ? h.moved : h.value;
    const at::Tensor moments = MomentsOf(h.value);
    const at::Tensor moved = h.moved.defined() ? MomentsOf(h.moved) : moments;
    WriteCombination({{rest, moved[0], Gamma(end).mul(moved[1])}}, Beta(end), z.moved);
    const at::Tensor gamma = Gamma(pass.theta), scale = moments[1];
    WriteCombination({{h.value, moments[0], gamma.mul(scale)}}, Beta(pass.theta), z.value);

    const at::Tensor gamma_move = Gamma(pass.direction).mul(pass.scale);
    const at::Tensor beta_move = Beta(pass.direction).mul(pass.scale);
    if (!h.slope.defined()) {
      return WriteCombination({{h.value, moments[0], gamma_move.mul(scale)}}, beta_move, z.slope);
    }
    const Terms terms = TermsOnLine(h, moments, pass.curvature);
    const at::Tensor by_slope = gamma.mul(scale);  // of h' in z', and of h'' in z''
    const at::Tensor by_value = gamma_move.mul(scale).add(gamma.mul(terms.scale_slope));
    WriteCombination({{h.value, moments[0], by_value}, {h.slope, terms.mean_slope, by_slope}},
                     beta_move, z.slope);
    if (!pass.curvature) return;
    const at::Tensor bend =
        gamma.mul(terms.scale_curvature).add(gamma_move.mul(terms.scale_slope).mul(2));
    std::vector<ChannelTerm> bends = {{h.value, moments[0], bend},
                                      {h.slope, terms.mean_slope, by_value.mul(2)}};
    if (h.curvature.defined()) bends.push_back({h.curvature, terms.mean_curvature, by_slope});
    WriteCombination(bends, at::zeros_like(gamma), z.curvature);
  }

  int64_t channels_;
  int64_t ghost_;
  int64_t gamma_offset_ = 0;
  int64_t mean_offset_ = 0;
};

}  // namespace

std::unique_ptr<ParameterLayer> MakeBatchNorm(ParameterTable& table, ParameterTable& statistics,
                                              const std::string& name, int64_t channels,
                                              int64_t ghost) {
  return std::make_unique<BatchNorm>(table, statistics, name, channels, ghost);
}

}  // namespace sgdscope
