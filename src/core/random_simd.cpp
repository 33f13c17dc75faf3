// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/random_simd.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numbers>

#include "core/random_simd.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<double>;
using DU = hn::RebindToUnsigned<D>;
using V = hn::Vec<D>;
using VU = hn::Vec<DU>;

constexpr uint32_t kRounds = 10;

// Of lanes of 64 bits the products of their low 32 bits.
HWY_INLINE VU MulLow(VU a, VU b) {
#if HWY_TARGET == HWY_SCALAR  // has no vectors of two words
  return hn::Set(DU(), uint64_t{static_cast<uint32_t>(hn::GetLane(a))} * hn::GetLane(b));
#else
  const hn::Repartition<uint32_t, DU> words;
  return hn::MulEven(hn::BitCast(words, a), hn::BitCast(words, b));
#endif
}

// 53 bits of two words as a number in [0, 1).
HWY_INLINE V UniformOf(VU low, VU high) {
  const DU du;
  const VU bits = hn::Or(hn::ShiftLeft<32>(high), hn::And(low, hn::Set(du, 0xFFFFFFFF)));
  const VU most = hn::ShiftRight<11>(bits);
  return hn::Mul(hn::ConvertTo(D(), hn::BitCast(hn::RebindToSigned<D>(), most)),
                 hn::Set(D(), 0x1p-53));
}

// A block in each lane: as Philox4x32 in rng.cpp. Each word is the low half of 64 bits, whose high
// half may hold anything.
void PhiloxUniformsImpl(std::array<uint32_t, 2> key, uint64_t index, uint64_t first, int64_t blocks,
                        double* numbers) {
  const DU du;
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN double rest[2 * HWY_MAX_BYTES / sizeof(double)];
  for (int64_t j = 0; j < blocks; j += lanes) {
    VU a = hn::Iota(du, first + static_cast<uint64_t>(j));
    VU b = hn::ShiftRight<32>(a);
    VU c = hn::Set(du, index);
    VU e = hn::Set(du, index >> 32);
    for (uint32_t round = 0; round < kRounds; ++round) {
      const VU product0 = MulLow(a, hn::Set(du, 0xD2511F53));
      const VU product1 = MulLow(c, hn::Set(du, 0xCD9E8D57));
      const VU key0 = hn::Set(du, key[0] + round * 0x9E3779B9);
      const VU key1 = hn::Set(du, key[1] + round * 0xBB67AE85);
      a = hn::Xor3(hn::ShiftRight<32>(product1), b, key0);
      b = product1;
      c = hn::Xor3(hn::ShiftRight<32>(product0), e, key1);
      e = product0;
    }
    const bool whole = j + lanes <= blocks;
    double* out = whole ? numbers + 2 * j : rest;
    hn::StoreInterleaved2(UniformOf(a, b), UniformOf(c, e), d, out);
    if (!whole) std::copy_n(rest, 2 * (blocks - j), numbers + 2 * j);
  }
}

// log x of x in [2^-53, 1]: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and log m = 2 artanh(s),
// s = (m - 1) / (m + 1), whose series is below rounding from s^23 / 23 on.
HWY_INLINE V LogOf(V x) {
  const D d;
  const DU du;
  constexpr double kLeast = std::numbers::sqrt2 / 2;
  constexpr double kLog2High = 0x1.62e42fefa38p-1;  // so short that its multiples are exact
  constexpr double kLog2Low = 0x1.ef35793c7673p-45;
  const VU least = hn::Set(du, std::bit_cast<uint64_t>(kLeast));
  const VU one = hn::Set(du, std::bit_cast<uint64_t>(1.0));
  const VU shifted = hn::Add(hn::BitCast(du, x), hn::Sub(one, least));
  const VU mantissa = hn::And(shifted, hn::Set(du, (uint64_t{1} << 52) - 1));
  const V m = hn::BitCast(d, hn::Add(mantissa, least));
  // 2^52 + i is i in its last bits.
  const VU exponent = hn::Or(hn::ShiftRight<52>(shifted), hn::BitCast(du, hn::Set(d, 0x1p52)));
  const V e = hn::Sub(hn::BitCast(d, exponent), hn::Set(d, 0x1p52 + 1023));
  const V s = hn::Div(hn::Sub(m, hn::Set(d, 1)), hn::Add(m, hn::Set(d, 1)));
  const V square = hn::Mul(s, s);
  V sum = hn::Set(d, 2.0 / 21);
  for (int k = 19; k >= 3; k -= 2) sum = hn::Add(hn::Mul(sum, square), hn::Set(d, 2.0 / k));
  const V beyond_first = hn::Mul(hn::Mul(sum, square), s);
  const V small = hn::Add(beyond_first, hn::Mul(e, hn::Set(d, kLog2Low)));
  return hn::Add(hn::Mul(e, hn::Set(d, kLog2High)), hn::Add(hn::Add(s, s), small));
}

// 1 / n!
constexpr double Inverse(int n) {
  double factorial = 1;
  for (int k = 2; k <= n; ++k) factorial *= k;
  return 1 / factorial;
}

// cos and sin of 2 pi v, v in [0, 1): of the angle x that is left of the nearest quarter turn, at
// most pi / 4, by Taylor's series, below rounding from x^18 / 18! on.
HWY_INLINE void CosSin(V v, V& cosine, V& sine) {
  const D d;
  const DU du;
  const V turns = hn::Mul(v, hn::Set(d, 4));
  const V shift = hn::Set(d, 0x1.8p52);  // rounds to whole numbers, which its last bits then are
  const V shifted = hn::Add(turns, shift);
  const V x = hn::Mul(hn::Sub(turns, hn::Sub(shifted, shift)), hn::Set(d, std::numbers::pi / 2));
  const V square = hn::Mul(x, x);
  V of_cosine = hn::Set(d, Inverse(16));
  V of_sine = hn::Set(d, -Inverse(15));
  for (int n = 14; n >= 4; n -= 2) {
    const double sign = n % 4 == 0 ? 1 : -1;
    of_cosine = hn::Add(hn::Mul(of_cosine, square), hn::Set(d, sign * Inverse(n)));
    of_sine = hn::Add(hn::Mul(of_sine, square), hn::Set(d, -sign * Inverse(n - 1)));
  }
  const V half = hn::Mul(square, hn::Set(d, 0.5));
  const V c = hn::Sub(hn::Set(d, 1), hn::Sub(half, hn::Mul(hn::Mul(of_cosine, square), square)));
  const V s = hn::Add(x, hn::Mul(hn::Mul(of_sine, square), x));
  const VU quarter = hn::BitCast(du, shifted);  // its last two bits count the quarter turns
  const VU one = hn::Set(du, 1);
  const VU two = hn::Set(du, 2);
  const auto swapped = hn::RebindMask(d, hn::Eq(hn::And(quarter, one), one));
  const VU sign_of_cosine = hn::ShiftLeft<62>(hn::And(hn::Add(quarter, one), two));
  const VU sign_of_sine = hn::ShiftLeft<62>(hn::And(quarter, two));
  cosine = hn::Xor(hn::IfThenElse(swapped, s, c), hn::BitCast(d, sign_of_cosine));
  sine = hn::Xor(hn::IfThenElse(swapped, c, s), hn::BitCast(d, sign_of_sine));
}

HWY_INLINE void BoxMullerVector(double* numbers) {
  const D d;
  V u, v, cosine, sine;
  hn::LoadInterleaved2(d, numbers, u, v);
  const V log = LogOf(hn::Sub(hn::Set(d, 1), u));  // 1 - u lies in (0, 1]
  const V radius = hn::Sqrt(hn::Mul(log, hn::Set(d, -2)));
  CosSin(v, cosine, sine);
  hn::StoreInterleaved2(hn::Mul(radius, cosine), hn::Mul(radius, sine), d, numbers);
}

void BoxMullerImpl(double* numbers, int64_t pairs) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t j = 0;
  for (; j + lanes <= pairs; j += lanes) BoxMullerVector(numbers + 2 * j);
  if (j == pairs) return;
  HWY_ALIGN double rest[2 * HWY_MAX_BYTES / sizeof(double)] = {};
  std::copy_n(numbers + 2 * j, 2 * (pairs - j), rest);
  BoxMullerVector(rest);
  std::copy_n(rest, 2 * (pairs - j), numbers + 2 * j);
}

}  // namespace sgdscope::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope {

HWY_EXPORT(PhiloxUniformsImpl);
HWY_EXPORT(BoxMullerImpl);

void PhiloxUniforms(std::array<uint32_t, 2> key, uint64_t index, uint64_t first, int64_t blocks,
                    double* numbers) {
  HWY_DYNAMIC_DISPATCH(PhiloxUniformsImpl)(key, index, first, blocks, numbers);
}

void BoxMuller(double* numbers, int64_t pairs) {
  HWY_DYNAMIC_DISPATCH(BoxMullerImpl)(numbers, pairs);
}

}  // namespace sgdscope
#endif  // HWY_ONCE
