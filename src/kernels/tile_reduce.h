#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/kernels.h"
#include "kernels/recipe.h"

// Robust sums over the examples of a batch for many threads, a coordinate at a time each: what
// cuda.cu starts on a GPU and tests/kernels/blocks.h runs in loops. Plain C++, without atomics: a
// coordinate's values are added up in the order of the examples, so both give the same bits.
//   - Few values beyond the thresholds: sorted lists in registers, as in reduce.cpp.
//   - Many: the thresholds are found bit by bit. Where `below(t)` counts the values less than t,
//     the value of rank r is the largest t with below(t) <= r. Each bit takes one look at the
//     values, which nobody has to store.

#ifdef __CUDACC__
#define SGDSCOPE_TILE __device__ __forceinline__
#define SGDSCOPE_UNROLL _Pragma("unroll")
#else
#define SGDSCOPE_TILE inline
#define SGDSCOPE_UNROLL
#endif

namespace sgdscope::kernels::tile {

// Each of the classes below looks at the n values of one coordinate, in their order, in passes()
// passes. Result() is what becomes of them; NaN if one is not finite.

/// kClip and kTrim of n >= 2 K values of which less than K lie beyond each threshold.
template <class T, int K>
class ByLists {
 public:
  SGDSCOPE_TILE void Start(const Recipe<T>&, int64_t) {
    SGDSCOPE_UNROLL
    for (int k = 0; k < K; ++k) {
      low_[k] = static_cast<T>(INFINITY);
      high_[k] = -static_cast<T>(INFINITY);
    }
  }
  SGDSCOPE_TILE static int passes() { return 1; }
  SGDSCOPE_TILE void BeginPass(int) {}
  SGDSCOPE_TILE void Add(T v, int64_t i) {
    not_finite_ += v * T(0);
    v = Push<true>(low_, v);
    if (i < K) return;  // what falls out of a list that is not full is infinite
    v = Push<false>(high_, v);
    if (i < 2 * K) return;
    rest_ += v;
  }
  SGDSCOPE_TILE void EndPass() {}
  SGDSCOPE_TILE T Result(const Recipe<T>& recipe, int64_t) const {
    const T tails = SumOf(low_, recipe.low, recipe.weight) +  //
                    SumOf(high_, recipe.high, recipe.weight);
    return (rest_ + tails) * recipe.scale + not_finite_;
  }

 private:
  /// Puts v in its place of an ascending list of the smallest values (kLow), or a descending one of
  /// the largest; returns what falls out.
  template <bool kLow>
  SGDSCOPE_TILE static T Push(T (&list)[K], T v) {
    SGDSCOPE_UNROLL
    for (int k = 0; k < K; ++k) {
      const T before = list[k];
      list[k] = kLow ? fmin(before, v) : fmax(before, v);
      v = kLow ? fmax(before, v) : fmin(before, v);
    }
    return v;
  }

  /// What the values of a list contribute, without scale.
  SGDSCOPE_TILE static T SumOf(const T (&list)[K], const Tail<T>& tail, T weight) {
    T kept = 0;
    T threshold = list[0];
    SGDSCOPE_UNROLL
    for (int k = 0; k < K; ++k) {
      if (k == tail.beyond) {
        threshold = list[k];
        if (tail.part != 0) threshold += tail.part * (list[k > 0 ? k - 1 : 0] - list[k]);
      }
      if (k >= tail.beyond) kept += list[k];
    }
    return kept + weight * static_cast<T>(tail.beyond) * threshold;
  }

  T low_[K];
  T high_[K];
  T rest_ = 0;
  T not_finite_ = 0;
};

/// kClip and kTrim of any number of values.
template <class T>
class BySelection {
  using Key = std::conditional_t<sizeof(T) == sizeof(uint32_t), uint32_t, uint64_t>;

 public:
  SGDSCOPE_TILE void Start(const Recipe<T>& recipe, int64_t n) {
    first_rank_ = static_cast<int>(recipe.low.beyond);
    last_rank_ = static_cast<int>(n - 1 - recipe.high.beyond);
  }
  SGDSCOPE_TILE static int passes() { return kBits + 1; }
  SGDSCOPE_TILE void BeginPass(int pass) {
    bit_ = pass < kBits ? Key{1} << (kBits - 1 - pass) : 0;
    below_first_ = 0;
    below_last_ = 0;
  }
  SGDSCOPE_TILE void Add(T v, int64_t) {
    const Key key = KeyOf(v);
    below_first_ += key < (first_ | bit_);
    below_last_ += key < (last_ | bit_);
    if (bit_ != 0) return;
    not_finite_ += v * T(0);
    up_to_first_ += key <= first_;
    up_to_last_ += key <= last_;
    if (key < first_ && key > before_) before_ = key;
    if (key > last_ && key < after_) after_ = key;
    if (key > first_ && key < last_) between_ += v;
  }
  SGDSCOPE_TILE void EndPass() {
    if (below_first_ <= first_rank_) first_ |= bit_;
    if (below_last_ <= last_rank_) last_ |= bit_;
  }
  SGDSCOPE_TILE T Result(const Recipe<T>& recipe, int64_t n) const {
    const T first = ValueOf(first_);
    const T last = ValueOf(last_);
    T low = first;
    T high = last;
    // Equal values share their ranks: the next one may be the same.
    if (recipe.low.part != 0 && below_first_ == first_rank_) {
      low += recipe.low.part * (ValueOf(before_) - first);
    }
    if (recipe.high.part != 0 && up_to_last_ == last_rank_ + 1) {
      high += recipe.high.part * (ValueOf(after_) - last);
    }
    T sum =
        static_cast<T>(last_rank_ - first_rank_ + 1) * first;  // all are equal, or there is none
    if (first_ < last_) {
      sum = between_ + static_cast<T>(up_to_first_ - first_rank_) * first +
            static_cast<T>(last_rank_ + 1 - below_last_) * last;
    }
    sum += recipe.weight * static_cast<T>(first_rank_) * low;
    sum += recipe.weight * static_cast<T>(n - 1 - last_rank_) * high;
    return sum * recipe.scale + not_finite_;
  }

 private:
  static constexpr int kBits = 8 * sizeof(T);
  static constexpr Key kSign = Key{1} << (kBits - 1);

  /// Whole numbers in the order of the values; -0 comes before 0.
  SGDSCOPE_TILE static Key KeyOf(T v) {
    Key bits;
    memcpy(&bits, &v, sizeof(v));
    return (bits & kSign) != 0 ? ~bits : bits | kSign;
  }
  SGDSCOPE_TILE static T ValueOf(Key key) {
    const Key bits = (key & kSign) != 0 ? key & ~kSign : ~key;
    T v;
    memcpy(&v, &bits, sizeof(v));
    return v;
  }

  // The values of ranks first_rank_ ... last_rank_ lie within the thresholds.
  int first_rank_ = 0;
  int last_rank_ = 0;
  Key first_ = 0;  // of the value of rank first_rank_, as far as its bits are known
  Key last_ = 0;
  Key bit_ = 0;  // that this pass decides on; 0 in the last pass
  int below_first_ = 0;
  int below_last_ = 0;
  // Of the last pass.
  int up_to_first_ = 0;
  int up_to_last_ = 0;
  Key before_ = 0;  // the largest below first_
  Key after_ = ~Key{0};
  T between_ = 0;
  T not_finite_ = 0;
};

/// kSigns.
template <class T>
class BySigns {
 public:
  SGDSCOPE_TILE void Start(const Recipe<T>&, int64_t) {}
  SGDSCOPE_TILE static int passes() { return 1; }
  SGDSCOPE_TILE void BeginPass(int) {}
  SGDSCOPE_TILE void Add(T v, int64_t) {
    not_finite_ += v * T(0);
    sum_ += (v > 0) - (v < 0);
  }
  SGDSCOPE_TILE void EndPass() {}
  SGDSCOPE_TILE T Result(const Recipe<T>&, int64_t) const {
    return static_cast<T>(sum_) + not_finite_;
  }

 private:
  int sum_ = 0;
  T not_finite_ = 0;
};

template <class T>
struct Type {
  using type = T;
};

/// Calls use(Type<Sum>()) with the class that makes kClip or kTrim of n values.
template <class T, class Use>
void WithSum(const Recipe<T>& recipe, int64_t n, const Use& use) {
  const int64_t length = ListFor(recipe.longest());
  if (length == 0 || n < 2 * length) return use(Type<BySelection<T>>());
  if (length == 2) return use(Type<ByLists<T, 2>>());
  if (length == 3) return use(Type<ByLists<T, 3>>());
  if (length == 5) return use(Type<ByLists<T, 5>>());
  use(Type<ByLists<T, 9>>());
}

/// Calls use(Type<Reducer>()) with the class that makes a reduction of any kind.
template <class T, class Use>
void WithReducer(const Reduction& how, int64_t n, const Use& use) {
  if (how.kind == Reduction::Kind::kSigns) return use(Type<BySigns<T>>());
  WithSum(Recipe<T>(how, n), n, use);
}

constexpr int kThreads = 128;  // of a block

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// -------------------------------------------------------------------------------------- columns

/// A column a thread: neighbours read neighbouring numbers.
template <class T, class Reducer>
struct Columns {
  const T* values;  // [n, m]
  int64_t n;
  int64_t m;
  Recipe<T> recipe;
  T* out;  // [m]

  int64_t blocks() const { return CeilDiv(m, kThreads); }

  SGDSCOPE_TILE void Run(int64_t block, int thread) const {
    const int64_t column = block * kThreads + thread;
    if (column >= m) return;
    Reducer reducer;
    reducer.Start(recipe, n);
    for (int pass = 0; pass < Reducer::passes(); ++pass) {
      reducer.BeginPass(pass);
      for (int64_t i = 0; i < n; ++i) reducer.Add(values[i * m + column], i);
      reducer.EndPass();
    }
    out[column] = reducer.Result(recipe, n);
  }
};

// ------------------------------------------------------------------------------- outer products

/// A block takes kUnits units and kInputs inputs: a warp the inputs side by side, a thread
/// kUnitsEach units of one input. Examples come through shared memory, kExamples at a time.
template <class T, class Reducer>
struct Outer {
  static constexpr int kInputs = 32;
  static constexpr int kExamples = 32;
  static constexpr int kUnitsEach = 16 / sizeof(T);
  static constexpr int kUnits = kThreads / kInputs * kUnitsEach;

  struct Shared {
    T d[kUnits][kExamples];
    T h[kExamples][kInputs];
  };
  struct Thread {
    Reducer reducers[kUnitsEach];
  };

  OuterProducts<T> values;
  Recipe<T> recipe;
  T* out;  // [units, inputs]

  int64_t blocks() const { return CeilDiv(values.inputs, kInputs) * CeilDiv(values.units, kUnits); }

  /// `threads.Each(use)` calls use(t, state) of each thread t of the block, and waits for all.
  template <class Threads>
  SGDSCOPE_TILE void Run(int64_t block, Shared& shared, Threads& threads) const {
    const int64_t across = (values.inputs + kInputs - 1) / kInputs;
    const int64_t first_input = block % across * kInputs;
    const int64_t first_unit = block / across * kUnits;
    const int64_t n = values.n;
    threads.Each([&](int, Thread& self) {
      SGDSCOPE_UNROLL
      for (int u = 0; u < kUnitsEach; ++u) self.reducers[u].Start(recipe, n);
    });
    for (int pass = 0; pass < Reducer::passes(); ++pass) {
      threads.Each([&](int, Thread& self) {
        SGDSCOPE_UNROLL
        for (int u = 0; u < kUnitsEach; ++u) self.reducers[u].BeginPass(pass);
      });
      for (int64_t begin = 0; begin < n; begin += kExamples) {
        threads.Each([&](int t, Thread&) { Load(t, first_unit, first_input, begin, shared); });
        threads.Each([&](int t, Thread& self) { Add(t, begin, shared, self); });
      }
      threads.Each([&](int, Thread& self) {
        SGDSCOPE_UNROLL
        for (int u = 0; u < kUnitsEach; ++u) self.reducers[u].EndPass();
      });
    }
    threads.Each([&](int t, Thread& self) { Write(t, first_unit, first_input, self); });
  }

 private:
  /// This thread's share of the examples from `begin` on; 0 beyond the edges.
  SGDSCOPE_TILE void Load(int t, int64_t first_unit, int64_t first_input, int64_t begin,
                          Shared& shared) const {
    for (int k = t; k < kUnits * kExamples; k += kThreads) {
      const int64_t unit = first_unit + k / kExamples;
      const int64_t i = begin + k % kExamples;
      const bool inside = unit < values.units && i < values.n;
      shared.d[k / kExamples][k % kExamples] = inside ? values.d[unit * values.n + i] : T(0);
    }
    for (int k = t; k < kExamples * kInputs; k += kThreads) {
      const int64_t i = begin + k / kInputs;
      const int64_t input = first_input + k % kInputs;
      const bool inside = i < values.n && input < values.inputs;
      shared.h[k / kInputs][k % kInputs] = inside ? values.h[i * values.inputs + input] : T(0);
    }
  }

  SGDSCOPE_TILE void Add(int t, int64_t begin, const Shared& shared, Thread& self) const {
    const int count = static_cast<int>(values.n - begin < kExamples ? values.n - begin : kExamples);
    const int first = t / kInputs * kUnitsEach;
    for (int i = 0; i < count; ++i) {
      const T h = shared.h[i][t % kInputs];
      SGDSCOPE_UNROLL
      for (int u = 0; u < kUnitsEach; ++u) {
        self.reducers[u].Add(shared.d[first + u][i] * h, begin + i);
      }
    }
  }

  SGDSCOPE_TILE void Write(int t, int64_t first_unit, int64_t first_input,
                           const Thread& self) const {
    const int64_t input = first_input + t % kInputs;
    SGDSCOPE_UNROLL
    for (int u = 0; u < kUnitsEach; ++u) {
      const int64_t unit = first_unit + t / kInputs * kUnitsEach + u;
      if (unit >= values.units || input >= values.inputs) continue;
      out[unit * values.inputs + input] = self.reducers[u].Result(recipe, values.n);
    }
  }
};

}  // namespace sgdscope::kernels::tile
