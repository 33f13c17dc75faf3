#pragma once

#include <cstdint>

#include "config/fields.h"
#include "core/torch.h"
#include "gradients/oracle.h"
#include "kernels/kernels.h"

namespace sgdscope {

/// Field `tile_memory`: how much memory the per-example gradients of a piece of the network may
/// take where they have to be written out. Linear layers write out only those of groups.
struct TileMemory {
  int64_t mebibytes = 256;

  void Fields(FieldVisitor& visitor);
  /// Numbers of this type that fit.
  int64_t Numbers(at::ScalarType type) const;
};

/// Makes m times the median of m values, the mean of the two in the middle where m is even: all
/// values are moved to it and added up.
kernels::Reduction MedianOf(int64_t m);

/// What can be said of the gradients g_i = grad L_i [p] of single examples at the cost of about one
/// more backward pass, and without ever holding [n, p]: layer by layer (nn/layer.h), from what the
/// oracle has found anyway.
class PerExample {
 public:
  /// Keeps a reference.
  PerExample(const Gradients& gradients, const TileMemory& memory)
      : gradients_(gradients), max_numbers_(memory.Numbers(gradients.losses.scalar_type())) {}

  /// |g_i|^2 [n], in double.
  at::Tensor SquaredNorms() const;
  /// <g_i, v> [n], in double, for v [p].
  at::Tensor Dots(const at::Tensor& v) const;
  /// <g_i, g_j> [n, n], in double.
  at::Tensor Gram() const;
  /// [p]: what `how` makes of the values g_i / n of each coordinate: mean-scaled.
  at::Tensor Reduce(const kernels::Reduction& how) const;
  /// [p]: for each coordinate the median of the means of `groups` groups of examples that follow
  /// one another in the batch, whose sizes differ by at most 1.
  at::Tensor MedianOfMeans(int64_t groups) const;
  /// sum_i w_i g_i [p] for weights w [n]; as cheap as the mean gradient of known derivatives.
  at::Tensor WeightedSum(const at::Tensor& weights) const;
  /// [p]: for each coordinate the variance of its n values, unbiased (division by n - 1; NaN for
  /// one example): the diagonal of Sigma.
  at::Tensor Variances() const;

 private:
  int64_t size() const { return gradients_.losses.size(0); }

  const Gradients& gradients_;
  int64_t max_numbers_;
};

/// Throws an Error of kind kConfig at `path` where the gradients of single examples are undefined,
/// or a layer does not have them.
void CheckSingleExamples(const Network& network, const std::string& path);

/// tr Sigma, the trace of the covariance of the per-example gradients, unbiased (division by n - 1;
/// NaN for one example): (sum_i |g_i|^2 - n |g|^2) / (n - 1), a scalar in double. squared_norms:
/// |g_i|^2 [n]; squared_norm: |g|^2 of their mean, a scalar; both in double.
at::Tensor CovarianceTrace(const at::Tensor& squared_norms, const at::Tensor& squared_norm);

}  // namespace sgdscope
