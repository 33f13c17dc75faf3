#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/kernels.h"

namespace sgdscope::kernels {
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

void FarCrossEntropyChanges(const LogitMoves& moves, double* changes) {
  for (int64_t v = 0; v < moves.m; ++v) {
    changes[v] = 0;
    for (int64_t i = 0; i < moves.n; ++i) {
      changes[v] +=
          ChangeOf(moves, i, moves.shift[v * moves.n + i], moves.direction + v * moves.classes);
    }
  }
}

}  // namespace sgdscope::kernels
