#pragma once

#include <cstdint>

#include "core/torch.h"

// Products of matrices, by one place that decides who multiplies: the kernel of kernels/product.h
// on a processor, else ATen. Each number is the same whoever asks for it, with a graph or without,
// and on any number of threads.

namespace sgdscope {

/// A matrix [rows, columns] that lies in a tensor, which outlives it. Making one costs nothing,
/// where a tensor's view costs as much as a small product.
struct Matrix {
  const at::Tensor* of;
  int64_t offset;  // in `of`, from its first number on
  int64_t rows;
  int64_t columns;
  int64_t row_stride;
  int64_t column_stride;

  /// All of a tensor of two dimensions.
  static Matrix All(const at::Tensor& of);
  /// Of v [p] from `offset` on, row by row.
  static Matrix Piece(const at::Tensor& v, int64_t offset, int64_t rows, int64_t columns) {
    return {&v, offset, rows, columns, columns, 1};
  }
  Matrix Transposed() const { return {of, offset, columns, rows, column_stride, row_stride}; }
  at::Tensor View() const;
};

/// x m [n, columns], plus the row `addend` [1, columns], or all of a matrix, if there is one.
/// Differentiable by x; by m and the addend where these are.
at::Tensor Times(const at::Tensor& x, const Matrix& m, const Matrix* addend = nullptr);

/// The positive part of Times, in the same pass over it; no graph. `z`: becomes Times; null: that is
/// not wanted.
at::Tensor PositiveTimes(const at::Tensor& x, const Matrix& m, const Matrix* addend, at::Tensor* z);

/// x m, and 0 where `h` is at most 0, in the same pass over it; no graph.
at::Tensor MaskedTimes(const at::Tensor& x, const Matrix& m, const at::Tensor& h);

/// Writes a b to `out`, whose rows lie together, or adds it to what is there; no graph.
void Multiply(const Matrix& a, const Matrix& b, const Matrix& out, bool add = false);

/// Writes the sum of the rows of d [n, columns] to `out` [1, columns]; no graph.
void SumRows(const at::Tensor& d, const Matrix& out);

/// Adds to `out`, without gaps, what Multiply, or SumRows, would write, `scale` times: in one pass, and
/// to the bit as AddMultiple (nn/add_multiple.h) would from a place between.
void AddMultipleOfProduct(const Matrix& a, const Matrix& b, double scale, const Matrix& out);
void AddMultipleOfRows(const at::Tensor& d, double scale, const Matrix& out);

}  // namespace sgdscope
