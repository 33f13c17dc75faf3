#pragma once

#include <cstdint>

// Sums and combinations for each channel of values that lie channel by channel: [rows, channels].

namespace sgdscope::kernels {

/// x - shift: values [rows, channels], shift [channels].
template <class T>
struct ShiftedRows {
  const T* values;
  const double* shift;
};

/// sums[0, c] = sum_r a[r, c],  sums[1, c] = sum_r a[r, c] b[r, c], each channel's in the order of
/// the rows, in double. sums: [2, channels].
void ChannelSums(const ShiftedRows<float>& a, const ShiftedRows<float>& b, int64_t rows,
                 int64_t channels, double* sums);
void ChannelSums(const ShiftedRows<double>& a, const ShiftedRows<double>& b, int64_t rows,
                 int64_t channels, double* sums);

/// The same with a[r, c] = d[r, c], or 0 where positive[r, c] is at most 0, which is written to `out`.
/// All are [rows, channels].
template <class T>
struct MaskedRows {
  const T* d;
  const T* positive;
  T* out;
};
void MaskedChannelSums(const MaskedRows<float>& a, const ShiftedRows<float>& b, int64_t rows,
                       int64_t channels, double* sums);
void MaskedChannelSums(const MaskedRows<double>& a, const ShiftedRows<double>& b, int64_t rows,
                       int64_t channels, double* sums);

/// weight (x - shift): values [rows, channels]; shift and weight [channels].
template <class T>
struct ChannelTerm {
  const T* values;
  const T* shift;
  const T* weight;
};

/// out[r, c] = constant[c] + the sum of `count` terms, 1 to 3; `positive`: max(that, 0).
void ChannelCombination(const ChannelTerm<float>* terms, int64_t count, const float* constant,
                        bool positive, int64_t rows, int64_t channels, float* out);
void ChannelCombination(const ChannelTerm<double>* terms, int64_t count, const double* constant,
                        bool positive, int64_t rows, int64_t channels, double* out);

}  // namespace sgdscope::kernels
