#include "data/distinct.h"

#include <unordered_map>

namespace sgdscope {

// The first n steps of Fisher and Yates' shuffle of 0 ... examples-1, of which only the places that
// no longer hold their own number are stored.
at::Tensor DrawDistinct(Stream& stream, int64_t n, int64_t examples) {
  std::unordered_map<int64_t, int64_t> moved;
  moved.reserve(static_cast<size_t>(n));
  const auto at_place = [&](int64_t place) {
    const auto found = moved.find(place);
    return found == moved.end() ? place : found->second;
  };
  at::Tensor indices = at::empty({n}, at::kLong);
  int64_t* index = indices.data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    const int64_t place =
        i + static_cast<int64_t>(stream.Below(static_cast<uint64_t>(examples - i)));
    index[i] = at_place(place);
    moved[place] = at_place(i);
  }
  return indices;
}

}  // namespace sgdscope
