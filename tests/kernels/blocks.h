#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/tile_reduce.h"

// The kernels of kernels/cuda.cu without a GPU: the same tiles and the same number of blocks, whose
// threads run one after another.

namespace sgdscope {

/// The threads of a block. In turns from the first to the last and back, so that what one reads
/// while another writes it comes out wrong.
template <class State>
class ThreadsInTurn {
 public:
  template <class Use>
  void Each(const Use& use) {
    backwards_ = !backwards_;
    for (int k = 0; k < kernels::tile::kThreads; ++k) {
      const int t = backwards_ ? kernels::tile::kThreads - 1 - k : k;
      use(t, states_[static_cast<size_t>(t)]);
    }
  }

 private:
  std::vector<State> states_ = std::vector<State>(kernels::tile::kThreads);
  bool backwards_ = false;
};

template <class T>
void ReduceColumnsInBlocks(const T* values, int64_t n, int64_t m, const kernels::Reduction& how,
                           T* out) {
  kernels::tile::WithReducer<T>(how, n, [&](auto reducer) {
    using Reducer = typename decltype(reducer)::type;
    const kernels::tile::Columns<T, Reducer> tile{values, n, m, kernels::Recipe<T>(how, n), out};
    for (int64_t block = 0; block < tile.blocks(); ++block) {
      for (int t = 0; t < kernels::tile::kThreads; ++t) tile.Run(block, t);
    }
  });
}

template <class T>
void ReduceOuterInBlocks(const kernels::OuterProducts<T>& values, const kernels::Reduction& how,
                         T* out) {
  const kernels::Recipe<T> recipe(how, values.n);
  kernels::tile::WithSum(recipe, values.n, [&](auto sum) {
    using Tile = kernels::tile::Outer<T, typename decltype(sum)::type>;
    const Tile tile{values, recipe, out};
    for (int64_t block = 0; block < tile.blocks(); ++block) {
      typename Tile::Shared shared;
      std::memset(&shared, 0xff, sizeof(shared));  // NaN until a thread has written it
      ThreadsInTurn<typename Tile::Thread> threads;
      tile.Run(block, shared, threads);
    }
  });
}

}  // namespace sgdscope
