#include <cstdint>

#include "kernels/kernels.h"

namespace sgdscope::kernels::reference {

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
