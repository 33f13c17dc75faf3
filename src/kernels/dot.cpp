#include "kernels/dot.h"

namespace sgdscope::kernels {

double Dot(const float* a, const float* b, int64_t n) {
  constexpr int64_t kSums = 8;  // side by side, in vectors
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int64_t k = 0; k < kSums; ++k) {
      sums[k] += static_cast<double>(a[i + k]) * static_cast<double>(b[i + k]);
    }
  }
  double sum = 0;
  for (const double part : sums) sum += part;
  for (; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace sgdscope::kernels
