#pragma once

#include "core/torch.h"
#include "gradients/oracle.h"

namespace sgdscope {

/// The Gauss-Newton matrix G = (1/n) sum_i J_i^T (d^2 L_i / dz^2) J_i [p, p] of a batch at theta,
/// with the derivative J_i of the logits z by theta. Keeps what is common to its products: one
/// forward pass, with its graph.
class GaussNewton {
 public:
  /// Keeps a reference to the oracle.
  GaussNewton(const Oracle& oracle, const Batch& batch, const at::Tensor& theta);

  /// G v [p]: a forward sweep and a gradient.
  at::Tensor Product(const at::Tensor& v) const;

 private:
  const Oracle& oracle_;
  at::Tensor inputs_;
  at::Tensor theta_;
  std::vector<Tap> taps_;
  at::Tensor z_;       // [n, classes], with its graph down to the taps
  at::Tensor logits_;  // the same as a leaf
  at::Tensor d_;       // derivative of the mean loss by the logits, with its graph
};

}  // namespace sgdscope
