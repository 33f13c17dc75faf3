#include "gradients/oracle.h"

#include <torch/csrc/autograd/autograd.h>

#include "nn/reduce.h"

namespace sgdscope {

Batch Part(const Batch& batch, int64_t begin, int64_t size) {
  return {batch.indices.narrow(0, begin, size), batch.inputs.narrow(0, begin, size),
          batch.labels.narrow(0, begin, size),
          batch.moves.defined() ? batch.moves.narrow(0, begin, size) : batch.moves};
}

Batch Joined(const Batch& first, const Batch& second) {
  const auto [indices, moves] = Joined({first.examples(), second.examples()});
  return {indices,
          at::cat({first.inputs, second.inputs}),
          at::cat({first.labels, second.labels}),
          moves,
          {first.size(), second.size()}};
}

Oracle::Oracle(const Network& network, const Loss& loss, const Split& split,
               const Normalizer& normalizer)
    : network_(network), loss_(loss), split_(split), normalizer_(normalizer) {}

Batch Oracle::Load(const Examples& examples) const {
  const auto& [indices, moves] = examples;
  const at::Tensor on_device = indices.to(split_.labels.device(), /*non_blocking=*/true);
  const at::Tensor inputs =
      moves.defined()
          ? normalizer_.Normalize(MoveImages(split_.inputs.index_select(0, on_device), moves))
          : normalizer_.Gather(split_, indices);
  return {indices, inputs, split_.labels.index_select(0, on_device), moves};
}

namespace {

/// d(mean loss)/dL_i [n]: 1 over the examples of the batch, or of its part.
at::Tensor MeanWeights(const Batch& batch, const at::TensorOptions& options) {
  const auto parts = batch.parts.empty() ? std::vector<int64_t>{batch.size()} : batch.parts;
  const at::Tensor weights = at::empty({batch.size()}, options);
  int64_t begin = 0;
  for (const int64_t size : parts) {
    weights.narrow(0, begin, size).fill_(1.0 / static_cast<double>(size));
    begin += size;
  }
  return weights;
}

}  // namespace

Gradients Oracle::Evaluate(const Batch& batch, const at::Tensor& theta, bool keep_graph) const {
  std::vector<Tap> taps;
  at::Tensor losses;
  at::AutoGradMode enable(true);
  const at::Tensor z = network_.root->Forward(batch.inputs, {theta, &taps});
  losses = loss_.Losses(z, batch.labels);
  torch::autograd::variable_list places;
  for (const Tap& tap : taps) places.push_back(tap.output);
  if (keep_graph) {
    for (const Tap& tap : taps) {
      if (tap.input.requires_grad()) places.push_back(tap.input);
    }
  }
  auto by_place = torch::autograd::grad({losses}, places, {MeanWeights(batch, losses.options())},
                                        keep_graph, keep_graph);

  Gradients gradients;
  gradients.losses = losses.detach();
  gradients.logits = z.detach();
  gradients.output_gradients.assign(by_place.begin(), by_place.begin() + taps.size());
  auto next = by_place.begin() + taps.size();
  for (const Tap& tap : taps) {
    if (!keep_graph) break;
    gradients.input_gradients.push_back(tap.input.requires_grad() ? *next++ : at::Tensor());
  }
  gradients.taps = std::move(taps);
  gradients.parameters = theta.size(0);
  return gradients;
}

void Oracle::MoveStatistics(const Gradients& evaluated, const at::Tensor& running) const {
  at::NoGradGuard no_grad;
  for (const Tap& tap : evaluated.taps) {
    tap.layer->MoveStatistics(tap, network_.statistics_momentum, running);
  }
}

const at::Tensor& Gradients::Mean() const {
  if (mean_.defined()) return mean_;
  at::NoGradGuard no_grad;
  mean_ = at::empty({parameters}, losses.options());
  for (size_t i = 0; i < taps.size(); ++i) {
    taps[i].layer->WriteGradient(taps[i], output_gradients[i], mean_);
  }
  return mean_;
}

at::Tensor Gradients::Weighted(const at::Tensor& weights) const {
  at::NoGradGuard no_grad;
  const at::Tensor sum = at::empty({parameters}, losses.options());
  for (size_t i = 0; i < taps.size(); ++i) {
    taps[i].layer->WriteGradient(taps[i], WeightedRows(output_gradients[i], weights), sum);
  }
  return sum;
}

Gradients Gradients::OfPart(int64_t begin, int64_t size) const {
  at::NoGradGuard no_grad;
  Gradients part;
  part.losses = losses.narrow(0, begin, size);
  part.logits = logits.narrow(0, begin, size);
  for (size_t i = 0; i < taps.size(); ++i) {
    part.taps.push_back({taps[i].layer, taps[i].input.detach().narrow(0, begin, size),
                         taps[i].output.detach().narrow(0, begin, size)});
    part.output_gradients.push_back(output_gradients[i].narrow(0, begin, size));
  }
  part.parameters = parameters;
  return part;
}

at::Tensor Oracle::Logits(const Batch& batch, const at::Tensor& theta,
                          const at::Tensor& running) const {
  at::NoGradGuard no_grad;
  return network_.root->Forward(batch.inputs, {theta, nullptr, running});
}

at::Tensor Oracle::LossesOf(const at::Tensor& logits, const Batch& batch) const {
  at::NoGradGuard no_grad;
  return loss_.Losses(logits, batch.labels);
}

at::Tensor Oracle::Losses(const Batch& batch, const at::Tensor& theta) const {
  return LossesOf(Logits(batch, theta), batch);
}

// With d_l = dL/dz_l and e_l = dL/dh_l, by the output and the input of each tap, the gradient's
// product with v is  S = <g, v> = sum_l <d_l, u_l>,  where u_l is the output's slope along v with
// the input held. Then, as theta moves along v,  dS/de_l = h_l'  and  dS/dz_l = d_l',  from which
// each layer knows the slope of its part of g: the second backward pass forms no weight's gradient.
at::Tensor Oracle::HessianVectorProduct(const Gradients& evaluated, const at::Tensor& v,
                                        bool again) const {
  const std::vector<Tap>& taps = evaluated.taps;
  torch::autograd::variable_list factors, others, places;
  {
    at::AutoGradMode enable(true);
    for (size_t l = 0; l < taps.size(); ++l) {
      const at::Tensor slope = taps[l].layer->OutputSlope(taps[l], v);
      const at::Tensor& d = evaluated.output_gradients[l];
      factors.push_back(d);
      others.push_back(slope.detach());
      places.push_back(taps[l].output);
      if (!slope.requires_grad()) continue;  // of the network's input
      factors.push_back(slope);
      others.push_back(d.detach());
    }
    for (const at::Tensor& e : evaluated.input_gradients) {
      if (e.defined()) places.push_back(e);
    }
  }
  const auto slopes = torch::autograd::grad(factors, places, others, again);
  at::NoGradGuard no_grad;
  const at::Tensor product = at::empty({evaluated.parameters}, v.options());
  auto input_slope = slopes.begin() + taps.size();
  for (size_t l = 0; l < taps.size(); ++l) {
    const bool first = !evaluated.input_gradients[l].defined();
    taps[l].layer->WriteGradientSlope(taps[l], first ? at::Tensor() : *input_slope++,
                                      evaluated.output_gradients[l].detach(), slopes[l], product);
  }
  return product;
}

at::Tensor Oracle::GradientDifference(const Batch& batch, const at::Tensor& theta,
                                      const Gradients& evaluated, double r) const {
  at::NoGradGuard no_grad;
  const at::Tensor& g = evaluated.Mean();
  return Evaluate(batch, theta.add(g, r)).Mean().sub(g).div(r);
}

LineLosses Oracle::AlongLine(const Batch& batch, const at::Tensor& theta,
                             const at::Tensor& direction, double scale, bool curvature,
                             const Gradients* evaluated) const {
  at::NoGradGuard no_grad;
  const std::vector<Tap>* known = evaluated == nullptr ? nullptr : &evaluated->taps;
  const Line z = network_.root->ForwardLine(
      {batch.inputs, {}, {}, {}}, {theta, direction, scale, curvature, known, batch.parts});
  return loss_.AlongLine(z, batch.labels, curvature);
}

at::Tensor Oracle::MeanChange(const Batch& batch, const Gradients& evaluated,
                              const at::Tensor& moved) const {
  const auto mean = [&](const at::Tensor& z) { return LossesOf(z.to(at::kDouble), batch).mean(); };
  return mean(Logits(batch, moved)).sub(mean(evaluated.logits));
}

}  // namespace sgdscope
