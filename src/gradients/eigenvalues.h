#pragma once

#include <cstdint>
#include <functional>

#include "core/torch.h"

namespace sgdscope {

/// A symmetric matrix A [p, p], known by its products: rows v_i [m, p] to rows A v_i [m, p].
using SymmetricMatrix = std::function<at::Tensor(const at::Tensor& rows)>;

/// What is asked of FindEigenpairs.
struct EigenSearch {
  int64_t largest;       // how many of the largest eigenvalues
  int64_t smallest;      // how many of the smallest
  double tolerance;      // residual norms to reach, relative to the largest |eigenvalue| seen
  int64_t max_products;  // to stop at
  /// Whether to seek one pair more than asked at each end that is asked for, which notices when another
  /// eigenvalue overtakes the last one asked for.
  bool looks_out = true;

  /// Pairs that are sought in p dimensions.
  int64_t Rows(int64_t p) const;
};

/// Approximate eigenpairs (lambda_i, x_i): the largest first, then the smallest, from the outermost
/// inwards; each end with the one more than asked, if that is sought.
struct Eigenpairs {
  at::Tensor vectors;    // [rows, p], orthonormal
  at::Tensor values;     // [rows], in double
  at::Tensor residuals;  // [rows], in double: |A x_i - lambda_i x_i|; A has an eigenvalue within it
  int64_t products = 0;  // that it took
  /// [rows, p]: the vectors after a step of gradient ascent (or descent) of their quotients, which takes
  /// no more products: where to begin with a matrix that is a little different.
  at::Tensor next;
};

/// Eigenpairs of A from the span of `start` [search.Rows(p) or more, p]: the nearer that is to
/// eigenvectors, the fewer products. Rows that depend on earlier ones count for nothing. Converged
/// rows say nothing of an eigenvector that is orthogonal to them: further rows should lean to where
/// one may have come up. Where products are not finite, so are the values, and the vectors are
/// those of `start`. Reads a few numbers back to the host for each block of products.
Eigenpairs FindEigenpairs(const SymmetricMatrix& matrix, const at::Tensor& start,
                          const EigenSearch& search);

/// Points on A's spectrum with weights whose sum is 1, in double.
struct Quadrature {
  at::Tensor nodes;    // [steps], ascending
  at::Tensor weights;  // [steps]
};

/// Lanczos quadrature from v: sum_i weight_i f(node_i) is <v, f(A) v> / <v, v> for polynomials f up
/// to degree 2 steps - 1. Takes `steps` products and holds as many vectors [p]. Where the Krylov
/// space ends earlier, what is left over has the weight 0; where products are not finite, all is
/// NaN. Reads back one number.
Quadrature LanczosQuadrature(const SymmetricMatrix& matrix, const at::Tensor& v, int64_t steps);

}  // namespace sgdscope
