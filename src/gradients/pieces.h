#pragma once

#include <cstdint>
#include <functional>

#include "core/torch.h"
#include "data/sampler.h"
#include "gradients/oracle.h"

namespace sgdscope {

/// All examples of the oracle's split, as they are.
Examples AllExamples(const Oracle& oracle);

/// How many of n examples the oracle evaluates at once.
int64_t AtOnce(const Oracle& oracle, int64_t n);

/// Calls `visit` with `examples` in pieces of `size`, the last one as small as it must be, and with
/// their gradients at theta: what would not fit into memory at once.
void ForEachPiece(const Oracle& oracle, const Examples& examples, const at::Tensor& theta,
                  int64_t size, const std::function<void(const Batch&, const Gradients&)>& visit);

/// Gradient [p] of the mean loss of `examples` at theta, by pieces, in double.
at::Tensor MeanGradient(const Oracle& oracle, const Examples& examples, const at::Tensor& theta,
                        int64_t size);

/// A size of pieces that takes no more memory than the steps do, but is large enough for good
/// products.
int64_t PieceSize(const Sampler& sampler);

}  // namespace sgdscope
