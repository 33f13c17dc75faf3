#pragma once

#include <cstdint>

// Plain arrays in, plain arrays out. Each function has a slow, obvious twin in namespace
// `reference` (reference.cpp) and a SIMD version chosen for the processor at run time (simd.cpp).

namespace sgdscope::kernels {

/// out[i, j] = (float(in[index[i], j]) - shift[c]) / scale[c], c = j / pixels; rounded after the
/// subtraction and after the division. in: [N, channels * pixels]; out: [n, channels * pixels].
void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                     int64_t pixels, const float* shift, const float* scale, float* out);

/// m ways to move the logits of n examples along a direction.
struct LogitMoves {
  const double* q;          // [classes, n]: softmax of the logits
  const int64_t* labels;    // [n]
  const double* shift;      // [m, n]
  const double* direction;  // [m, classes]
  int64_t m;
  int64_t n;
  int64_t classes;
};

/// changes[v] = sum_i L(z_i + shift[v, i] direction[v]) - L(z_i) for the cross-entropy L of
/// softmax:
///   sum_i log1p(sum_c q[c, i] expm1(u_c)) - u_{y_i},  u = shift[v, i] direction[v]
/// Examples whose shift is 0 cost nothing. NaN and infinity in u give NaN or infinity.
void CrossEntropyChanges(const LogitMoves& moves, double* changes);

namespace reference {
void CrossEntropyChanges(const LogitMoves& moves, double* changes);
void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                     int64_t pixels, const float* shift, const float* scale, float* out);
}  // namespace reference

}  // namespace sgdscope::kernels
