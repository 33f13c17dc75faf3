#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/kernels/reference.h"

namespace sgdscope {
namespace {

// Runs for each instruction set that this processor has.
class RowDots : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, RowDots, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST_P(RowDots, AllLengths) {
  for (int64_t m = 1; m <= 70; ++m) {
    constexpr int64_t n = 3;
    Stream stream(1, "row dots", static_cast<uint64_t>(m));
    std::vector<float> a(n * m), b(n * m), sizes(n * m);
    for (size_t k = 0; k < a.size(); ++k) {
      a[k] = static_cast<float>(stream.Normal() * 1e25);  // the products overflow in float
      b[k] = static_cast<float>(stream.Normal() * 1e25);
      sizes[k] = std::max(std::abs(a[k]), std::abs(b[k]));
    }
    std::vector<double> fast(n + 1, -1), slow(n + 1, -1), largest(n);
    kernels::RowDots(a.data(), b.data(), n, m, fast.data());
    kernels::reference::RowDots(a.data(), b.data(), n, m, slow.data());
    kernels::reference::RowDots(sizes.data(), sizes.data(), n, m, largest.data());
    EXPECT_EQ(fast.back(), -1);
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(fast[i], slow[i],
                  largest[i] * static_cast<double>(m) * std::numeric_limits<double>::epsilon());
    }
  }
}

}  // namespace
}  // namespace sgdscope
