#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "core/fields.h"
#include "core/torch.h"
#include "nn/layer.h"

namespace sgdscope {

/// delta = scale * direction, kept apart so that plain SGD need not write p numbers more. The
/// trainer adds it to theta, in one place.
struct Update {
  at::Tensor direction;  // [p]
  double scale;
  at::Tensor Delta() const { return direction.mul(scale); }
};

/// What an update rule sees of a step.
struct StepGradient {
  int64_t step;
  const at::Tensor& g;      // [p], the estimator's choice at theta
  const at::Tensor& theta;  // [p]
  /// The estimator's choice on the same batch at another theta [p].
  std::function<at::Tensor(const at::Tensor&)> at;
};

/// Turns the gradient g into delta; leaves register by name. Hyper-parameters are fields; what
/// changes from step to step is state, saved in checkpoints.
class UpdateRule : public Configurable {
 public:
  /// Shows the layout of theta, once before Allocate. Error kConfig if the rule can't work on it.
  virtual void Prepare(const ParameterTable& table) { (void)table; }
  /// Makes the state for theta [p], on its device, once before the first step.
  virtual void Allocate(const at::Tensor& theta) { (void)theta; }
  /// The update of this step; modifies neither g nor theta.
  virtual Update Next(const StepGradient& gradient) = 0;
  /// State tensors by name; the trainer saves them, and copies saved ones back into them.
  virtual std::map<std::string, at::Tensor> State() const { return {}; }
};

}  // namespace sgdscope
