#pragma once

#include <cstdint>

#include "core/torch.h"
#include "gradients/oracle.h"

namespace sgdscope {

/// The spectrum of Sigma = (1/(n-1)) sum_i (g_i - g)(g_i - g)^T [p, p], the covariance of n
/// gradients g_i around their mean g, without any vector of p numbers.
struct NoiseSpectrum {
  at::Tensor values;  // [n], in double, the largest first; the last one is 0 but for rounding
  /// [n, n], in double: sum_i weights[a][i] (g_i - g) is the unit eigenvector of values[a]; 0 where
  /// that is 0 but for rounding.
  at::Tensor weights;
};

/// The Gram matrix <g_i, g_j> [n, n], in double, of the gradients of the examples `indices` [n] at
/// theta. Two pieces of `size` are evaluated together, or fewer where the oracle takes fewer at once.
at::Tensor GramInPieces(const Oracle& oracle, const at::Tensor& indices, const at::Tensor& theta,
                        int64_t size);

/// From the Gram matrix <g_i, g_j> [n, n], in double; n > 1. NaN where that is not finite.
NoiseSpectrum SpectrumOfNoise(const at::Tensor& gram);

}  // namespace sgdscope
