#pragma once

#include "core/fields.h"
#include "core/torch.h"
#include "gradients/oracle.h"

namespace sgdscope {

/// Picks one g [p], mean-scaled, from what the oracle found on the batch; leaves register by name.
class Estimator : public Configurable {
 public:
  virtual at::Tensor Estimate(const Batch& batch, const Gradients& gradients) = 0;
};

}  // namespace sgdscope
