#pragma once

#include "core/torch.h"

namespace sgdscope {

/// to += scale x, of tensors of one shape and type without gaps; no graph. On a processor the same on
/// any number of threads.
void AddMultiple(const at::Tensor& x, double scale, const at::Tensor& to);

/// Momentum in one pass over tensors as above, with d = g + decay theta:
///   velocity <- keep velocity + fresh d,   and what is returned is   d + keep velocity
/// if `ahead` asks for it, else the velocity.
struct Momentum {
  double decay;
  double keep;
  double fresh;
  bool ahead;
};
at::Tensor MoveVelocity(const Momentum& momentum, const at::Tensor& g, const at::Tensor& theta,
                        const at::Tensor& velocity);

}  // namespace sgdscope
