// Where unit j of a layer's output z moves by s [n], the elementwise layers behind it take z_j + s to
// h_j + d, and the next fully connected layer's output moves by d W[:, j]^T: by one column of W for
// each variant. Behind that all units differ, and the variants are batches of their own.

#include "probes/unit_variants.h"

#include "nn/dense_chain.h"

namespace sgdscope {
namespace {

const DenseLayer* AsDense(const Layer* layer) { return dynamic_cast<const DenseLayer*>(layer); }

/// Of h [n, units], the numbers of some units [m, n].
at::Tensor OfUnits(const at::Tensor& h, const at::Tensor& units) {
  return h.detach().t().index_select(0, units);
}

}  // namespace

UnitVariants::UnitVariants(const Oracle& oracle, const Batch& batch, const at::Tensor& theta,
                           const Gradients& evaluated)
    : oracle_(oracle),
      batch_(batch),
      theta_(theta),
      evaluated_(evaluated),
      chain_(ChainOf(*oracle.network().root)) {
  for (size_t i = 0; i < chain_.size(); ++i) {
    if (AsDense(chain_[i]) != nullptr) places_.push_back(i);
  }
}

const DenseLayer& UnitVariants::Dense(size_t tap) const { return *AsDense(chain_[places_[tap]]); }

at::Tensor UnitVariants::Rows(size_t tap, const at::Tensor& v) const {
  const at::Tensor weight = Dense(tap).Weight(v), bias = Dense(tap).Bias(v);
  return bias.defined() ? at::cat({weight, bias.unsqueeze(1)}, 1) : weight;
}

at::Tensor UnitVariants::Inputs(size_t tap) const {
  const at::Tensor h = evaluated_.taps[tap].input.detach();
  if (!Dense(tap).Bias(theta_).defined()) return h;
  return at::cat({h, at::ones({h.size(0), 1}, h.options())}, 1);
}

at::Tensor UnitVariants::Behind(size_t tap, at::Tensor z) const {
  for (size_t i = places_[tap] + 1; i < places_[tap + 1]; ++i) z = chain_[i]->Forward(z, {theta_});
  return z;
}

at::Tensor UnitVariants::Changes(size_t tap, const at::Tensor& units,
                                 const at::Tensor& shift) const {
  at::NoGradGuard no_grad;
  const std::vector<Tap>& taps = evaluated_.taps;
  const size_t last = taps.size() - 1;
  const at::Tensor& logits = evaluated_.logits;
  const Loss& loss = oracle_.loss();
  if (tap == last) {  // the unit is a logit
    const at::Tensor direction = at::eye(logits.size(1), logits.options()).index_select(0, units);
    return loss.MeanChanges(logits, batch_.labels, shift, direction);
  }
  const at::Tensor h = Behind(tap, OfUnits(taps[tap].output, units).add(shift));  // [m, n]
  const at::Tensor moves = h.sub(OfUnits(taps[tap + 1].input, units));            // [m, n]
  const at::Tensor columns = OfUnits(Dense(tap + 1).Weight(theta_), units);       // [m, out]
  if (tap + 1 == last) return loss.MeanChanges(logits, batch_.labels, moves, columns);
  at::Tensor z = moves.unsqueeze(2).mul(columns.unsqueeze(1)).add(taps[tap + 1].output.detach());
  z = z.flatten(0, 1);  // [m * n, out]
  for (size_t next = tap + 2; next <= last; ++next) {
    z = Dense(next).Forward(Behind(next - 1, z), {theta_});
  }
  const at::Tensor losses = loss.Losses(z, Repeated(batch_.labels, shift.size(0)));
  return losses.view(shift.sizes()).sub(evaluated_.losses).mean(1);
}

}  // namespace sgdscope
