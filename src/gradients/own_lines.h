#pragma once

#include "core/torch.h"
#include "gradients/oracle.h"

namespace sgdscope {

/// Curvature along the gradients g_B of the mean losses of batches B, each along its own.
struct OwnCurvature {
  at::Tensor products;       // <g_B, H_B g_B> [batches], in double
  at::Tensor squared_norms;  // |g_B|^2 [batches], in double
};

/// That of the batches of one size that `joined` was joined from, or of the one that it is: in one
/// sweep over all of them, in which no gradient is formed. `evaluated`: of `joined` at theta, with its
/// taps. The network is a chain of fully connected layers (InTheWayOfDenseChain).
OwnCurvature AlongOwnGradients(const Oracle& oracle, const Batch& joined, const at::Tensor& theta,
                               const Gradients& evaluated);

}  // namespace sgdscope
