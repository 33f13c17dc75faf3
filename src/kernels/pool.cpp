// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pool.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kernels/pool.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// A pixel's numbers, or their positive parts: the comparisons leave NaN and the sign of 0 as they
/// are.
template <bool kPositive, class D, class T>
HWY_INLINE hn::Vec<D> Pixel(D tag, const T* from) {
  const auto value = hn::LoadU(tag, from);
  if constexpr (!kPositive) return value;
  return hn::IfThenElse(hn::Lt(value, hn::Zero(tag)), hn::Zero(tag), value);
}

/// The numbers of a window's first channels, as many as `tag` has.
template <bool kPositive, class D, class T>
HWY_INLINE hn::Vec<D> Largest(D tag, const T* window, const Windows& windows) {
  auto largest = Pixel<kPositive>(tag, window);
  for (int64_t y = 0; y < windows.size; ++y) {
    const T* pixel = window + y * windows.width * windows.channels;
    for (int64_t x = 0; x < windows.size; ++x, pixel += windows.channels) {
      const auto value = Pixel<kPositive>(tag, pixel);
      const auto larger = hn::Or(hn::Gt(value, largest), hn::IsNaN(value));
      largest = hn::IfThenElse(larger, value, largest);
    }
  }
  return largest;
}

/// Calls use(tag, c) for vectors of channels from c on, the last ones shorter.
template <class D, class Use>
HWY_INLINE void ForChannels(D tag, int64_t c, int64_t channels, const Use& use) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  for (; c + lanes <= channels; c += lanes) use(tag, c);
  if constexpr (hn::MaxLanes(D()) > 1) {
    if (c < channels) ForChannels(hn::Half<D>(), c, channels, use);
  }
}

/// Calls use(tag, window, place) for vectors of channels of each window: where they begin in the
/// image, and where in what becomes of it.
template <class T, class Use>
HWY_INLINE void ForWindows(const Windows& windows, const Use& use) {
  int64_t place = 0;
  for (int64_t y = 0; y < windows.out_height(); ++y) {
    for (int64_t x = 0; x < windows.out_width(); ++x, place += windows.channels) {
      const int64_t window = (y * windows.width + x) * windows.stride * windows.channels;
      ForChannels(hn::ScalableTag<T>(), 0, windows.channels,
                  [&](auto tag, int64_t c) { use(tag, window + c, place + c); });
    }
  }
}

template <bool kPositive, class T>
void PoolImpl(const T* in, const Windows& windows, T* out) {
  ForWindows<T>(windows, [&](auto tag, int64_t window, int64_t place) {
    hn::StoreU(Largest<kPositive>(tag, in + window, windows), tag, out + place);
  });
}

/// kOnce: each pixel lies in one window.
template <bool kPositive, bool kOnce, class T>
void BackImpl(const T* in, const T* d, const Windows& windows, T* by_in) {
  ForWindows<T>(windows, [&](auto tag, int64_t window, int64_t place) {
    const auto zero = hn::Zero(tag);
    const auto largest = Largest<kPositive>(tag, in + window, windows);
    auto rest = hn::LoadU(tag, d + place);  // of the channels whose pixel is not found yet
    if constexpr (kPositive) rest = hn::IfThenZeroElse(hn::Le(largest, zero), rest);
    for (int64_t y = 0; y < windows.size; ++y) {
      int64_t pixel = window + y * windows.width * windows.channels;
      for (int64_t x = 0; x < windows.size; ++x, pixel += windows.channels) {
        const auto smaller = hn::Lt(Pixel<kPositive>(tag, in + pixel), largest);
        const auto share = hn::IfThenZeroElse(smaller, rest);
        rest = hn::IfThenElseZero(smaller, rest);
        const auto before = kOnce ? zero : hn::LoadU(tag, by_in + pixel);
        hn::StoreU(hn::Add(before, share), tag, by_in + pixel);
      }
    }
  });
}

template <bool kPositive, class T>
void BackImpl(const T* in, const T* d, const Windows& windows, T* by_in) {
  const bool once = windows.stride == windows.size && windows.height % windows.size == 0 &&
                    windows.width % windows.size == 0;
  if (once) return BackImpl<kPositive, true>(in, d, windows, by_in);
  std::fill_n(by_in, windows.height * windows.width * windows.channels, T{0});
  BackImpl<kPositive, false>(in, d, windows, by_in);
}

template <class T>
void MaxPoolImpl(const T* in, const Windows& windows, T* out) {
  if (windows.positive) return PoolImpl<true>(in, windows, out);
  PoolImpl<false>(in, windows, out);
}

template <class T>
void MaxPoolBackImpl(const T* in, const T* d, const Windows& windows, T* by_in) {
  if (windows.positive) return BackImpl<true>(in, d, windows, by_in);
  BackImpl<false>(in, d, windows, by_in);
}

// HWY_EXPORT takes no templates.
void MaxPoolFloat(const float* in, const Windows& windows, float* out) {
  MaxPoolImpl(in, windows, out);
}
void MaxPoolDouble(const double* in, const Windows& windows, double* out) {
  MaxPoolImpl(in, windows, out);
}
void MaxPoolBackFloat(const float* in, const float* d, const Windows& windows, float* by_in) {
  MaxPoolBackImpl(in, d, windows, by_in);
}
void MaxPoolBackDouble(const double* in, const double* d, const Windows& windows, double* by_in) {
  MaxPoolBackImpl(in, d, windows, by_in);
}

}  // namespace sgdscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::kernels {

HWY_EXPORT(MaxPoolFloat);
HWY_EXPORT(MaxPoolDouble);
HWY_EXPORT(MaxPoolBackFloat);
HWY_EXPORT(MaxPoolBackDouble);

void MaxPool(const float* in, const Windows& windows, float* out) {
  HWY_DYNAMIC_DISPATCH(MaxPoolFloat)(in, windows, out);
}
void MaxPool(const double* in, const Windows& windows, double* out) {
  HWY_DYNAMIC_DISPATCH(MaxPoolDouble)(in, windows, out);
}
void MaxPoolBack(const float* in, const float* d, const Windows& windows, float* by_in) {
  HWY_DYNAMIC_DISPATCH(MaxPoolBackFloat)(in, d, windows, by_in);
}
void MaxPoolBack(const double* in, const double* d, const Windows& windows, double* by_in) {
  HWY_DYNAMIC_DISPATCH(MaxPoolBackDouble)(in, d, windows, by_in);
}

}  // namespace sgdscope::kernels
#endif  // HWY_ONCE
