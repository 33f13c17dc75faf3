// Sums over the examples of a batch that are robust against outliers, coordinate by coordinate: a
// coordinate a lane. The values of a linear layer, d[i, o] * h[i, j], are made in registers and
// never stored. Three things make this fast:
//   - Where h >= 0 (pixels, ReLU), the sign of a value is that of d: negative values only matter to
//     the lower tail, positive ones to the upper one, and what is zero needs no look at all.
//   - Pixels are zero together: examples whose pixels of a block are all zero are skipped.
//   - Few values beyond the thresholds are kept in sorted lists, in registers: what falls out of a
//     list is what is added up, so nothing large is subtracted again. Many are sorted by a network.

// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/reduce.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/recipe.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using V = hn::Vec<hn::ScalableTag<T>>;

// ---------------------------------------------------------------------------- lists in registers

/// Puts v in its place of an ascending list of the smallest values (kLow), or a descending one of
/// the largest; returns what falls out.
template <bool kLow, int K, class V>
HWY_INLINE V Push(V (&list)[K], V v) {
  HWY_UNROLL(16)
  for (int k = 0; k < K; ++k) {
    const V before = list[k];
    list[k] = kLow ? hn::Min(before, v) : hn::Max(before, v);
    v = kLow ? hn::Max(before, v) : hn::Min(before, v);
  }
  return v;
}

/// What the values of a list contribute, without scale.
template <class T, int K>
HWY_INLINE V<T> SumOf(const V<T> (&list)[K], const Tail<T>& tail, T weight) {
  const hn::ScalableTag<T> tag;
  V<T> kept = hn::Zero(tag);
  V<T> threshold = list[0];
  HWY_UNROLL(16)
  for (int k = 0; k < K; ++k) {
    if (k == tail.beyond) {
      threshold = list[k];
      if (k > 0 && tail.part != 0) {
        threshold = hn::MulAdd(hn::Set(tag, tail.part), hn::Sub(list[k > 0 ? k - 1 : 0], list[k]),
                               threshold);
      }
    }
    if (k >= tail.beyond) kept = hn::Add(kept, list[k]);
  }
  return hn::MulAdd(threshold, hn::Set(tag, weight * static_cast<T>(tail.beyond)), kept);
}

/// The whole sum of `count` values get(i) and `zeros` more that are 0; together at least 2 K.
template <class T, int K, class Get>
HWY_INLINE V<T> SumByLists(const Recipe<T>& recipe, int64_t count, int64_t zeros, const Get& get) {
  const hn::ScalableTag<T> tag;
  V<T> low[K];
  V<T> high[K];
  const int64_t zeros_low = std::min<int64_t>(zeros, K);
  const int64_t zeros_high = std::min<int64_t>(zeros - zeros_low, K);
  for (int k = 0; k < K; ++k) {
    low[k] = hn::Set(tag, k < zeros_low ? T(0) : std::numeric_limits<T>::infinity());
    high[k] = hn::Set(tag, k < zeros_high ? T(0) : -std::numeric_limits<T>::infinity());
  }
  // Until the lists are full, infinities fall out of them.
  int64_t i = 0;
  for (; i < K - zeros_low; ++i) Push<true>(low, get(i));
  for (; i < 2 * K - zeros_low - zeros_high; ++i) Push<false>(high, Push<true>(low, get(i)));
  V<T> rest = hn::Zero(tag);
  for (; i < count; ++i) rest = hn::Add(rest, Push<false>(high, Push<true>(low, get(i))));
  const V<T> tails = hn::Add(SumOf(low, recipe.low, recipe.weight),  //
                             SumOf(high, recipe.high, recipe.weight));
  return hn::Add(rest, tails);
}

// ------------------------------------------------------------------------------ sorting networks

/// Sorts n vectors of lanes, ascending, by Batcher's merge exchange (Knuth 5.2.2, algorithm M).
template <class T>
void SortLanes(T* values, int64_t n) {
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  if (n < 2) return;
  const auto top = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n)) / 2);
  for (int64_t p = top; p > 0; p /= 2) {
    int64_t remainder = 0;
    int64_t distance = p;
    for (int64_t q = top;; q /= 2) {
      for (int64_t i = 0; i + distance < n; ++i) {
        if ((i & p) != remainder) continue;
        T* a = values + i * lanes;
        T* b = values + (i + distance) * lanes;
        const V<T> first = hn::Load(tag, a);
        const V<T> second = hn::Load(tag, b);
        hn::Store(hn::Min(first, second), tag, a);
        hn::Store(hn::Max(first, second), tag, b);
      }
      if (q == p) break;
      distance = q - p;
      remainder = p;
    }
  }
}

template <class T>
HWY_INLINE V<T> Threshold(V<T> at, V<T> beyond, T part) {
  return hn::MulAdd(hn::Set(hn::ScalableTag<T>(), part), hn::Sub(beyond, at), at);
}

/// The whole sum of n values; sorts them.
template <class T>
V<T> SumBySorting(const Recipe<T>& recipe, int64_t n, T* values) {
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  SortLanes(values, n);
  const auto at = [&](int64_t i) { return hn::Load(tag, values + i * lanes); };
  const int64_t first = recipe.low.beyond;
  const int64_t last = n - 1 - recipe.high.beyond;
  V<T> low = at(first);
  V<T> high = at(last);
  if (recipe.low.part != 0) low = Threshold<T>(low, at(first - 1), recipe.low.part);
  if (recipe.high.part != 0) high = Threshold<T>(high, at(last + 1), recipe.high.part);
  V<T> sum = hn::Zero(tag);
  for (int64_t i = first; i <= last; ++i) sum = hn::Add(sum, at(i));
  sum = hn::MulAdd(low, hn::Set(tag, recipe.weight * static_cast<T>(recipe.low.beyond)), sum);
  return hn::MulAdd(high, hn::Set(tag, recipe.weight * static_cast<T>(recipe.high.beyond)), sum);
}

/// The whole sum of `count` values get(i) and `zeros` more that are 0. `buffer`: [n, lanes].
template <class T, class Get>
V<T> Sum(const Recipe<T>& recipe, int64_t count, int64_t zeros, const Get& get, T* buffer) {
  const int64_t length = ListFor(recipe.longest());
  if (2 * length <= count + zeros) {
    if (length == 2) return SumByLists<T, 2>(recipe, count, zeros, get);
    if (length == 3) return SumByLists<T, 3>(recipe, count, zeros, get);
    if (length == 5) return SumByLists<T, 5>(recipe, count, zeros, get);
    if (length == 9) return SumByLists<T, 9>(recipe, count, zeros, get);
  }
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  for (int64_t i = 0; i < count; ++i) hn::Store(get(i), tag, buffer + i * lanes);
  for (int64_t i = count; i < count + zeros; ++i) hn::Store(hn::Zero(tag), tag, buffer + i * lanes);
  return SumBySorting(recipe, count + zeros, buffer);
}

// -------------------------------------------------------------------------------------- columns

template <class T>
void ReduceLastColumns(const T* values, int64_t n, int64_t m, int64_t stride, const Reduction& how,
                       T* out);

template <class T>
void ReduceColumnsImpl(const T* values, int64_t n, int64_t m, int64_t stride, const Reduction& how,
                       T* out) {
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  const Recipe<T> recipe(how, n);
  const auto buffer = hwy::AllocateAligned<T>(n * lanes);
  for (int64_t j = 0; j < m; j += lanes) {
    if (m - j < lanes) return ReduceLastColumns(values + j, n, m - j, stride, how, out + j);
    const auto get = [&](int64_t i) HWY_ATTR { return hn::LoadU(tag, values + i * stride + j); };
    V<T> finite = hn::Zero(tag);  // NaN once a value is not finite
    V<T> signs = hn::Zero(tag);
    const V<T> one = hn::Set(tag, T(1));
    for (int64_t i = 0; i < n; ++i) {
      const V<T> v = get(i);
      finite = hn::MulAdd(v, hn::Zero(tag), finite);
      signs = hn::Add(signs, hn::IfThenElseZero(hn::Ne(v, hn::Zero(tag)), hn::CopySign(one, v)));
    }
    const V<T> sum =
        how.kind == Reduction::Kind::kSigns
            ? signs
            : hn::Mul(Sum(recipe, n, 0, get, buffer.get()), hn::Set(tag, recipe.scale));
    hn::StoreU(hn::Add(sum, finite), tag, out + j);
  }
}

/// Fewer columns than lanes, filled up with zeros: nothing beyond them may be touched.
template <class T>
void ReduceLastColumns(const T* values, int64_t n, int64_t m, int64_t stride, const Reduction& how,
                       T* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
  std::vector<T> filled((n + 1) * lanes);
  for (int64_t i = 0; i < n; ++i) std::copy_n(values + i * stride, m, filled.data() + i * lanes);
  T* sums = filled.data() + n * lanes;
  ReduceColumnsImpl(filled.data(), n, lanes, lanes, how, sums);
  std::copy_n(sums, m, out);
}

// ------------------------------------------------------------------------------- outer products

/// Sets of examples, as bits.
using Word = uint64_t;
constexpr int64_t kWordBits = 64;

/// Calls use(i) for each example of both sets.
template <class Use>
HWY_INLINE void ForEachOfBoth(const Word* a, const Word* b, int64_t words, const Use& use) {
  for (int64_t w = 0; w < words; ++w) {
    for (Word bits = a[w] & b[w]; bits != 0; bits &= bits - 1) {
      use(w * kWordBits + std::countr_zero(bits));
    }
  }
}

int64_t CountBoth(const Word* a, const Word* b, int64_t words) {
  int64_t count = 0;
  for (int64_t w = 0; w < words; ++w) count += std::popcount(a[w] & b[w]);
  return count;
}

/// What is known of numbers that were looked at.
template <class T>
class Range {
 public:
  Range()
      : least_(hn::Set(hn::ScalableTag<T>(), std::numeric_limits<T>::infinity())),
        largest_(hn::Zero(hn::ScalableTag<T>())),
        finite_(hn::Zero(hn::ScalableTag<T>())) {}
  HWY_INLINE void Add(V<T> v) {
    const hn::ScalableTag<T> tag;
    least_ = hn::Min(least_, v);
    largest_ = hn::Max(largest_, hn::Abs(v));
    finite_ = hn::MulAdd(v, hn::Zero(tag), finite_);  // NaN once a number is not finite
  }
  bool finite() const { return hn::GetLane(hn::SumOfLanes(hn::ScalableTag<T>(), finite_)) == 0; }
  T least() const { return hn::GetLane(hn::MinOfLanes(hn::ScalableTag<T>(), least_)); }
  T largest() const {  // magnitude
    return hn::GetLane(hn::MaxOfLanes(hn::ScalableTag<T>(), largest_));
  }

 private:
  V<T> least_;
  V<T> largest_;
  V<T> finite_;
};

/// The sets of examples at which the derivatives by the layer's outputs are negative or positive.
template <class T>
struct Signs {
  int64_t words;
  std::vector<Word> negative;  // [units, words]
  std::vector<Word> positive;  // [units, words]
  T largest = 0;               // magnitude
  bool finite = true;

  explicit Signs(const OuterProducts<T>& values)
      : words((values.n + kWordBits - 1) / kWordBits),
        negative(values.units * words),
        positive(values.units * words) {
    for (int64_t o = 0; o < values.units; ++o) {
      const T* d = values.d + o * values.n;
      for (int64_t i = 0; i < values.n; ++i) {
        negative[o * words + i / kWordBits] |= Word{d[i] < 0} << (i % kWordBits);
        positive[o * words + i / kWordBits] |= Word{d[i] > 0} << (i % kWordBits);
      }
    }
    const hn::ScalableTag<T> tag;
    const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
    const int64_t count = values.units * values.n;
    Range<T> range;
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) range.Add(hn::LoadU(tag, values.d + i));
    for (; i < count; ++i) range.Add(hn::Set(tag, values.d[i]));
    largest = range.largest();
    finite = range.finite();
  }
};

/// Vectors of inputs that are looked at together, for the sake of instruction-level parallelism.
constexpr int64_t kTogether = 2;

/// Inputs of some columns, packed, and the set of examples at which not all are 0.
template <class T>
struct Block {
  hwy::AlignedFreeUniquePtr<T[]> h;  // [n, kTogether * lanes], 0 beyond the last column
  std::vector<Word> nonzero;         // [words]
  T least;
  T largest;  // magnitude
  bool finite;

  Block(int64_t n, int64_t words)
      : h(hwy::AllocateAligned<T>(n * kTogether * hn::Lanes(hn::ScalableTag<T>()))),
        nonzero(words) {}

  void Load(const OuterProducts<T>& values, int64_t begin, int64_t count) {
    const hn::ScalableTag<T> tag;
    const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
    std::ranges::fill(nonzero, 0);
    Range<T> range;
    for (int64_t i = 0; i < values.n; ++i) {
      T* row = h.get() + i * kTogether * lanes;
      std::copy_n(values.h + i * values.inputs + begin, count, row);
      std::fill(row + count, row + kTogether * lanes, T(0));
      const V<T> first = hn::Load(tag, row);
      const V<T> second = hn::Load(tag, row + lanes);
      range.Add(first);
      range.Add(second);
      const bool any = !hn::AllTrue(tag, hn::Eq(hn::Or(first, second), hn::Zero(tag)));
      nonzero[i / kWordBits] |= Word{any} << (i % kWordBits);
    }
    least = range.least();
    largest = range.largest();
    finite = range.finite();
  }
};

/// A tail (kLow: the lower one) of values all of whose members lie on that side of 0, in lists: the
/// sum of all values on that side, with those beyond the threshold moved to it.
template <class T, bool kLow, int K>
HWY_NOINLINE void SideByLists(const T* d, const Block<T>& block, const Word* side, int64_t words,
                              const Tail<T>& tail, T weight, V<T>* sums) {
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  V<T> list0[K];
  V<T> list1[K];
  HWY_UNROLL(16)
  for (int k = 0; k < K; ++k) list0[k] = list1[k] = hn::Zero(tag);
  V<T> rest0 = hn::Zero(tag);
  V<T> rest1 = hn::Zero(tag);
  ForEachOfBoth(side, block.nonzero.data(), words, [&](int64_t i) HWY_ATTR {
    const V<T> factor = hn::Set(tag, d[i]);
    const T* h = block.h.get() + i * kTogether * lanes;
    rest0 = hn::Add(rest0, Push<kLow>(list0, hn::Mul(factor, hn::Load(tag, h))));
    rest1 = hn::Add(rest1, Push<kLow>(list1, hn::Mul(factor, hn::Load(tag, h + lanes))));
  });
  sums[0] = hn::Add(sums[0], hn::Add(rest0, SumOf(list0, tail, weight)));
  sums[1] = hn::Add(sums[1], hn::Add(rest1, SumOf(list1, tail, weight)));
}

/// One tail, wherever its members lie, summed by sorting all values. `buffer`: [n, lanes].
template <class T, bool kLow>
HWY_NOINLINE void SideBySorting(const T* d, const Block<T>& block, const Word* side, int64_t words,
                                const Tail<T>& tail, T weight, T* buffer, V<T>* sums) {
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  for (int64_t part = 0; part < kTogether; ++part) {
    int64_t count = 0;
    ForEachOfBoth(side, block.nonzero.data(), words, [&](int64_t i) HWY_ATTR {
      const T* h = block.h.get() + (i * kTogether + part) * lanes;
      hn::Store(hn::Mul(hn::Set(tag, d[i]), hn::Load(tag, h)), tag, buffer + count++ * lanes);
    });
    SortLanes(buffer, count);
    const auto at = [&](int64_t i) HWY_ATTR {
      return hn::Load(tag, buffer + (kLow ? i : count - 1 - i) * lanes);
    };
    // The caller has seen to it that what comes after the values of this side is 0.
    V<T> threshold = tail.beyond < count ? at(tail.beyond) : hn::Zero(tag);
    if (tail.part != 0 && tail.beyond <= count) {
      threshold = Threshold<T>(threshold, at(tail.beyond - 1), tail.part);
    }
    for (int64_t i = tail.beyond; i < count; ++i) sums[part] = hn::Add(sums[part], at(i));
    const T times = weight * static_cast<T>(tail.beyond);
    sums[part] = hn::MulAdd(threshold, hn::Set(tag, times), sums[part]);
  }
}

template <class T, bool kLow>
HWY_INLINE void Side(const T* d, const Block<T>& block, const Word* side, int64_t words,
                     int64_t count, const Tail<T>& tail, T weight, T* buffer, V<T>* sums) {
  // All values of this side lie beyond a threshold of 0.
  if (tail.beyond >= count + (tail.part != 0)) return;
  const int64_t length = ListFor(tail.beyond);
  if (length == 2) return SideByLists<T, kLow, 2>(d, block, side, words, tail, weight, sums);
  if (length == 3) return SideByLists<T, kLow, 3>(d, block, side, words, tail, weight, sums);
  if (length == 5) return SideByLists<T, kLow, 5>(d, block, side, words, tail, weight, sums);
  if (length == 9) return SideByLists<T, kLow, 9>(d, block, side, words, tail, weight, sums);
  SideBySorting<T, kLow>(d, block, side, words, tail, weight, buffer, sums);
}

template <class T>
void ReduceOuterImpl(const OuterProducts<T>& values, const Reduction& how, int64_t begin,
                     int64_t end, T* out) {
  const hn::ScalableTag<T> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  const int64_t width = kTogether * lanes;
  const int64_t n = values.n;
  const Recipe<T> recipe(how, n);
  const Signs<T> signs(values);
  const int64_t words = signs.words;
  Block<T> block(n, words);
  const auto buffer = hwy::AllocateAligned<T>(n * lanes);
  const auto row = hwy::AllocateAligned<T>(width);
  std::vector<int64_t> nonzero(n);
  for (int64_t j = begin; j < end; j += width) {
    const int64_t columns = std::min(width, end - j);
    block.Load(values, j, columns);
    const bool finite = signs.finite && block.finite;
    const bool overflows = !std::isfinite(signs.largest * block.largest);
    for (int64_t o = 0; o < values.units; ++o) {
      T* to = out + o * values.inputs + j;
      if (!finite) {
        std::fill(to, to + columns, std::numeric_limits<T>::quiet_NaN());
        continue;
      }
      const T* d = values.d + o * n;
      const Word* negative = signs.negative.data() + o * words;
      const Word* positive = signs.positive.data() + o * words;
      const int64_t below = CountBoth(negative, block.nonzero.data(), words);
      const int64_t above = CountBoth(positive, block.nonzero.data(), words);
      const int64_t zeros = n - below - above;
      V<T> sums[kTogether] = {hn::Zero(tag), hn::Zero(tag)};
      if (overflows) {
        std::vector<T> products(n);
        for (int64_t k = 0; k < columns; ++k) {
          for (int64_t i = 0; i < n; ++i) products[i] = d[i] * block.h[i * width + k];
          ReduceColumnsImpl(products.data(), n, 1, 1, how, to + k);
        }
        continue;
      }
      if (block.least >= 0 && recipe.low.beyond < below + zeros &&
          recipe.high.beyond < above + zeros) {
        Side<T, true>(d, block, negative, words, below, recipe.low, recipe.weight, buffer.get(),
                      sums);
        Side<T, false>(d, block, positive, words, above, recipe.high, recipe.weight, buffer.get(),
                       sums);
      } else {
        int64_t count = 0;
        for (const Word* side : {negative, positive}) {
          ForEachOfBoth(side, block.nonzero.data(), words,
                        [&](int64_t i) { nonzero[count++] = i; });
        }
        for (int64_t part = 0; part < kTogether; ++part) {
          const auto get = [&](int64_t i) HWY_ATTR {
            const T* h = block.h.get() + (nonzero[i] * kTogether + part) * lanes;
            return hn::Mul(hn::Set(tag, d[nonzero[i]]), hn::Load(tag, h));
          };
          sums[part] = Sum(recipe, count, zeros, get, buffer.get());
        }
      }
      for (int64_t part = 0; part < kTogether; ++part) {
        hn::Store(hn::Mul(sums[part], hn::Set(tag, recipe.scale)), tag, row.get() + part * lanes);
      }
      std::copy_n(row.get(), columns, to);
    }
  }
}

// HWY_EXPORT takes no templates.
void ReduceColumnsFloat(const float* values, int64_t n, int64_t m, int64_t stride,
                        const Reduction& how, float* out) {
  ReduceColumnsImpl(values, n, m, stride, how, out);
}
void ReduceColumnsDouble(const double* values, int64_t n, int64_t m, int64_t stride,
                         const Reduction& how, double* out) {
  ReduceColumnsImpl(values, n, m, stride, how, out);
}
void ReduceOuterFloat(const OuterProducts<float>& values, const Reduction& how, int64_t begin,
                      int64_t end, float* out) {
  ReduceOuterImpl(values, how, begin, end, out);
}
void ReduceOuterDouble(const OuterProducts<double>& values, const Reduction& how, int64_t begin,
                       int64_t end, double* out) {
  ReduceOuterImpl(values, how, begin, end, out);
}

}  // namespace sgdscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::kernels {

HWY_EXPORT(ReduceColumnsFloat);
HWY_EXPORT(ReduceColumnsDouble);
HWY_EXPORT(ReduceOuterFloat);
HWY_EXPORT(ReduceOuterDouble);

void ReduceColumns(const float* values, int64_t n, int64_t m, int64_t stride, const Reduction& how,
                   float* out) {
  HWY_DYNAMIC_DISPATCH(ReduceColumnsFloat)(values, n, m, stride, how, out);
}
void ReduceColumns(const double* values, int64_t n, int64_t m, int64_t stride, const Reduction& how,
                   double* out) {
  HWY_DYNAMIC_DISPATCH(ReduceColumnsDouble)(values, n, m, stride, how, out);
}
void ReduceOuter(const OuterProducts<float>& values, const Reduction& how, int64_t begin,
                 int64_t end, float* out) {
  HWY_DYNAMIC_DISPATCH(ReduceOuterFloat)(values, how, begin, end, out);
}
void ReduceOuter(const OuterProducts<double>& values, const Reduction& how, int64_t begin,
                 int64_t end, double* out) {
  HWY_DYNAMIC_DISPATCH(ReduceOuterDouble)(values, how, begin, end, out);
}

}  // namespace sgdscope::kernels
#endif  // HWY_ONCE
