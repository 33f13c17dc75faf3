#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/kernels.h"

namespace sgdscope::kernels::reference {
namespace {

/// L(z_i + shift direction) - L(z_i): for small moves as documented, for others as the logarithm of
/// sum_c exp(log q_c + u_c), around the largest of them so that nothing overflows.
double ChangeOf(const LogitMoves& moves, int64_t i, double shift, const double* direction) {
  double sum = 0;
  double farthest = 0;
  double pivot = -std::numeric_limits<double>::infinity();
  for (int64_t c = 0; c < moves.classes; ++c) {
    const double u = shift * direction[c];
    const double q = moves.q[c * moves.n + i];
    sum += q * std::expm1(u);
    farthest = std::max(farthest, std::abs(u));
    pivot = std::max(pivot, std::log(q) + u);
  }
  const double label_gains = shift * direction[moves.labels[i]];
  if (farthest < 1) return std::log1p(sum) - label_gains;
  sum = 0;
  for (int64_t c = 0; c < moves.classes; ++c) {
    sum += std::exp(std::log(moves.q[c * moves.n + i]) + shift * direction[c] - pivot);
  }
  return pivot + std::log(sum) - label_gains;
}

}  // namespace

void RowDots(const float* a, const float* b, int64_t n, int64_t m, double* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = 0;
    for (int64_t j = i * m; j < (i + 1) * m; ++j) {
      out[i] += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    }
  }
}

double Reduce(std::vector<double> values, const Reduction& how) {
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

void CrossEntropyChanges(const LogitMoves& moves, double* changes) {
  for (int64_t v = 0; v < moves.m; ++v) {
    changes[v] = 0;
    for (int64_t i = 0; i < moves.n; ++i) {
      changes[v] +=
          ChangeOf(moves, i, moves.shift[v * moves.n + i], moves.direction + v * moves.classes);
    }
  }
}

void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
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
