#pragma once

#include <vector>

#include "gradients/oracle.h"

// Variants of a network: the same with one unit's output moved. A difference that is confined to
// one unit costs the next fully connected layer one column of its weights.

namespace sgdscope {

/// The variants, on a batch at theta, of a network that is a chain of fully connected layers
/// (InTheWayOfDenseChain).
class UnitVariants {
 public:
  /// Keeps references. `evaluated`: what the oracle found for `batch` at `theta`; all in double.
  UnitVariants(const Oracle& oracle, const Batch& batch, const at::Tensor& theta,
               const Gradients& evaluated);

  /// Of v [p], the parameters of each unit of the layer of evaluated.taps[tap]: [units, weights],
  /// the bias last.
  at::Tensor Rows(size_t tap, const at::Tensor& v) const;

  /// [n, weights]: what each of a unit's parameters is multiplied by, so that its output moves by
  /// delta * input when a parameter moves by delta.
  at::Tensor Inputs(size_t tap) const;

  /// Change of the mean loss [m] in m variants: in variant v, the output of unit units[v] of the
  /// layer of evaluated.taps[tap] moves by shift[v], and so does what follows it. units: [m] int64;
  /// shift: [m, n].
  at::Tensor Changes(size_t tap, const at::Tensor& units, const at::Tensor& shift) const;

 private:
  const DenseLayer& Dense(size_t tap) const;
  /// What the elementwise layers behind the layer of a tap make of its output z.
  at::Tensor Behind(size_t tap, at::Tensor z) const;

  const Oracle& oracle_;
  const Batch& batch_;
  const at::Tensor& theta_;
  const Gradients& evaluated_;
  std::vector<const Layer*> chain_;  // one after another
  std::vector<size_t> places_;       // in it, of the layer of each tap
};

}  // namespace sgdscope
