#pragma once

#include <cstdint>

// Products of matrices one of which is as large as a batch. General libraries reach 45 to 85 % of
// what the processor can multiply and add there, since they pack both factors, and on some
// processors don't use its widest instructions.

namespace sgdscope::kernels {

/// c[i, j] = sum_l a[i, l] b[l, j] + add[i, j] of a [m, k] and b [k, n], each sum in the order of l;
/// of more than kTerms terms, the sums of equal parts in turn. Of b, either the rows or the columns lie
/// together: b_step or b_column is 1.
template <class T>
struct Product {
  const T* a;  // a[i, l] = a[i * a_row + l * a_step]
  int64_t a_row;
  int64_t a_step;
  const T* b;  // b[l, j] = b[l * b_step + j * b_column]
  int64_t b_step;
  int64_t b_column;
  T* c;  // c[i, j] = c[i * c_row + j]
  int64_t c_row;
  int64_t m;
  int64_t n;
  int64_t k;
  /// add[i, j] = add[i * add_row + j]; may be c itself. Null: nothing.
  const T* add = nullptr;
  int64_t add_row = 0;
  /// [m, n], row by row like c: becomes max(c[i, j], 0), NaN where that is; may be c itself. Null:
  /// not wanted.
  T* positive = nullptr;
  /// [m, n], row by row like c: where it is at most 0, c is 0. Null: nothing.
  const T* mask = nullptr;
  /// c[i, j] becomes what AddMultiple makes of it with the sum, *scale times; of at most kTerms terms
  /// and with none of the above. Null: the sum itself.
  const T* scale = nullptr;
};

/// Terms of a sum that are added one after another: so many sums are added in turn, which bounds
/// the rounding of long ones, and b in the cache.
constexpr int64_t kTerms = 512;

/// Columns begin ... end - 1 of c. However the columns are shared out, each number is the same.
void Multiply(const Product<float>& product, int64_t begin, int64_t end);
void Multiply(const Product<double>& product, int64_t begin, int64_t end);

/// to[i] = to[i] + scale x[i], i = 0 ... n - 1; rounded once where the processor can.
void AddMultiple(const float* x, float scale, int64_t n, float* to);
void AddMultiple(const double* x, double scale, int64_t n, double* to);

/// Momentum, with d[i] = g[i] + decay theta[i], or g[i] where theta is null:
///   velocity[i] = keep velocity[i] + fresh d[i],   ahead[i] = d[i] + keep velocity[i].
template <class T>
struct Momentum {
  const T* g;
  const T* theta;
  T decay;
  T keep;
  T fresh;
  T* velocity;
  T* ahead;  // null: not wanted
};

/// The numbers begin ... end - 1 of it, in one pass; what is added to a product is rounded once where
/// the processor can.
void Move(const Momentum<float>& momentum, int64_t begin, int64_t end);
void Move(const Momentum<double>& momentum, int64_t begin, int64_t end);

}  // namespace sgdscope::kernels
