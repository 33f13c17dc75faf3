#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/fields.h"
#include "core/torch.h"

namespace sgdscope {

/// delta = scale * direction, kept apart so that plain SGD need not write p numbers more. The
/// trainer adds it to theta, in one place.
struct Update {
  at::Tensor direction;  // [p]
  double scale;
  at::Tensor Delta() const { return direction.mul(scale); }
};

/// Turns the gradient g into delta; leaves register by name. Hyper-parameters are fields; what
/// changes from step to step is state, saved in checkpoints.
class UpdateRule : public Configurable {
 public:
  /// Makes the state for theta [p], on its device, once before the first step.
  virtual void Allocate(const at::Tensor& theta) { (void)theta; }
  /// The update of step `step`; modifies neither g nor theta.
  virtual Update Next(const at::Tensor& g, const at::Tensor& theta, int64_t step) = 0;
  /// State tensors by name; the trainer saves them, and copies saved ones back into them.
  virtual std::map<std::string, at::Tensor> State() const { return {}; }
};

}  // namespace sgdscope
