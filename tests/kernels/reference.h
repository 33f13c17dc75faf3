#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/kernels.h"

// The slow, obvious twins of the functions of kernels/kernels.h.

namespace sgdscope::kernels::reference {

/// In double.
inline void RowDots(const float* a, const float* b, int64_t n, int64_t m, double* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = 0;
    for (int64_t j = i * m; j < (i + 1) * m; ++j) {
      out[i] += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    }
  }
}

/// In double, by sorting. Values that are not finite give NaN.
inline double Reduce(std::vector<double> values, const Reduction& how) {
  if (!std::ranges::all_of(values, [](double v) { return std::isfinite(v); })) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  std::ranges::sort(values);
  const auto at = [&](int64_t position, double part) {
    const double here = values[position];
    return part == 0 ? here : here + part * (values[position + 1] - here);
  };
  const double lowest = at(how.low, how.low_part);
  const double highest = at(how.high, how.high_part);
  double sum = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
    const double v = values[i];
    if (how.kind == Reduction::Kind::kClip) sum += std::min(std::max(v, lowest), highest);
    if (how.kind == Reduction::Kind::kTrim && how.low <= i && i <= how.high) sum += v;
    if (how.kind == Reduction::Kind::kSigns) sum += (v > 0) - (v < 0);
  }
  if (how.kind != Reduction::Kind::kTrim) return sum;
  return sum * static_cast<double>(values.size()) / static_cast<double>(how.high - how.low + 1);
}

/// log sum_c exp(z_c + shift direction_c).
inline long double LogSumExp(const double* z, double shift, const double* direction,
                             int64_t classes) {
  const auto value = [&](int64_t c) {
    return static_cast<long double>(z[c]) +
           static_cast<long double>(shift) * static_cast<long double>(direction[c]);
  };
  long double largest = value(0);
  for (int64_t c = 1; c < classes; ++c) largest = std::max(largest, value(c));
  long double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(value(c) - largest);
  return largest + std::log(sum);
}

/// The change of one example's loss: log1p(sum_c q_c expm1(u_c)), or the difference of two losses
/// where the label is no longer the likeliest class.
inline long double ChangeOf(const double* z, double shift, const double* direction, int64_t classes,
                            int64_t label) {
  const long double before = LogSumExp(z, 0, direction, classes);
  long double sum = 0;
  for (int64_t c = 0; c < classes; ++c) {
    const long double u = static_cast<long double>(shift) *
                          (static_cast<long double>(direction[c]) - direction[label]);
    sum += std::exp(static_cast<long double>(z[c]) - before) * std::expm1(u);
  }
  if (std::abs(sum) < 0.5L) return std::log1p(sum);
  return LogSumExp(z, shift, direction, classes) - before -
         static_cast<long double>(shift) * static_cast<long double>(direction[label]);
}

/// In long double.
inline void CrossEntropyChanges(const LogitMoves& moves, double* changes) {
  for (int64_t v = 0; v < moves.m; ++v) {
    long double sum = 0;
    for (int64_t i = 0; i < moves.n; ++i) {
      sum += ChangeOf(moves.logits + i * moves.classes, moves.shift[v * moves.n + i],
                      moves.direction + v * moves.classes, moves.classes, moves.labels[i]);
    }
    changes[v] = static_cast<double>(sum);
  }
}

inline void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                            int64_t pixels, const float* shift, const float* scale, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t j = 0; j < pixels; ++j) {
        const float centred =
            static_cast<float>(in[(index[i] * channels + c) * pixels + j]) - shift[c];
        out[(i * channels + c) * pixels + j] = centred / scale[c];
      }
    }
  }
}

}  // namespace sgdscope::kernels::reference
