#pragma once

#include <cstdint>

namespace sgdscope::kernels {

/// sum_i a[i] b[i], products and sum in double.
double Dot(const float* a, const float* b, int64_t n);

}  // namespace sgdscope::kernels
