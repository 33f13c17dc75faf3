// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// x / scale by one of two ways: multiplication by the reciprocal with one correction by fused
// multiply-add (Markstein, 1990) takes 7 us for a batch of 100 MNIST images in the cache where
// division takes 16. It gives the correctly rounded quotient except for extreme scales or without
// fused multiply-add.
struct Divide {
  HWY_INLINE V operator()(V x) const { return hn::Div(x, scale); }
  V scale;
};
struct MultiplyAndCorrect {
  HWY_INLINE V operator()(V x) const {
    const V quotient = hn::Mul(x, reciprocal);
    const V remainder = hn::NegMulAdd(quotient, scale, x);
    return hn::MulAdd(remainder, reciprocal, quotient);
  }
  V scale;
  V reciprocal;
};

// Whether both ways give the same bits for each of the 256 values that a byte can have.
bool AreEqual(const Divide& divide, const MultiplyAndCorrect& fast, V shift) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  for (size_t value = 0; value < 256; value += hn::Lanes(d)) {
    const V x = hn::Sub(hn::Iota(d, static_cast<float>(value)), shift);
    if (!hn::AllTrue(du, hn::Eq(hn::BitCast(du, divide(x)), hn::BitCast(du, fast(x)))))
      return false;
  }
  return true;
}

template <class Quotient>
HWY_INLINE void NormalizeVector(const uint8_t* in, V shift, const Quotient& quotient, float* out) {
  const D d;
  const hn::Rebind<uint8_t, D> d8;
  const hn::Rebind<int32_t, D> d32;
  const V x = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, in)));
  hn::StoreU(quotient(hn::Sub(x, shift)), d, out);
}

constexpr int64_t kCacheLine = 64;

inline void Prefetch(const uint8_t* bytes, int64_t count) {
  for (int64_t j = 0; j < count; j += kCacheLine) hwy::Prefetch(bytes + j);
}

// One channel (its `pixels` values, `stride` values apart) of n examples.
template <class Quotient>
void NormalizeChannel(const uint8_t* in, const int64_t* index, int64_t n, int64_t stride,
                      int64_t pixels, float shift, float scale, const Quotient& quotient,
                      float* out) {
  const D d;
  const V shift_vector = hn::Set(d, shift);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < n; ++i) {
    // Examples lie anywhere in memory: without this the same batch takes 15 us instead of 10.
    if (i + 2 < n) Prefetch(in + index[i + 2] * stride, pixels);
    const uint8_t* from = in + index[i] * stride;
    float* to = out + i * stride;
    int64_t j = 0;
    for (; j + lanes <= pixels; j += lanes) {
      NormalizeVector(from + j, shift_vector, quotient, to + j);
    }
    for (; j < pixels; ++j) to[j] = (static_cast<float>(from[j]) - shift) / scale;
  }
}

void GatherNormalizeImpl(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                         int64_t pixels, const float* shift, const float* scale, float* out) {
  const D d;
  const int64_t stride = channels * pixels;
  for (int64_t c = 0; c < channels; ++c, in += pixels, out += pixels) {
    const Divide divide{hn::Set(d, scale[c])};
    const MultiplyAndCorrect fast{divide.scale, hn::Set(d, 1 / scale[c])};
    if (AreEqual(divide, fast, hn::Set(d, shift[c]))) {
      NormalizeChannel(in, index, n, stride, pixels, shift[c], scale[c], fast, out);
    } else {
      NormalizeChannel(in, index, n, stride, pixels, shift[c], scale[c], divide, out);
    }
  }
}

using D64 = hn::ScalableTag<double>;
using V64 = hn::Vec<D64>;
using Places = hn::Vec<hn::RebindToSigned<D64>>;

// One move's examples with a shift other than 0, side by side.
struct Shifted {
  explicit Shifted(int64_t n) : shift(n + hn::Lanes(D64())), place(n + hn::Lanes(D64())) {}

  // Fills up to whole vectors with shifts of 0 of example 0, which change nothing.
  void Collect(const double* shifts, int64_t n) {
    count = 0;
    largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      shift[count] = shifts[i];
      place[count] = i;
      count += shifts[i] != 0 ? 1 : 0;
      largest = std::max(largest, std::abs(shifts[i]));
    }
    std::fill_n(shift.begin() + count, hn::Lanes(D64()), 0.0);
    std::fill_n(place.begin() + count, hn::Lanes(D64()), int64_t{0});
  }

  std::vector<double> shift;
  std::vector<int64_t> place;  // which example
  int64_t count = 0;
  double largest = 0;
};

// L(z_i + s d) - L(z_i) of the examples `place`, which move no two logits apart by 1 or more.
HWY_INLINE V64 Changes(const LogitMoves& moves, V64 s, Places place, const double* direction) {
  const D64 d;
  const Places label = hn::GatherIndex(hn::RebindToSigned<D64>(), moves.labels, place);
  const V64 of_label = hn::GatherIndex(d, direction, label);
  V64 sum = hn::Zero(d);
  for (int64_t c = 0; c < moves.classes; ++c) {
    const V64 u = hn::Mul(s, hn::Sub(hn::Set(d, direction[c]), of_label));
    sum = hn::MulAdd(hn::GatherIndex(d, moves.q + c * moves.n, place), hn::Expm1(d, u), sum);
  }
  return hn::Log1p(d, sum);
}

void CrossEntropyChangesImpl(const LogitMoves& moves, double* changes) {
  const D64 d;
  const hn::RebindToSigned<D64> di;
  Shifted shifted(moves.n);
  for (int64_t v = 0; v < moves.m; ++v) {
    const double* direction = moves.direction + v * moves.classes;
    shifted.Collect(moves.shift + v * moves.n, moves.n);
    const auto [least, most] = std::minmax_element(direction, direction + moves.classes);
    // Far moves bring the sum near -1, where log1p loses digits, overflow, or move a logit whose q
    // is 0 to where it matters; and what is not finite.
    if (!(shifted.largest * (*most - *least) < 1)) {
      LogitMoves one = moves;
      one.m = 1;
      one.shift = moves.shift + v * moves.n;
      one.direction = direction;
      FarCrossEntropyChanges(one, changes + v);
      continue;
    }
    V64 sum = hn::Zero(d);
    for (int64_t k = 0; k < shifted.count; k += static_cast<int64_t>(hn::Lanes(d))) {
      sum = hn::Add(sum, Changes(moves, hn::LoadU(d, shifted.shift.data() + k),
                                 hn::LoadU(di, shifted.place.data() + k), direction));
    }
    changes[v] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

void RowDotsImpl(const float* a, const float* b, int64_t n, int64_t m, double* out) {
  const hn::ScalableTag<double> tag;
  const hn::Rebind<float, decltype(tag)> narrow;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  const auto load = [&](const float* from) { return hn::PromoteTo(tag, hn::LoadU(narrow, from)); };
  for (int64_t i = 0; i < n; ++i, a += m, b += m) {
    auto even = hn::Zero(tag);  // two sums, so that one addition needn't wait for the other
    auto odd = hn::Zero(tag);
    int64_t j = 0;
    for (; j + 2 * lanes <= m; j += 2 * lanes) {
      even = hn::MulAdd(load(a + j), load(b + j), even);
      odd = hn::MulAdd(load(a + j + lanes), load(b + j + lanes), odd);
    }
    double sum = hn::GetLane(hn::SumOfLanes(tag, hn::Add(even, odd)));
    for (; j < m; ++j) sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    out[i] = sum;
  }
}

const char* InstructionSetImpl() { return hwy::TargetName(HWY_TARGET); }

}  // namespace sgdscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::kernels {

HWY_EXPORT(CrossEntropyChangesImpl);
HWY_EXPORT(GatherNormalizeImpl);
HWY_EXPORT(RowDotsImpl);
HWY_EXPORT(InstructionSetImpl);

void CrossEntropyChanges(const LogitMoves& moves, double* changes) {
  HWY_DYNAMIC_DISPATCH(CrossEntropyChangesImpl)(moves, changes);
}

void GatherNormalize(const uint8_t* in, const int64_t* index, int64_t n, int64_t channels,
                     int64_t pixels, const float* shift, const float* scale, float* out) {
  HWY_DYNAMIC_DISPATCH(GatherNormalizeImpl)
  (in, index, n, channels, pixels, shift, scale, out);
}

void RowDots(const float* a, const float* b, int64_t n, int64_t m, double* out) {
  HWY_DYNAMIC_DISPATCH(RowDotsImpl)(a, b, n, m, out);
}

std::string InstructionSet() { return HWY_DYNAMIC_DISPATCH(InstructionSetImpl)(); }

}  // namespace sgdscope::kernels
#endif  // HWY_ONCE
