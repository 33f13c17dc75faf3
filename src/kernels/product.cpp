// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
//
// A tile of c, up to 12 rows of two vectors, stays in registers while l runs over all of k. Its b,
// two vectors wide, is read again for each tile of rows: from the cache, where the second of three
// levels holds it whole. Rows of b that don't lie together are transposed into a panel first. While
// a tile is at work it fetches some of the next panel, a line for each term: where the weights of
// all layers are more than the cache holds, this made the products 1.2 times as fast. What the tile is
// going to be put to is fetched row by row, for all rows at once would be more than a core can wait for.
// Where c has many rows of few terms each, as a weight's gradient, its tiles follow one another by rows:
// with weights of 4096 x 4096 and a batch of 16 this takes 0.6 of the time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/aligned_allocator.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/product.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#undef SGDSCOPE_WIDE
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
#define SGDSCOPE_WIDE 1  // 32 registers of 512 bits
#else
#define SGDSCOPE_WIDE 0
#endif
constexpr bool kWide = SGDSCOPE_WIDE;

// With two vectors each, and those of b and a, as many as there are registers for.
constexpr int kMostRows = kWide || HWY_ARCH_ARM ? 12 : 6;

// Whether numbers that a mask leaves out are neither read nor written: elsewhere Highway reads whole
// vectors, and writes back what it has read.
constexpr bool kMasks = HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2;

template <class T>
using Tag = hn::ScalableTag<T>;

// Where half a register costs half of one.
#if SGDSCOPE_WIDE
template <class T>
using HalfTag = hn::Half<Tag<T>>;
#else
template <class T>
using HalfTag = Tag<T>;
#endif

/// Puts a tile of sums [rows, 2 vectors], of which only `count` columns exist, to its place (i, j) in c.
template <class T>
HWY_NOINLINE void PutTile(const Product<T>& p, const T* sums, int64_t rows, int64_t i, int64_t j,
                          int64_t count) {
  const Tag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto zero = hn::Zero(d);
  HWY_ALIGN T part[HWY_MAX_BYTES / sizeof(T)] = {};
  for (int64_t v = 0; v * lanes < count; ++v) {
    const int64_t there = std::min(count - v * lanes, lanes);
    const auto load = [&](const T* from) {
      std::copy_n(from, there, part);
      return hn::Load(d, part);
    };
    const auto store = [&](auto values, T* to) {
      hn::Store(values, d, part);
      std::copy_n(part, there, to);
    };
    for (int64_t r = 0; r < rows; ++r) {
      auto sum = hn::Load(d, sums + (r * 2 + v) * lanes);
      const int64_t at = (i + r) * p.c_row + j + v * lanes;
      if (p.add != nullptr) sum = hn::Add(sum, load(p.add + (i + r) * p.add_row + j + v * lanes));
      if (p.mask != nullptr) sum = hn::IfThenZeroElse(hn::Le(load(p.mask + at), zero), sum);
      if (p.scale != nullptr) sum = hn::MulAdd(hn::Set(d, *p.scale), sum, load(p.c + at));
      store(sum, p.c + at);
      if (p.positive == nullptr) continue;
      store(hn::IfThenElse(hn::Lt(sum, zero), zero, sum), p.positive + at);
    }
  }
}

/// Puts a tile to its place (i, j) in c, out of the registers: each(visit) calls visit(d, exist, sum, r,
/// v) for those of row r from column v of the tile on, of which `exist` says which exist. load(d, exist,
/// from) and store(d, exist, sum, to) leave the others out.
template <class T, class Each, class Load, class Store>
HWY_INLINE void PutSums(const Product<T>& p, int64_t i, int64_t j, const Each& each,
                        const Load& load, const Store& store) {
  const int64_t at = i * p.c_row + j;
  T* const c = p.c + at;
  if (p.add != nullptr) {
    const T* const add = p.add + i * p.add_row + j;
    each([&](auto d, auto exist, auto& sum, int64_t r, int64_t v)
             HWY_ATTR { sum = hn::Add(sum, load(d, exist, add + r * p.add_row + v)); });
  }
  if (p.mask != nullptr) {
    const T* const mask = p.mask + at;
    each([&](auto d, auto exist, auto& sum, int64_t r, int64_t v) HWY_ATTR {
      sum = hn::IfThenZeroElse(hn::Le(load(d, exist, mask + r * p.c_row + v), hn::Zero(d)), sum);
    });
  }
  if (p.scale != nullptr) {
    const T scale = *p.scale;
    each([&](auto d, auto exist, auto& sum, int64_t r, int64_t v) HWY_ATTR {
      sum = hn::MulAdd(hn::Set(d, scale), sum, load(d, exist, c + r * p.c_row + v));
    });
  }
  each([&](auto d, auto exist, auto& sum, int64_t r, int64_t v)
           HWY_ATTR { store(d, exist, sum, c + r * p.c_row + v); });
  if (p.positive == nullptr) return;
  T* const positive = p.positive + at;
  each([&](auto d, auto exist, auto& sum, int64_t r, int64_t v) HWY_ATTR {
    store(d, exist, hn::IfThenElse(hn::Lt(sum, hn::Zero(d)), hn::Zero(d), sum),
          positive + r * p.c_row + v);
  });
}

/// What is fetched while a tile is at work, a line of the cache for each term; any address will do.
template <class T>
struct Ahead {
  const T* at;
  int64_t step;
};

/// Rows of a matrix whose columns lie together: a square block of them, transposed in registers.
#if HWY_TARGET == HWY_SCALAR
constexpr int64_t kBlockBytes = 1;
template <class T>
void TransposeBlock(const T* from, int64_t, T* to, int64_t) {
  *to = *from;
}
#else
constexpr int64_t kBlockBytes = 16;
HWY_INLINE void TransposeBlock(const float* from, int64_t stride, float* to, int64_t width) {
  const hn::FixedTag<float, 4> d;
  const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + stride);
  const auto e = hn::LoadU(d, from + 2 * stride), f = hn::LoadU(d, from + 3 * stride);
  const auto ab = hn::InterleaveLower(d, a, b), AB = hn::InterleaveUpper(d, a, b);
  const auto ef = hn::InterleaveLower(d, e, f), EF = hn::InterleaveUpper(d, e, f);
  hn::StoreU(hn::ConcatLowerLower(d, ef, ab), d, to);
  hn::StoreU(hn::ConcatUpperUpper(d, ef, ab), d, to + width);
  hn::StoreU(hn::ConcatLowerLower(d, EF, AB), d, to + 2 * width);
  hn::StoreU(hn::ConcatUpperUpper(d, EF, AB), d, to + 3 * width);
}
HWY_INLINE void TransposeBlock(const double* from, int64_t stride, double* to, int64_t width) {
  const hn::FixedTag<double, 2> d;
  const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + stride);
  hn::StoreU(hn::InterleaveLower(d, a, b), d, to);
  hn::StoreU(hn::InterleaveUpper(d, a, b), d, to + width);
}
#endif

/// Columns that are transposed at once.
template <class T>
constexpr int64_t kMostColumns = kBlockBytes > 1 ? kBlockBytes / sizeof(T) : 1;

#if SGDSCOPE_WIDE
template <>
constexpr int64_t kMostColumns<float> = 16;

/// Four numbers of each of the rows 0, 4, 8 and 12.
HWY_INLINE auto EachFourthRow(const float* from, int64_t stride) {
  const hn::FixedTag<float, 4> quarter;
  const hn::FixedTag<float, 8> half;
  const auto row = [&](int64_t r) { return hn::LoadU(quarter, from + r * stride); };
  return hn::Combine(hn::FixedTag<float, 16>(), hn::Combine(half, row(12), row(8)),
                     hn::Combine(half, row(4), row(0)));
}
/// Four numbers of 16 rows.
HWY_INLINE void TransposeSixteen(const float* from, int64_t stride, float* to, int64_t width) {
  const hn::FixedTag<float, 16> d;
  const hn::RebindToUnsigned<hn::FixedTag<double, 8>> pairs;
  const auto a = EachFourthRow(from, stride), b = EachFourthRow(from + stride, stride);
  const auto e = EachFourthRow(from + 2 * stride, stride);
  const auto f = EachFourthRow(from + 3 * stride, stride);
  const auto ab = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
  const auto AB = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  const auto ef = hn::BitCast(pairs, hn::InterleaveLower(d, e, f));
  const auto EF = hn::BitCast(pairs, hn::InterleaveUpper(d, e, f));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab, ef)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab, ef)), d, to + width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, AB, EF)), d, to + 2 * width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, AB, EF)), d, to + 3 * width);
}
#endif

/// Rows begin ... end - 1 of kColumns columns of b, each of which lies together: `from` is the first
/// one, `to` its place in the panel.
template <int64_t kColumns, class T>
void PackColumns(const T* from, int64_t stride, int64_t begin, int64_t end, T* to, int64_t width) {
  constexpr int64_t kAhead = 64;  // rows
  constexpr int64_t kRows = std::max<int64_t>(kBlockBytes / sizeof(T), 1);
  for (int64_t c = 0; c < kColumns; ++c) hwy::Prefetch(from + c * stride + begin + kAhead);
  int64_t r = begin;
  if constexpr (kColumns > 1 || kRows == 1) {
    for (; r + kRows <= end; r += kRows) {
#if SGDSCOPE_WIDE
      if constexpr (kColumns == 16) {
        TransposeSixteen(from + r, stride, to + r * width, width);
        continue;
      }
#endif
      if constexpr (kColumns != 16) TransposeBlock(from + r, stride, to + r * width, width);
    }
  }
  for (; r < end; ++r) {
    for (int64_t c = 0; c < kColumns; ++c) to[r * width + c] = from[c * stride + r];
  }
}

/// kRows rows from i on and kHalves half vectors, 2 to 4, from column j on, of which `count` columns
/// exist; b begins at this column.
template <int kRows, int kHalves, class T>
HWY_NOINLINE void Tile(const Product<T>& p, const T* HWY_RESTRICT b, int64_t b_step, int64_t i,
                       int64_t j, int64_t count, Ahead<T> ahead) {
  constexpr bool kOne = kHalves == 2;
  const Tag<T> d;
  const std::conditional_t<kHalves == 3, HalfTag<T>, Tag<T>> d2;
  using V = hn::Vec<Tag<T>>;
  using W = hn::Vec<std::remove_const_t<decltype(d2)>>;
  const bool far = p.m * p.n > (1 << 14);     // numbers of c that no near cache holds
  constexpr int kPointers = (kRows + 2) / 3;  // an address is a pointer and 0, 1 or 2 rows
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t width = kOne ? lanes : lanes + static_cast<int64_t>(hn::Lanes(d2));
  const int64_t row = p.a_row, step = p.a_step;
  const T* a[kPointers];
  V sum[kRows];
  W sum2[kRows];
  HWY_UNROLL(4)
  for (int g = 0; g < kPointers; ++g) a[g] = p.a + (i + 3 * g) * row;
  HWY_UNROLL(12)
  for (int r = 0; r < kRows; ++r) {
    sum[r] = hn::Zero(d);
    if constexpr (!kOne) sum2[r] = hn::Zero(d2);
  }
  const auto fetch = [&](const T* at) HWY_ATTR {
    __builtin_prefetch(at, 1);
    if constexpr (!kOne) __builtin_prefetch(at + lanes, 1);
    __builtin_prefetch(at + width - 1, 1);
  };
  for (int64_t l = 0; l < p.k; ++l) {
    if (far && l < kRows) {  // in a function of its own GCC would leave it out
      const int64_t at = (i + l) * p.c_row + j;
      fetch(p.c + at);
      if (p.mask != nullptr) fetch(p.mask + at);
      if (p.positive != nullptr) fetch(p.positive + at);
    }
    hwy::Prefetch(ahead.at);
    ahead.at += ahead.step;
    V of_b;
    W of_b2;
    of_b = hn::LoadU(d, b);
    if constexpr (!kOne) of_b2 = hn::LoadU(d2, b + lanes);
    b += b_step;
    HWY_UNROLL(12)
    for (int r = 0; r < kRows; ++r) {
      const V of_a = hn::Set(d, a[r / 3][(r % 3) * row]);
      sum[r] = hn::MulAdd(of_a, of_b, sum[r]);
      if constexpr (kHalves == 3) sum2[r] = hn::MulAdd(hn::LowerHalf(d2, of_a), of_b2, sum2[r]);
      if constexpr (kHalves == 4) sum2[r] = hn::MulAdd(of_a, of_b2, sum2[r]);
    }
    HWY_UNROLL(4)
    for (int g = 0; g < kPointers; ++g) a[g] += step;
  }
  const auto exist = hn::FirstN(d, static_cast<size_t>(std::min(count, lanes)));
  const auto exist2 = hn::FirstN(d2, static_cast<size_t>(std::max<int64_t>(count - lanes, 0)));
  const auto each = [&](const auto& visit) HWY_ATTR {
    HWY_UNROLL(12)
    for (int r = 0; r < kRows; ++r) {
      visit(d, exist, sum[r], r, 0);
      if constexpr (!kOne) visit(d2, exist2, sum2[r], r, lanes);
    }
  };
  if (count >= width) {
    PutSums(
        p, i, j, each, [](auto tag, auto, const T* from) HWY_ATTR { return hn::LoadU(tag, from); },
        [](auto tag, auto, auto values, T* to) HWY_ATTR { hn::StoreU(values, tag, to); });
  } else if constexpr (kMasks) {
    PutSums(
        p, i, j, each,
        [](auto tag, auto some, const T* from) HWY_ATTR { return hn::MaskedLoad(some, tag, from); },
        [](auto tag, auto some, auto values, T* to)
            HWY_ATTR { hn::BlendedStore(values, some, tag, to); });
  } else {
    HWY_ALIGN T sums[kRows * 2 * HWY_MAX_BYTES / sizeof(T)];
    each([&](auto tag, auto, auto values, int64_t r, int64_t v)
             HWY_ATTR { hn::StoreU(values, tag, sums + r * 2 * lanes + v); });
    PutTile(p, sums, kRows, i, j, count);
  }
}

template <int kHalves, class T>
void TileOf(int64_t rows, const Product<T>& p, const T* b, int64_t b_step, int64_t i, int64_t j,
            int64_t count, Ahead<T> ahead) {
  switch (rows) {
#define SGDSCOPE_ROWS(n)                                                              \
  case n:                                                                             \
    if constexpr (n <= kMostRows) Tile<n, kHalves>(p, b, b_step, i, j, count, ahead); \
    return;
    SGDSCOPE_ROWS(1)
    SGDSCOPE_ROWS(2)
    SGDSCOPE_ROWS(3)
    SGDSCOPE_ROWS(4)
    SGDSCOPE_ROWS(5)
    SGDSCOPE_ROWS(6)
    SGDSCOPE_ROWS(7)
    SGDSCOPE_ROWS(8)
    SGDSCOPE_ROWS(9)
    SGDSCOPE_ROWS(10)
    SGDSCOPE_ROWS(11)
    SGDSCOPE_ROWS(12)
#undef SGDSCOPE_ROWS
  }
}

/// Pack of a b whose rows lie together.
template <class T>
void PackRows(const Product<T>& p, int64_t j, int64_t count, int64_t width, T* panel) {
  const T* from = p.b + j;
  for (int64_t l = 0; l < p.k; ++l, from += p.b_step, panel += width) {
    std::copy_n(from, count, panel);
    std::fill(panel + count, panel + width, T(0));
  }
}

/// Columns j ... j + count - 1 of b as a panel [k, width], with zeros beyond `count`.
template <class T>
void Pack(const Product<T>& p, int64_t j, int64_t count, int64_t width, T* panel) {
  constexpr int64_t kBlock = std::max<int64_t>(kBlockBytes / sizeof(T), 1);
  constexpr int64_t kLine = 64 / sizeof(T);  // of the cache: what was fetched is used at once
  const T* from = p.b + j * p.b_column;
  if (p.b_column == 1) return PackRows(p, j, count, width, panel);
  for (int64_t l = 0; l < p.k; l += kLine) {
    const int64_t end = std::min(l + kLine, p.k);
    const int64_t stride = p.b_column;
    int64_t c = 0;
    for (; c + kMostColumns<T> <= count; c += kMostColumns<T>) {
      PackColumns<kMostColumns<T>>(from + c * stride, stride, l, end, panel + c, width);
    }
    for (; c + kBlock <= count; c += kBlock) {
      PackColumns<kBlock>(from + c * stride, stride, l, end, panel + c, width);
    }
    for (; c < count; ++c) PackColumns<1>(from + c * stride, stride, l, end, panel + c, width);
    for (int64_t r = l; r < end; ++r) {
      std::fill(panel + r * width + count, panel + (r + 1) * width, T(0));
    }
  }
}

/// Where tile number `tile` of a panel finds what the next one, from column j on, will be made of.
template <class T>
Ahead<T> NextPanel(const Product<T>& p, int64_t j, int64_t tile) {
  constexpr int64_t kLine = 64 / sizeof(T);
  const auto lanes = static_cast<int64_t>(hn::Lanes(Tag<T>()));
  if (p.b_column == 1) {  // a row of it lies on two or three lines: one for each of the first tiles
    const int64_t column = std::min(j + std::min(tile * lanes, 2 * lanes - 1), p.n - 1);
    return tile < 3 ? Ahead<T>{p.b + column, p.b_step} : Ahead<T>{p.b, 0};
  }
  const int64_t first = tile * p.k * kLine;  // its columns one after the other
  const bool more = j < p.n && first < 2 * lanes * p.b_column;
  return more ? Ahead<T>{p.b + j * p.b_column + first, kLine} : Ahead<T>{p.b, 0};
}

/// At least `size` numbers, kept for the thread's next product.
template <class T>
T* Panel(size_t size) {
  thread_local hwy::AlignedFreeUniquePtr<T[]> panel;
  thread_local size_t room = 0;
  if (room < size) {
    panel = hwy::AllocateAligned<T>(size);
    room = size;
  }
  return panel.get();
}

/// Columns j ... j + count - 1 of b, as the tiles take them.
template <class T>
struct Columns {
  Columns(const Product<T>& p, int64_t j, int64_t count)
      : j(j), count(count), b(p.b + j), b_step(p.b_step) {
    const auto lanes = static_cast<int64_t>(hn::Lanes(Tag<T>()));
    halves = count <= lanes ? 2 : kWide && 2 * count <= 3 * lanes ? 3 : 4;
    const int64_t width = std::max<int64_t>(halves * lanes / 2, 1);
    if (p.b_column == 1 && count >= width) return;
    T* const panel = Panel<T>(static_cast<size_t>(p.k * width));
    Pack(p, j, count, width, panel);
    b = panel;
    b_step = width;
  }

  int64_t j;
  int64_t count;
  int64_t halves;
  const T* b;
  int64_t b_step;
};

template <class T>
void MultiplyTile(const Product<T>& p, const Columns<T>& columns, int64_t i, int64_t rows,
                  const Ahead<T>& ahead) {
  const auto& [j, count, halves, b, b_step] = columns;
  if (halves == 2) {
    TileOf<2>(rows, p, b, b_step, i, j, count, ahead);
  } else if (halves == 3) {
    TileOf<kWide ? 3 : 4>(rows, p, b, b_step, i, j, count, ahead);
  } else {
    TileOf<4>(rows, p, b, b_step, i, j, count, ahead);
  }
}

/// Calls visit(tile, i, rows) with the rows of each tile, of nearly equal sizes.
template <class T, class Visit>
void ForEachTile(const Product<T>& p, const Visit& visit) {
  const int64_t tiles = (p.m + kMostRows - 1) / kMostRows;
  for (int64_t tile = 0, i = 0; tile < tiles; ++tile) {
    const int64_t rows = p.m / tiles + (tile < p.m % tiles ? 1 : 0);
    visit(tile, i, rows);
    i += rows;
  }
}

/// Columns begin ... end - 1 of c, panel after panel.
template <class T>
void MultiplyByPanels(const Product<T>& p, int64_t begin, int64_t end) {
  const auto most = 2 * static_cast<int64_t>(hn::Lanes(Tag<T>()));
  for (int64_t j = begin; j < end; j += most) {
    const Columns<T> columns(p, j, std::min(most, end - j));
    ForEachTile(p, [&](int64_t tile, int64_t i, int64_t rows) {
      MultiplyTile(p, columns, i, rows, NextPanel(p, j + columns.count, tile));
    });
  }
}

/// The same row after row of tiles, where b's rows lie together: c is gone through as it lies, and b
/// again for each. Only the last columns may be packed.
template <class T>
void MultiplyByRows(const Product<T>& p, int64_t begin, int64_t end) {
  const auto most = 2 * static_cast<int64_t>(hn::Lanes(Tag<T>()));
  std::vector<Columns<T>> panels;
  for (int64_t j = begin; j < end; j += most) panels.emplace_back(p, j, std::min(most, end - j));
  ForEachTile(p, [&](int64_t, int64_t i, int64_t rows) {
    for (const Columns<T>& columns : panels) MultiplyTile(p, columns, i, rows, {p.b, 0});
  });
}

template <class T>
void MultiplyColumns(const Product<T>& p, int64_t begin, int64_t end) {
  constexpr int64_t kNear = 1 << 17;  // numbers of b that a near cache holds
  const int64_t sums = std::max<int64_t>((p.k + kTerms - 1) / kTerms, 1);
  Product<T> part = p;
  for (int64_t sum = 0; sum < sums; ++sum) {
    const int64_t first = sum * p.k / sums;
    part.a = p.a + first * p.a_step;
    part.b = p.b + first * p.b_step;
    part.k = (sum + 1) * p.k / sums - first;
    part.add = sum == 0 ? p.add : p.c;
    part.add_row = sum == 0 ? p.add_row : p.c_row;
    const bool last = sum + 1 == sums;
    part.positive = last ? p.positive : nullptr;
    part.mask = last ? p.mask : nullptr;
    if (p.b_column == 1 && p.m > 4 * p.k && part.k * (end - begin) <= kNear) {
      MultiplyByRows(part, begin, end);
    } else {
      MultiplyByPanels(part, begin, end);
    }
  }
}

template <class T>
void AddMultipleOf(const T* x, T scale, int64_t n, T* to) {
  const Tag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, scale);
  const auto add = [&](const T* some, T* there) {
    hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, some), hn::LoadU(d, there)), d, there);
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) add(x + i, to + i);
  HWY_ALIGN T rest[HWY_MAX_BYTES / sizeof(T)] = {}, sums[HWY_MAX_BYTES / sizeof(T)] = {};
  std::copy_n(x + i, n - i, rest);
  std::copy_n(to + i, n - i, sums);
  add(rest, sums);
  std::copy_n(sums, n - i, to + i);
}

/// Of a vector's worth of numbers; `theta` and `ahead` may be null.
template <class T>
HWY_INLINE void MoveVector(const Momentum<T>& m, const T* g, const T* theta, T* velocity,
                           T* ahead) {
  const Tag<T> d;
  const auto keep = hn::Set(d, m.keep);
  auto fresh = hn::LoadU(d, g);
  if (theta != nullptr) fresh = hn::MulAdd(hn::Set(d, m.decay), hn::LoadU(d, theta), fresh);
  const auto kept = hn::Mul(keep, hn::LoadU(d, velocity));
  const auto moved = hn::MulAdd(hn::Set(d, m.fresh), fresh, kept);
  hn::StoreU(moved, d, velocity);
  if (ahead != nullptr) hn::StoreU(hn::MulAdd(keep, moved, fresh), d, ahead);
}

template <class T>
void MoveOf(const Momentum<T>& m, int64_t begin, int64_t end) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Tag<T>()));
  const auto at = [](auto* numbers, int64_t i) {
    return numbers == nullptr ? nullptr : numbers + i;
  };
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) {
    MoveVector(m, m.g + i, at(m.theta, i), m.velocity + i, at(m.ahead, i));
  }
  if (i == end) return;
  constexpr size_t kMost = HWY_MAX_BYTES / sizeof(T);
  T g[kMost] = {}, theta[kMost] = {}, velocity[kMost] = {}, ahead[kMost] = {};
  std::copy(m.g + i, m.g + end, g);
  if (m.theta != nullptr) std::copy(m.theta + i, m.theta + end, theta);
  std::copy(m.velocity + i, m.velocity + end, velocity);
  MoveVector(m, g, m.theta == nullptr ? nullptr : theta, velocity, ahead);
  std::copy_n(velocity, end - i, m.velocity + i);
  if (m.ahead != nullptr) std::copy_n(ahead, end - i, m.ahead + i);
}

// HWY_EXPORT takes no templates.
void MultiplyFloat(const Product<float>& p, int64_t begin, int64_t end) {
  MultiplyColumns(p, begin, end);
}
void MultiplyDouble(const Product<double>& p, int64_t begin, int64_t end) {
  MultiplyColumns(p, begin, end);
}
void AddMultipleFloat(const float* x, float scale, int64_t n, float* to) {
  AddMultipleOf(x, scale, n, to);
}
void AddMultipleDouble(const double* x, double scale, int64_t n, double* to) {
  AddMultipleOf(x, scale, n, to);
}
void MoveFloat(const Momentum<float>& m, int64_t begin, int64_t end) { MoveOf(m, begin, end); }
void MoveDouble(const Momentum<double>& m, int64_t begin, int64_t end) { MoveOf(m, begin, end); }

}  // namespace sgdscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::kernels {

HWY_EXPORT(MultiplyFloat);
HWY_EXPORT(MultiplyDouble);
HWY_EXPORT(AddMultipleFloat);
HWY_EXPORT(AddMultipleDouble);
HWY_EXPORT(MoveFloat);
HWY_EXPORT(MoveDouble);

void Multiply(const Product<float>& product, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(MultiplyFloat)(product, begin, end);
}
void Multiply(const Product<double>& product, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(MultiplyDouble)(product, begin, end);
}

void AddMultiple(const float* x, float scale, int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(AddMultipleFloat)(x, scale, n, to);
}
void AddMultiple(const double* x, double scale, int64_t n, double* to) {
  HWY_DYNAMIC_DISPATCH(AddMultipleDouble)(x, scale, n, to);
}

void Move(const Momentum<float>& momentum, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(MoveFloat)(momentum, begin, end);
}
void Move(const Momentum<double>& momentum, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(MoveDouble)(momentum, begin, end);
}

}  // namespace sgdscope::kernels
#endif  // HWY_ONCE
