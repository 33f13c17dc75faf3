#pragma once

#include <cstdint>

// Plain arrays in, plain arrays out. Each function has a slow, obvious twin in namespace
// `reference` (reference.cpp) and a SIMD version chosen for the processor at run time (simd.cpp).

namespace sgdscope::kernels {

/// out[i, j] = (float(in[index[i], j]) - shift[c]) / scale[c], c = j / pixels; rounded after the
/// subtraction and after the division. in: [N, channels * pixels]; out: [n, channels * pixels].
void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                     int64_t pixels, const float* shift, const float* scale, float* out);

namespace reference {
void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                     int64_t pixels, const float* shift, const float* scale, float* out);
}  // namespace reference

}  // namespace sgdscope::kernels
