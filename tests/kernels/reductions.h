#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/kernels/reference.h"

// What to reduce, how, and how far from the slow twin the result may be.

namespace sgdscope {

using kernels::Reduction;
using Kind = Reduction::Kind;

/// Sizes of batches.
constexpr int64_t kSizes[] = {1, 2, 3, 7, 32, 100, 128, 257, 1024};

/// Winsorizing at percentile c, as estimators/winsorized.cpp does it.
inline Reduction Clip(int64_t n, double c, bool linear) {
  const double p = c * static_cast<double>(n - 1) / 100;
  const auto k = static_cast<int64_t>(linear ? std::floor(p) : std::ceil(p - 0.5));
  const double part = p - static_cast<double>(k);
  if (!linear || part == 0) return {Kind::kClip, k, n - 1 - k};
  return {Kind::kClip, k, n - 2 - k, part, 1 - part};
}

/// Random values of a kind: what layers make, and what is rare.
enum class Values { kRelu, kPixels, kTanh, kTies, kZeros, kDenormals, kMixedScales };
inline const Values kAllValues[] = {Values::kRelu,       Values::kPixels, Values::kTanh,
                                    Values::kTies,       Values::kZeros,  Values::kDenormals,
                                    Values::kMixedScales};

template <class T>
std::vector<T> Draw(Stream& stream, Values kind, int64_t rows, int64_t columns) {
  std::vector<T> values(rows * columns);
  for (int64_t i = 0; i < rows; ++i) {
    const bool blank = stream.Uniform() < 0.5;  // a row of pixels without ink
    for (int64_t j = 0; j < columns; ++j) {
      T& v = values[i * columns + j];
      const double normal = stream.Normal();
      switch (kind) {
        case Values::kRelu:
          v = static_cast<T>(std::max(normal, 0.0));
          break;
        case Values::kPixels:
          v = blank ? T(0) : static_cast<T>(stream.Uniform());
          break;
        case Values::kTanh:
          v = static_cast<T>(std::tanh(normal));
          break;
        case Values::kTies:
          v = static_cast<T>(std::round(normal));
          break;
        case Values::kZeros:
          v = normal < 0 ? T(0) : -T(0);
          break;
        case Values::kDenormals:
          v = static_cast<T>(normal) * std::numeric_limits<T>::denorm_min() * T(1000);
          break;
        case Values::kMixedScales:
          v = static_cast<T>(std::exp(5 * normal) * normal);
          break;
      }
    }
  }
  return values;
}

/// Rounding of a product, of n additions, of the threshold and of what multiplies it: relative to
/// the sum of the magnitudes that count, not to the outliers that don't.
template <class T>
double Tolerance(const std::vector<double>& values, const Reduction& how) {
  std::vector<double> magnitudes = values;
  for (double& v : magnitudes) v = std::abs(v);
  std::vector<double> sorted = values;
  std::ranges::sort(sorted);
  const auto at = [&](int64_t i) {
    return sorted[std::min<int64_t>(i, static_cast<int64_t>(sorted.size()) - 1)];
  };
  const double most =
      std::max({std::abs(at(how.low)), std::abs(at(how.low + (how.low_part > 0))),
                std::abs(at(how.high)), std::abs(at(how.high + (how.high_part > 0)))});
  double sum = 0;
  for (const double v : magnitudes) sum += std::min(v, most);
  const auto n = static_cast<double>(values.size());
  const double scale =
      how.kind == Kind::kTrim ? n / static_cast<double>(how.high - how.low + 1) : 1;
  return scale * (std::numeric_limits<T>::epsilon() * (n + 8) * sum +
                  n * static_cast<double>(std::numeric_limits<T>::denorm_min()));
}

/// Expects out [m] to be what `how` makes of the columns of values [n, m].
template <class T>
void ExpectReducedColumns(const std::vector<T>& out, const std::vector<T>& values, int64_t n,
                          int64_t m, const Reduction& how, const std::string& what) {
  for (int64_t j = 0; j < m; ++j) {
    std::vector<double> column(n);
    for (int64_t i = 0; i < n; ++i) column[i] = values[i * m + j];
    ASSERT_NEAR(out[j], kernels::reference::Reduce(column, how), Tolerance<T>(column, how))
        << what << ", column " << j << " of " << m;
  }
}

/// Expects out [units, inputs] to be what `how` makes of the products d[o, i] * h[i, j].
template <class T>
void ExpectReducedOuter(const std::vector<T>& out, const kernels::OuterProducts<T>& of,
                        const Reduction& how, const std::string& what) {
  for (int64_t o = 0; o < of.units; ++o) {
    for (int64_t j = 0; j < of.inputs; ++j) {
      std::vector<double> values(of.n);
      for (int64_t i = 0; i < of.n; ++i) {
        values[i] =
            static_cast<double>(of.d[o * of.n + i]) * static_cast<double>(of.h[i * of.inputs + j]);
      }
      ASSERT_NEAR(out[o * of.inputs + j], kernels::reference::Reduce(values, how),
                  Tolerance<T>(values, how))
          << what << ", unit " << o << " of " << of.units << ", input " << j << " of " << of.inputs;
    }
  }
}

}  // namespace sgdscope
