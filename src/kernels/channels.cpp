// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/channels.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

#include <cstdint>

#include "kernels/channels.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D64 = hn::ScalableTag<double>;
using V64 = hn::Vec<D64>;

HWY_INLINE V64 LoadWide(const float* from) {
  return hn::PromoteTo(D64(), hn::LoadU(hn::Rebind<float, D64>(), from));
}
HWY_INLINE V64 LoadWide(const double* from) { return hn::LoadU(D64(), from); }

/// The sums of kVectors vectors of channels from c on, kept in registers.
template <int kVectors, class T>
HWY_INLINE void SumSome(const ShiftedRows<T>& a, const ShiftedRows<T>& b, int64_t rows,
                        int64_t channels, int64_t c, double* sums) {
  const D64 tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  V64 shift_a[kVectors], shift_b[kVectors], first[kVectors], second[kVectors];
  HWY_UNROLL(4)
  for (int k = 0; k < kVectors; ++k) {
    shift_a[k] = hn::LoadU(tag, a.shift + c + k * lanes);
    shift_b[k] = hn::LoadU(tag, b.shift + c + k * lanes);
    first[k] = second[k] = hn::Zero(tag);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * channels + c;
    HWY_UNROLL(4)
    for (int k = 0; k < kVectors; ++k) {
      const V64 x = hn::Sub(LoadWide(a.values + at + k * lanes), shift_a[k]);
      const V64 y = hn::Sub(LoadWide(b.values + at + k * lanes), shift_b[k]);
      first[k] = hn::Add(first[k], x);
      second[k] = hn::MulAdd(x, y, second[k]);
    }
  }
  HWY_UNROLL(4)
  for (int k = 0; k < kVectors; ++k) {
    hn::StoreU(first[k], tag, sums + c + k * lanes);
    hn::StoreU(second[k], tag, sums + channels + c + k * lanes);
  }
}

template <class T>
void ChannelSumsImpl(const ShiftedRows<T>& a, const ShiftedRows<T>& b, int64_t rows,
                     int64_t channels, double* sums) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D64()));
  int64_t c = 0;
  for (; c + 4 * lanes <= channels; c += 4 * lanes) SumSome<4>(a, b, rows, channels, c, sums);
  for (; c + lanes <= channels; c += lanes) SumSome<1>(a, b, rows, channels, c, sums);
  for (; c < channels; ++c) {
    double first = 0, second = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const double x = static_cast<double>(a.values[r * channels + c]) - a.shift[c];
      const double y = static_cast<double>(b.values[r * channels + c]) - b.shift[c];
      first += x;
      second += x * y;
    }
    sums[c] = first;
    sums[channels + c] = second;
  }
}

template <int kTerms, class T>
void CombineTerms(const ChannelTerm<T>* terms, const T* constant, int64_t rows, int64_t channels,
                  T* out) {
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = r * channels;
    int64_t c = 0;
    for (; c + lanes <= channels; c += lanes) {
      auto sum = hn::LoadU(tag, constant + c);
      HWY_UNROLL(3)
      for (int k = 0; k < kTerms; ++k) {
        const auto x =
            hn::Sub(hn::LoadU(tag, terms[k].values + row + c), hn::LoadU(tag, terms[k].shift + c));
        sum = hn::MulAdd(x, hn::LoadU(tag, terms[k].weight + c), sum);
      }
      hn::StoreU(sum, tag, out + row + c);
    }
    for (; c < channels; ++c) {
      T sum = constant[c];
      for (int k = 0; k < kTerms; ++k) {
        sum += (terms[k].values[row + c] - terms[k].shift[c]) * terms[k].weight[c];
      }
      out[row + c] = sum;
    }
  }
}

template <class T>
void ChannelCombinationImpl(const ChannelTerm<T>* terms, int64_t count, const T* constant,
                            int64_t rows, int64_t channels, T* out) {
  if (count == 1) return CombineTerms<1>(terms, constant, rows, channels, out);
  if (count == 2) return CombineTerms<2>(terms, constant, rows, channels, out);
  CombineTerms<3>(terms, constant, rows, channels, out);
}

// HWY_EXPORT takes no templates.
void ChannelSumsFloat(const ShiftedRows<float>& a, const ShiftedRows<float>& b, int64_t rows,
                      int64_t channels, double* sums) {
  ChannelSumsImpl(a, b, rows, channels, sums);
}
void ChannelSumsDouble(const ShiftedRows<double>& a, const ShiftedRows<double>& b, int64_t rows,
                       int64_t channels, double* sums) {
  ChannelSumsImpl(a, b, rows, channels, sums);
}
void ChannelCombinationFloat(const ChannelTerm<float>* terms, int64_t count, const float* constant,
                             int64_t rows, int64_t channels, float* out) {
  ChannelCombinationImpl(terms, count, constant, rows, channels, out);
}
void ChannelCombinationDouble(const ChannelTerm<double>* terms, int64_t count,
                              const double* constant, int64_t rows, int64_t channels, double* out) {
  ChannelCombinationImpl(terms, count, constant, rows, channels, out);
}

}  // namespace sgdscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::kernels {

HWY_EXPORT(ChannelSumsFloat);
HWY_EXPORT(ChannelSumsDouble);
HWY_EXPORT(ChannelCombinationFloat);
HWY_EXPORT(ChannelCombinationDouble);

void ChannelSums(const ShiftedRows<float>& a, const ShiftedRows<float>& b, int64_t rows,
                 int64_t channels, double* sums) {
  HWY_DYNAMIC_DISPATCH(ChannelSumsFloat)(a, b, rows, channels, sums);
}
void ChannelSums(const ShiftedRows<double>& a, const ShiftedRows<double>& b, int64_t rows,
                 int64_t channels, double* sums) {
  HWY_DYNAMIC_DISPATCH(ChannelSumsDouble)(a, b, rows, channels, sums);
}
void ChannelCombination(const ChannelTerm<float>* terms, int64_t count, const float* constant,
                        int64_t rows, int64_t channels, float* out) {
  HWY_DYNAMIC_DISPATCH(ChannelCombinationFloat)(terms, count, constant, rows, channels, out);
}
void ChannelCombination(const ChannelTerm<double>* terms, int64_t count, const double* constant,
                        int64_t rows, int64_t channels, double* out) {
  HWY_DYNAMIC_DISPATCH(ChannelCombinationDouble)(terms, count, constant, rows, channels, out);
}

}  // namespace sgdscope::kernels
#endif  // HWY_ONCE
