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

/// a - shift_a of a vector of channels.
template <class T>
HWY_INLINE V64 Factor(const ShiftedRows<T>& a, int64_t at, V64 shift) {
  return hn::Sub(LoadWide(a.values + at), shift);
}
template <class T>
HWY_INLINE V64 Factor(const MaskedRows<T>& a, int64_t at, V64) {
  const hn::Rebind<T, D64> tag;
  const auto masked = hn::Le(hn::LoadU(tag, a.positive + at), hn::Zero(tag));
  hn::StoreU(hn::IfThenZeroElse(masked, hn::LoadU(tag, a.d + at)), tag, a.out + at);
  return LoadWide(a.out + at);
}
/// The same of one channel.
template <class T>
double Factor(const ShiftedRows<T>& a, int64_t at, double shift) {
  return static_cast<double>(a.values[at]) - shift;
}
template <class T>
double Factor(const MaskedRows<T>& a, int64_t at, double) {
  a.out[at] = a.positive[at] <= 0 ? T{0} : a.d[at];
  return static_cast<double>(a.out[at]);
}

template <class T>
HWY_INLINE const double* ShiftOf(const ShiftedRows<T>& a) {
  return a.shift;
}
template <class T>
HWY_INLINE const double* ShiftOf(const MaskedRows<T>&) {
  return nullptr;
}

/// The sums of kVectors vectors of channels from c on, kept in registers.
template <int kVectors, class A, class T>
HWY_INLINE void SumSome(const A& a, const ShiftedRows<T>& b, int64_t rows, int64_t channels,
                        int64_t c, double* sums) {
  const D64 tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  V64 shift_a[kVectors], shift_b[kVectors], first[kVectors], second[kVectors];
  HWY_UNROLL(4)
  for (int k = 0; k < kVectors; ++k) {
    const double* const shift = ShiftOf(a);
    shift_a[k] = shift == nullptr ? hn::Zero(tag) : hn::LoadU(tag, shift + c + k * lanes);
    shift_b[k] = hn::LoadU(tag, b.shift + c + k * lanes);
    first[k] = second[k] = hn::Zero(tag);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * channels + c;
    HWY_UNROLL(4)
    for (int k = 0; k < kVectors; ++k) {
      const V64 x = Factor(a, at + k * lanes, shift_a[k]);
      const V64 y = Factor(b, at + k * lanes, shift_b[k]);
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

template <class A, class T>
void ChannelSumsImpl(const A& a, const ShiftedRows<T>& b, int64_t rows, int64_t channels,
                     double* sums) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D64()));
  int64_t c = 0;
  for (; c + 4 * lanes <= channels; c += 4 * lanes) SumSome<4>(a, b, rows, channels, c, sums);
  for (; c + lanes <= channels; c += lanes) SumSome<1>(a, b, rows, channels, c, sums);
  for (; c < channels; ++c) {
    double first = 0, second = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const double x = Factor(a, r * channels + c, ShiftOf(a) == nullptr ? 0 : ShiftOf(a)[c]);
      const double y = Factor(b, r * channels + c, b.shift[c]);
      first += x;
      second += x * y;
    }
    sums[c] = first;
    sums[channels + c] = second;
  }
}

/// Channels [c, channels) of a row, which begins at `row`; the last ones in shorter vectors.
template <int kTerms, bool kPositive, class D, class T>
HWY_INLINE void CombineRow(D tag, const ChannelTerm<T>* terms, const T* constant, int64_t row,
                           int64_t c, int64_t channels, T* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  const auto zero = hn::Zero(tag);
  for (; c + lanes <= channels; c += lanes) {
    auto sum = hn::LoadU(tag, constant + c);
    HWY_UNROLL(3)
    for (int k = 0; k < kTerms; ++k) {
      const auto x =
          hn::Sub(hn::LoadU(tag, terms[k].values + row + c), hn::LoadU(tag, terms[k].shift + c));
      sum = hn::MulAdd(x, hn::LoadU(tag, terms[k].weight + c), sum);
    }
    if constexpr (kPositive) sum = hn::IfThenElse(hn::Lt(sum, zero), zero, sum);
    hn::StoreU(sum, tag, out + row + c);
  }
  if constexpr (hn::MaxLanes(D()) > 1) {
    if (c == channels) return;
    CombineRow<kTerms, kPositive>(hn::Half<D>(), terms, constant, row, c, channels, out);
  }
}

template <int kTerms, bool kPositive, class T>
void CombineTerms(const ChannelTerm<T>* terms, const T* constant, int64_t rows, int64_t channels,
                  T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    CombineRow<kTerms, kPositive>(hn::ScalableTag<T>(), terms, constant, r * channels, 0, channels,
                                  out);
  }
}

template <bool kPositive, class T>
void CombineSome(const ChannelTerm<T>* terms, int64_t count, const T* constant, int64_t rows,
                 int64_t channels, T* out) {
  if (count == 1) return CombineTerms<1, kPositive>(terms, constant, rows, channels, out);
  if (count == 2) return CombineTerms<2, kPositive>(terms, constant, rows, channels, out);
  CombineTerms<3, kPositive>(terms, constant, rows, channels, out);
}

template <class T>
void ChannelCombinationImpl(const ChannelTerm<T>* terms, int64_t count, const T* constant,
                            bool positive, int64_t rows, int64_t channels, T* out) {
  if (positive) return CombineSome<true>(terms, count, constant, rows, channels, out);
  CombineSome<false>(terms, count, constant, rows, channels, out);
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
                             bool positive, int64_t rows, int64_t channels, float* out) {
  ChannelCombinationImpl(terms, count, constant, positive, rows, channels, out);
}
void MaskedChannelSumsFloat(const MaskedRows<float>& a, const ShiftedRows<float>& b, int64_t rows,
                            int64_t channels, double* sums) {
  ChannelSumsImpl(a, b, rows, channels, sums);
}
void ChannelCombinationDouble(const ChannelTerm<double>* terms, int64_t count,
                              const double* constant, bool positive, int64_t rows, int64_t channels,
                              double* out) {
  ChannelCombinationImpl(terms, count, constant, positive, rows, channels, out);
}
void MaskedChannelSumsDouble(const MaskedRows<double>& a, const ShiftedRows<double>& b,
                             int64_t rows, int64_t channels, double* sums) {
  ChannelSumsImpl(a, b, rows, channels, sums);
}

}  // namespace sgdscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::kernels {

HWY_EXPORT(ChannelSumsFloat);
HWY_EXPORT(ChannelSumsDouble);
HWY_EXPORT(MaskedChannelSumsFloat);
HWY_EXPORT(MaskedChannelSumsDouble);
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
                        bool positive, int64_t rows, int64_t channels, float* out) {
  HWY_DYNAMIC_DISPATCH(ChannelCombinationFloat)
  (terms, count, constant, positive, rows, channels, out);
}
void MaskedChannelSums(const MaskedRows<float>& a, const ShiftedRows<float>& b, int64_t rows,
                       int64_t channels, double* sums) {
  HWY_DYNAMIC_DISPATCH(MaskedChannelSumsFloat)(a, b, rows, channels, sums);
}
void ChannelCombination(const ChannelTerm<double>* terms, int64_t count, const double* constant,
                        bool positive, int64_t rows, int64_t channels, double* out) {
  HWY_DYNAMIC_DISPATCH(ChannelCombinationDouble)
  (terms, count, constant, positive, rows, channels, out);
}
void MaskedChannelSums(const MaskedRows<double>& a, const ShiftedRows<double>& b, int64_t rows,
                       int64_t channels, double* sums) {
  HWY_DYNAMIC_DISPATCH(MaskedChannelSumsDouble)(a, b, rows, channels, sums);
}

}  // namespace sgdscope::kernels
#endif  // HWY_ONCE
