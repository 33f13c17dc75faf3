#include "gradients/oracle.h"

namespace sgdscope {

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

Gradients Oracle::Evaluate(const Batch& batch, const at::Tensor& theta) const {
  std::vector<Tap> taps;
  at::Tensor losses;
  {
    at::AutoGradMode enable(true);
    const at::Tensor z = network_.root->Forward(batch.inputs, {theta, &taps});
    losses = loss_.Losses(z, batch.labels);
  }
  torch::autograd::variable_list outputs;
  for (const Tap& tap : taps) outputs.push_back(tap.output);
  // d(mean loss) = (1/n) sum_i dL_i
  const at::Tensor weights =
      at::full({batch.size()}, 1.0 / static_cast<double>(batch.size()), losses.options());
  auto output_gradients = torch::autograd::grad({losses}, outputs, {weights});

  Gradients gradients;
  gradients.losses = losses.detach();
  gradients.taps = std::move(taps);
  gradients.output_gradients = std::move(output_gradients);
  gradients.parameters = theta.size(0);
  return gradients;
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

at::Tensor Oracle::Logits(const Batch& batch, const at::Tensor& theta) const {
  at::NoGradGuard no_grad;
  return network_.root->Forward(batch.inputs, {theta});
}

at::Tensor Oracle::LossesOf(const at::Tensor& logits, const Batch& batch) const {
  at::NoGradGuard no_grad;
  return loss_.Losses(logits, batch.labels);
}

at::Tensor Oracle::Losses(const Batch& batch, const at::Tensor& theta) const {
  return LossesOf(Logits(batch, theta), batch);
}

at::Tensor Oracle::HessianVectorProduct(const Batch& batch, const at::Tensor& theta,
                                        const at::Tensor& v) const {
  at::AutoGradMode enable(true);
  const at::Tensor leaf = theta.detach().requires_grad_(true);
  const at::Tensor z = network_.root->Forward(batch.inputs, {leaf});
  const at::Tensor loss = loss_.Losses(z, batch.labels).mean();
  const auto gradient =
      torch::autograd::grad({loss}, {leaf}, {}, /*retain_graph=*/true, /*create_graph=*/true);
  return torch::autograd::grad({gradient[0]}, {leaf}, {v})[0];
}

at::Tensor Oracle::VariantChanges(const Batch& batch, const at::Tensor& theta,
                                  const Gradients& evaluated, size_t tap, const at::Tensor& units,
                                  const at::Tensor& shift) const {
  at::NoGradGuard no_grad;
  const Tap& moved = evaluated.taps[tap];
  const Tap& last = evaluated.taps.back();
  const at::Tensor z = last.output.detach();
  if (moved.layer == last.layer) {  // the unit is a logit
    const at::Tensor direction = at::eye(z.size(1), z.options()).index_select(0, units);
    return loss_.MeanChanges(z, batch.labels, shift, direction);
  }
  const at::Tensor output = moved.output.detach().t().index_select(0, units).add(shift);  // [m, n]
  const Variants h = network_.root->ForwardVariants(
      {units, output}, {theta, evaluated.taps, moved.layer, last.layer});
  if (h.units.defined()) {
    const at::Tensor known = last.input.detach().t().index_select(0, h.units);
    return loss_.MeanChanges(z, batch.labels, h.values.sub(known),
                             last.layer->Columns(theta, h.units));
  }
  const at::Tensor losses =
      loss_.Losses(last.layer->Forward(h.values, {theta}), batch.labels.repeat({shift.size(0)}));
  return losses.view(shift.sizes()).sub(evaluated.losses).mean(1);
}

LineLosses Oracle::AlongLine(const Batch& batch, const at::Tensor& theta,
                             const at::Tensor& direction, double scale, bool curvature,
                             const Gradients* evaluated) const {
  at::NoGradGuard no_grad;
  const std::vector<Tap>* known = evaluated == nullptr ? nullptr : &evaluated->taps;
  const Line z = network_.root->ForwardLine({batch.inputs, {}, {}, {}},
                                            {theta, direction, scale, curvature, known});
  return loss_.AlongLine(z, batch.labels, curvature);
}

}  // namespace sgdscope
