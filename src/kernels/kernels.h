#pragma once

#include <cstdint>
#include <string>

// Plain arrays in, plain arrays out, with the instructions of the processor that is found at run
// time (simd.cpp, reduce.cpp). Each function has a slow, obvious twin in the tests. The reductions
// on a GPU: cuda.h.

namespace sgdscope::kernels {

/// The instructions that these functions use on this processor, as Highway names them ("AVX3"): with
/// others, sums may be rounded in another way.
std::string InstructionSet();

/// out[i, j] = (float(in[index[i], j]) - shift[c]) / scale[c], c = j / pixels; rounded after the
/// subtraction and after the division. in: [N, channels * pixels]; out: [n, channels * pixels].
void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                     int64_t pixels, const float* shift, const float* scale, float* out);

/// m ways to move the logits of n examples along a direction.
struct LogitMoves {
  const double* logits;     // [n, classes]: z
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
///   sum_i log1p(sum_c q[c, i] expm1(u_c)),  u_c = shift[v, i] (direction[v, c] - direction[v, y_i])
/// in which the label's term is 0, so that nothing cancels where the label is almost certain. Far
/// moves are made on the logits, since the q of logits hundreds apart underflow. Examples whose
/// shift is 0 cost nothing. NaN and infinity in u give NaN or infinity.
void CrossEntropyChanges(const LogitMoves& moves, double* changes);
/// The same without vector instructions, on the logits: what CrossEntropyChanges uses for far moves.
void FarCrossEntropyChanges(const LogitMoves& moves, double* changes);

/// out[i] = sum_j a[i, j] b[i, j], in double. a, b: [n, m].
void RowDots(const float* a, const float* b, int64_t n, int64_t m, double* out);

/// out[b, c, r] = in[b, r, c] for each of `blocks` matrices [rows, columns], of which one fits into
/// the cache.
void TransposeEach(const float* in, int64_t blocks, int64_t rows, int64_t columns, float* out);
void TransposeEach(const double* in, int64_t blocks, int64_t rows, int64_t columns, double* out);

/// What to make of the n values v that a coordinate has in a batch, sorted v_0 <= ... <= v_{n-1}.
/// `low` + `low_part` and `high` + `high_part` are positions counted from the smallest value: where
/// the part (0 ... 1) is not 0, the threshold lies so far on the way to the next value.
struct Reduction {
  enum class Kind {
    kClip,   // sum of v with what is beyond a threshold moved to it (winsorized)
    kTrim,   // sum of v_low ... v_high, both included, times n / (high - low + 1)
    kSigns,  // sum of the signs of v
  };
  Kind kind;
  int64_t low = 0;
  int64_t high = 0;
  double low_part = 0;
  double high_part = 0;
};

/// out[j] = what `how` makes of values[i * stride + j], i = 0 ... n-1, for j = 0 ... m-1; NaN where
/// one of them is not finite.
void ReduceColumns(const float* values, int64_t n, int64_t m, int64_t stride, const Reduction& how,
                   float* out);
void ReduceColumns(const double* values, int64_t n, int64_t m, int64_t stride, const Reduction& how,
                   double* out);

/// The per-example gradients of a linear layer, which are not stored: those of unit `o` are
/// d[o, i] * h[i, j].
template <class T>
struct OuterProducts {
  const T* d;  // [units, n]
  const T* h;  // [n, inputs]
  int64_t n;
  int64_t units;
  int64_t inputs;
};

/// out[o, j] = what `how`, kClip or kTrim, makes of d[o, i] * h[i, j], i = 0 ... n-1, for the
/// inputs j = begin ... end-1; NaN where one of them is not finite, and wherever a d or a nearby h
/// is not. out: [units, inputs].
void ReduceOuter(const OuterProducts<float>& values, const Reduction& how, int64_t begin,
                 int64_t end, float* out);
void ReduceOuter(const OuterProducts<double>& values, const Reduction& how, int64_t begin,
                 int64_t end, double* out);

}  // namespace sgdscope::kernels
