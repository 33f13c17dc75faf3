#pragma once

#include <cstdint>

// Convolutions of 3 x 3 pixels to few channels, which general libraries compute as if there were more:
// the one to 8 channels, and what the derivatives need of it. Pixels lie one after another, the
// channels of each together; beyond the image's border all is 0.

namespace sgdscope::kernels {

/// Channels of what a convolution makes.
constexpr int64_t kFewChannels = 8;

/// Images of `channels` channels, one after another.
struct Images {
  int64_t count;
  int64_t height;
  int64_t width;
  int64_t channels;
};

/// out[y, x, o] = bias[o] + sum_jic in[y + j - 1, x + i - 1, c] w[j, i, c, o] for each image, in the
/// order of j, i, c, of w [3, 3, channels, 8]. Null for `bias`: 0.
void Convolve(const float* in, const Images& images, const float* w, const float* bias, float* out);
void Convolve(const double* in, const Images& images, const double* w, const double* bias,
              double* out);

/// The derivative of a convolution with stride 2 by its input: each pixel of d goes, by the weights, to
/// the 3 x 3 around pixel (2 y, 2 x) of images [height, width, out_channels], where they are added up:
///   out[y, x, o] = sum d[(y + 1 - j) / 2, (x + 1 - i) / 2, c] w[c, o, j, i]
/// over all c, and the j, i that give whole places in d. Of w there are, for each 8 channels o, what
/// the pixels of even y and x meet, [c, 8] of (1, 1), then even y and odd x, (1, 2) and (1, 0), then
/// odd y and even x, (2, 1) and (0, 1), then odd y and x, (2, 2), (2, 0), (0, 2) and (0, 0).
void Spread(const float* d, const Images& images, const float* w, int64_t height, int64_t width,
            int64_t out_channels, float* out);
void Spread(const double* d, const Images& images, const double* w, int64_t height, int64_t width,
            int64_t out_channels, double* out);

/// sums[j, i, c, o] = sum_yx in[y + j - 1, x + i - 1, c] d[y, x, o] over all images of `in` and d
/// (of 8 channels): of some rows at a time as numbers of their type, and those sums in double.
void ConvolveByWeight(const float* in, const Images& images, const float* d, double* sums);
void ConvolveByWeight(const double* in, const Images& images, const double* d, double* sums);

}  // namespace sgdscope::kernels
