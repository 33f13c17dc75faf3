#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/kernels.h"

namespace sgdscope::kernels::reference {
namespace {

/// log sum_c exp(value(c)), around the largest of them so that nothing overflows.
template <class Value>
double LogSumExp(int64_t classes, const Value& value) {
  double pivot = -std::numeric_limits<double>::infinity();
  for (int64_t c = 0; c < classes; ++c) pivot = std::max(pivot, value(c));
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(value(c) - pivot);
  return pivot + std::log(sum);
}

/// L(z_i + shift direction) - L(z_i) as documented, with q and what moves as logarithms; where the
/// sum is near -1, in which log1p loses digits, or overflows, as the logarithm of sum_c exp(log q_c
/// + u_c).
double ChangeOf(const LogitMoves& moves, int64_t i, double shift, const double* direction) {
  const double* z = moves.logits + i * moves.classes;
  const double label = direction[moves.labels[i]];
  const double norm = LogSumExp(moves.classes, [&](int64_t c) { return z[c]; });
  const auto log_q = [&](int64_t c) { return z[c] - norm; };
  const auto u = [&](int64_t c) { return shift * (direction[c] - label); };
  double sum = 0;
  for (int64_t c = 0; c < moves.classes; ++c) {
    // q expm1(u), or the same from the other end.
    sum += u(c) < 1 ? std::exp(log_q(c)) * std::expm1(u(c))
                    : -std::exp(log_q(c) + u(c)) * std::expm1(-u(c));
  }
  if (sum > -0.5 && std::isfinite(sum)) return std::log1p(sum);
  return LogSumExp(moves.classes, [&](int64_t c) { return log_q(c) + u(c); });
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
