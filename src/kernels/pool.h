#pragma once

#include <cstdint>

// The maximum of windows of an image whose channels lie together: [height, width, channels]. A
// window that begins at pixel (y, x) has `size` times `size` pixels, and begins at multiples of
// `stride`, where it lies in the image; they make an image of [out_height, out_width, channels].

namespace sgdscope::kernels {

struct Windows {
  int64_t height;
  int64_t width;
  int64_t channels;
  int64_t size;
  int64_t stride;
  bool positive;  // whether max(pixel, 0) is taken of each pixel first

  int64_t out_height() const { return (height - size) / stride + 1; }
  int64_t out_width() const { return (width - size) / stride + 1; }
};

/// out = the maximum of each window; NaN where one of its pixels is.
void MaxPool(const float* in, const Windows& windows, float* out);
void MaxPool(const double* in, const Windows& windows, double* out);

/// by_in = the derivative by `in`, where d is that by `out`: the sum, window after window, of those
/// of which the pixel is the first of the largest. With `positive`, 0 where that is at most 0.
void MaxPoolBack(const float* in, const float* d, const Windows& windows, float* by_in);
void MaxPoolBack(const double* in, const double* d, const Windows& windows, double* by_in);

}  // namespace sgdscope::kernels
