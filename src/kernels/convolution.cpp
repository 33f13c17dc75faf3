// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
//
// Each image is copied to where zeros surround it. A vector holds the 8 channels of a pixel of the
// result, or, of the derivative by the weights, what a weight adds to them; so many of these stay in
// registers that all that is read for a multiplication is one number of the image.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convolution.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kernels/convolution.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::CappedTag<T, kFewChannels>;
template <class T>
using V = hn::Vec<Tag<T>>;
template <class T>
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Tag<T>()));
/// Vectors of a pixel.
template <class T>
constexpr int kVectors = static_cast<int>(kFewChannels) / kLanes<T>;

// Vectors of sums: the other registers hold a pixel or a weight, and a number that meets it.
#if HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM
constexpr int kMostSums = 27;
constexpr int kMostPixels = 16;
#else
constexpr int kMostSums = 12;
constexpr int kMostPixels = 8;
#endif

/// Terms that are added up in one type before their sum is added in double.
constexpr int64_t kTermsOfSum = 1024;

/// An image with zeros around it.
template <class T>
class Framed {
 public:
  explicit Framed(const Images& images)
      : row_((images.width + 2) * images.channels),
        inner_(images.width * images.channels),
        height_(images.height),
        left_(images.channels),
        numbers_(hwy::AllocateAligned<T>(static_cast<size_t>((height_ + 2) * row_))) {
    std::fill_n(numbers_.get(), (height_ + 2) * row_, T(0));
  }

  void Take(const T* image) {
    for (int64_t y = 0; y < height_; ++y) {
      std::copy_n(image + y * inner_, inner_, numbers_.get() + (y + 1) * row_ + left_);
    }
  }

  int64_t row() const { return row_; }
  /// What is around the pixels of row y begins here.
  const T* Around(int64_t y) const { return numbers_.get() + y * row_; }

 private:
  int64_t row_;
  int64_t inner_;
  int64_t height_;
  int64_t left_;
  hwy::AlignedFreeUniquePtr<T[]> numbers_;
};

/// What some pixels of the result are made of: each of `rows` rows of `span` numbers that lie together.
template <class T>
struct Window {
  const T* in;  // the first row's numbers for the first pixel
  int64_t row;  // from a row to the next one
  int rows;
  int64_t span;
  int64_t step;  // from a pixel to the next one
  const T* w;    // [rows, span, 8]
  const T* bias;
  T* out;
  int64_t out_step;
};

/// kPixels pixels of the result.
template <int kPixels, class T>
HWY_NOINLINE void Pixels(const Window<T>& window) {
  constexpr int kPointers = (kPixels + 2) / 3;  // an address is a pointer and 0, 1 or 2 pixels
  const Tag<T> d;
  const int64_t row = window.row, span = window.span, step = window.step;
  const int64_t out_step = window.out_step;
  const T* HWY_RESTRICT in = window.in;
  const T* HWY_RESTRICT w = window.w;
  T* HWY_RESTRICT out = window.out;
  const T* number[kPointers];
  V<T> sums[kPixels][kVectors<T>];
  HWY_UNROLL(16)
  for (int p = 0; p < kPixels; ++p) {
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors<T>; ++v) {
      sums[p][v] = window.bias == nullptr ? hn::Zero(d) : hn::LoadU(d, window.bias + v * kLanes<T>);
    }
  }
  for (int j = 0; j < window.rows; ++j) {
    HWY_UNROLL(6)
    for (int g = 0; g < kPointers; ++g) number[g] = in + j * row + 3 * g * step;
    for (int64_t k = 0; k < span; ++k, w += kFewChannels) {
      V<T> weight[kVectors<T>];
      HWY_UNROLL(8)
      for (int v = 0; v < kVectors<T>; ++v) weight[v] = hn::LoadU(d, w + v * kLanes<T>);
      HWY_UNROLL(16)
      for (int p = 0; p < kPixels; ++p) {
        const V<T> of_in = hn::Set(d, number[p / 3][(p % 3) * step]);
        HWY_UNROLL(8)
        for (int v = 0; v < kVectors<T>; ++v) sums[p][v] = hn::MulAdd(of_in, weight[v], sums[p][v]);
      }
      HWY_UNROLL(6)
      for (int g = 0; g < kPointers; ++g) ++number[g];
    }
  }
  HWY_UNROLL(16)
  for (int p = 0; p < kPixels; ++p) {
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors<T>; ++v) {
      hn::StoreU(sums[p][v], d, out + p * out_step + v * kLanes<T>);
    }
  }
}

/// So many pixels of a row of the result. The last ones are computed together with some that are known
/// already.
template <int kPixels, class T>
void Row(const Window<T>& first, int64_t pixels) {
  if constexpr (kPixels > 1) {
    if (pixels < kPixels) return Row<kPixels / 2>(first, pixels);
  }
  for (int64_t x = 0; x < pixels; x += kPixels) {
    const int64_t at = std::min(x, pixels - kPixels);
    Window<T> some = first;
    some.in += at * first.step;
    some.out += at * first.out_step;
    Pixels<kPixels>(some);
  }
}

template <class T>
constexpr int kPixelsAtOnce = std::max(1, kMostPixels / kVectors<T>);

template <class T>
void ConvolveImpl(const T* in, const Images& images, const T* w, const T* bias, T* out) {
  Framed<T> framed(images);
  const int64_t area = images.height * images.width, channels = images.channels;
  for (int64_t i = 0; i < images.count; ++i) {
    framed.Take(in + i * area * channels);
    for (int64_t y = 0; y < images.height; ++y, out += images.width * kFewChannels) {
      // The three pixels around one lie together, and so do their weights.
      Row<kPixelsAtOnce<T>, T>(
          {framed.Around(y), framed.row(), 3, 3 * channels, channels, w, bias, out, kFewChannels},
          images.width);
    }
  }
}

/// Pixels of the result at odd places lie between two of d, on either axis, the others at one.
template <class T>
void SpreadImpl(const T* d, const Images& images, const T* w, int64_t height, int64_t width,
                int64_t out_channels, T* out) {
  Framed<T> framed(images);
  const int64_t channels = images.channels;
  for (int64_t i = 0; i < images.count; ++i) {
    framed.Take(d + i * images.height * images.width * channels);
    const T* of_block = w;
    for (int64_t block = 0; block < out_channels; block += kFewChannels) {
      for (int64_t y = 0; y < height; ++y) {
        const T* of_class = of_block + (y % 2) * 3 * channels * kFewChannels;
        const int rows = 1 + static_cast<int>(y % 2);
        for (int64_t x = 0; x < 2 && x < width; ++x) {
          Row<kPixelsAtOnce<T>, T>(
              {framed.Around(y / 2 + 1) + channels, framed.row(), rows, (1 + x) * channels,
               channels, of_class, nullptr,
               out + ((i * height + y) * width + x) * out_channels + block, 2 * out_channels},
              (width + 1 - x) / 2);
          of_class += rows * channels * kFewChannels;
        }
      }
      of_block += 9 * channels * kFewChannels;
    }
  }
}

/// Adds what some rows add to the sums of kRows times kEach weights; `in`: the number that the first
/// weight meets at the first pixel.
template <int kRows, int kEach, class T>
HWY_NOINLINE void SomeWeights(const T* HWY_RESTRICT in, int64_t row, const Images& images,
                              int64_t rows, const T* HWY_RESTRICT d, double* sums) {
  const Tag<T> tag;
  V<T> sum[kRows][kEach][kVectors<T>];
  HWY_UNROLL(3)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(24)
    for (int k = 0; k < kEach; ++k) {
      HWY_UNROLL(8)
      for (int v = 0; v < kVectors<T>; ++v) sum[r][k][v] = hn::Zero(tag);
    }
  }
  for (int64_t y = 0; y < rows; ++y) {
    const T* number = in + y * row;
    for (int64_t x = 0; x < images.width; ++x, number += images.channels, d += kFewChannels) {
      V<T> pixel[kVectors<T>];
      HWY_UNROLL(8)
      for (int v = 0; v < kVectors<T>; ++v) pixel[v] = hn::LoadU(tag, d + v * kLanes<T>);
      HWY_UNROLL(3)
      for (int r = 0; r < kRows; ++r) {
        HWY_UNROLL(24)
        for (int k = 0; k < kEach; ++k) {
          const V<T> of_in = hn::Set(tag, number[r * row + k]);
          HWY_UNROLL(8)
          for (int v = 0; v < kVectors<T>; ++v) {
            sum[r][k][v] = hn::MulAdd(of_in, pixel[v], sum[r][k][v]);
          }
        }
      }
    }
  }
  HWY_ALIGN T some[kFewChannels];
  HWY_UNROLL(3)
  for (int r = 0; r < kRows; ++r) {
    double* to = sums + r * 3 * images.channels * kFewChannels;
    HWY_UNROLL(24)
    for (int k = 0; k < kEach; ++k, to += kFewChannels) {
      HWY_UNROLL(8)
      for (int v = 0; v < kVectors<T>; ++v) hn::Store(sum[r][k][v], tag, some + v * kLanes<T>);
      for (int o = 0; o < kFewChannels; ++o) to[o] += static_cast<double>(some[o]);
    }
  }
}

/// All weights of row j from number k on, as many at a time as there is room for.
template <int kEach, class T>
void WeightsOfRow(const T* in, int64_t row, const Images& images, int64_t rows, const T* d,
                  int64_t k, double* sums) {
  const int64_t all = 3 * images.channels;
  if constexpr (kEach * kVectors<T> <= kMostSums || kEach == 3) {
    for (; k + kEach <= all; k += kEach) {
      SomeWeights<1, kEach>(in + k, row, images, rows, d, sums + k * kFewChannels);
    }
  }
  if constexpr (kEach > 3) {
    if (k < all) WeightsOfRow<kEach / 2>(in, row, images, rows, d, k, sums);
  }
}

template <class T>
void ConvolveByWeightImpl(const T* in, const Images& images, const T* d, double* sums) {
  Framed<T> framed(images);
  const int64_t area = images.height * images.width, all = 3 * images.channels;
  const int64_t rows = std::max<int64_t>(1, kTermsOfSum / images.width);
  std::fill_n(sums, 3 * all * kFewChannels, 0.0);
  for (int64_t i = 0; i < images.count; ++i) {
    framed.Take(in + i * area * images.channels);
    for (int64_t y = 0; y < images.height; y += rows) {
      const int64_t some = std::min(rows, images.height - y);
      const T* const of_d = d + (i * area + y * images.width) * kFewChannels;
      // Few weights: all rows at once, so that no sum waits for its last addition.
      if (images.channels == 1 && 9 * kVectors<T> <= kMostSums) {
        SomeWeights<3, 3>(framed.Around(y), framed.row(), images, some, of_d, sums);
      } else if (images.channels == 3 && 27 * kVectors<T> <= kMostSums) {
        SomeWeights<3, 9>(framed.Around(y), framed.row(), images, some, of_d, sums);
      } else {
        for (int64_t j = 0; j < 3; ++j) {
          WeightsOfRow<24>(framed.Around(y + j), framed.row(), images, some, of_d, 0,
                           sums + j * all * kFewChannels);
        }
      }
    }
  }
}

// HWY_EXPORT takes no templates.
void ConvolveFloat(const float* in, const Images& images, const float* w, const float* bias,
                   float* out) {
  ConvolveImpl(in, images, w, bias, out);
}
void ConvolveDouble(const double* in, const Images& images, const double* w, const double* bias,
                    double* out) {
  ConvolveImpl(in, images, w, bias, out);
}
void SpreadFloat(const float* d, const Images& images, const float* w, int64_t height,
                 int64_t width, int64_t out_channels, float* out) {
  SpreadImpl(d, images, w, height, width, out_channels, out);
}
void SpreadDouble(const double* d, const Images& images, const double* w, int64_t height,
                  int64_t width, int64_t out_channels, double* out) {
  SpreadImpl(d, images, w, height, width, out_channels, out);
}
void ConvolveByWeightFloat(const float* in, const Images& images, const float* d, double* sums) {
  ConvolveByWeightImpl(in, images, d, sums);
}
void ConvolveByWeightDouble(const double* in, const Images& images, const double* d, double* sums) {
  ConvolveByWeightImpl(in, images, d, sums);
}

}  // namespace sgdscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::kernels {

HWY_EXPORT(ConvolveFloat);
HWY_EXPORT(ConvolveDouble);
HWY_EXPORT(SpreadFloat);
HWY_EXPORT(SpreadDouble);
HWY_EXPORT(ConvolveByWeightFloat);
HWY_EXPORT(ConvolveByWeightDouble);

void Convolve(const float* in, const Images& images, const float* w, const float* bias,
              float* out) {
  HWY_DYNAMIC_DISPATCH(ConvolveFloat)(in, images, w, bias, out);
}
void Convolve(const double* in, const Images& images, const double* w, const double* bias,
              double* out) {
  HWY_DYNAMIC_DISPATCH(ConvolveDouble)(in, images, w, bias, out);
}
void Spread(const float* d, const Images& images, const float* w, int64_t height, int64_t width,
            int64_t out_channels, float* out) {
  HWY_DYNAMIC_DISPATCH(SpreadFloat)(d, images, w, height, width, out_channels, out);
}
void Spread(const double* d, const Images& images, const double* w, int64_t height, int64_t width,
            int64_t out_channels, double* out) {
  HWY_DYNAMIC_DISPATCH(SpreadDouble)(d, images, w, height, width, out_channels, out);
}
void ConvolveByWeight(const float* in, const Images& images, const float* d, double* sums) {
  HWY_DYNAMIC_DISPATCH(ConvolveByWeightFloat)(in, images, d, sums);
}
void ConvolveByWeight(const double* in, const Images& images, const double* d, double* sums) {
  HWY_DYNAMIC_DISPATCH(ConvolveByWeightDouble)(in, images, d, sums);
}

}  // namespace sgdscope::kernels
#endif  // HWY_ONCE
