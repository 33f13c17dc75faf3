#pragma once

#include <ATen/Parallel.h>

namespace sgdscope {

/// What compute() returns on so many threads; afterwards there is one, as tests have it.
template <class Compute>
auto OnThreads(int threads, const Compute& compute) {
  at::set_num_threads(threads);
  auto result = compute();
  at::set_num_threads(1);
  return result;
}

}  // namespace sgdscope
