#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <mutex>
#include <set>
#include <thread>

namespace sgdscope {
namespace {

/// ATen's headers have the loops over threads, which run on one where OpenMP is not compiled in.
TEST(Threads, LoopsRunOnAsManyAsAreAskedFor) {
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    std::mutex mutex;
    std::set<std::thread::id> seen;
    at::parallel_for(0, threads, /*grain_size=*/1, [&](int64_t, int64_t) {
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
    EXPECT_EQ(seen.size(), static_cast<size_t>(threads));
  }
  at::set_num_threads(1);
}

/// Those of another copy of the library would compete with LibTorch's own for the cores.
TEST(Threads, AreLibTorchsOwn) {
  at::set_num_threads(5);
  EXPECT_EQ(omp_get_max_threads(), 5);
  at::set_num_threads(1);
  EXPECT_EQ(omp_get_max_threads(), 1);
}

}  // namespace
}  // namespace sgdscope
