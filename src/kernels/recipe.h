#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/kernels.h"

// How a Reduction's sum is put together, whoever finds the sorted values.

namespace sgdscope::kernels {

/// One end of the sorted values, counted from it: s_0, s_1, ... The `beyond` first ones lie beyond
/// the threshold s_beyond + part * (s_{beyond-1} - s_beyond).
template <class T>
struct Tail {
  int64_t beyond;
  T part;
};

/// The values within both thresholds count as they are, what is beyond a threshold counts `weight`
/// times the threshold, and the whole is multiplied by `scale`. For kClip and kTrim.
template <class T>
struct Recipe {
  Tail<T> low;
  Tail<T> high;
  T weight;
  T scale;

  Recipe(const Reduction& how, int64_t n)
      : low(how.low_part == 0 ? Tail<T>{how.low, 0} : Tail<T>{how.low + 1, T(1 - how.low_part)}),
        high{n - 1 - how.high, T(how.high_part)},
        weight(how.kind == Reduction::Kind::kClip),
        scale(how.kind == Reduction::Kind::kClip ? T(1)
                                                 : T(n) / static_cast<T>(how.high - how.low + 1)) {}

  int64_t longest() const { return std::max(low.beyond, high.beyond); }
};

/// Lengths of lists that are kept in registers.
inline constexpr int64_t kLists[] = {2, 3, 5, 9};

/// The shortest list that holds a tail and its threshold; 0 if none does.
inline int64_t ListFor(int64_t beyond) {
  for (const int64_t length : kLists)
    if (beyond < length) return length;
  return 0;
}

}  // namespace sgdscope::kernels
