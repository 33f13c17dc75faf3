#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <limits>
#include <vector>

#include "core/rng.h"
#include "kernels/kernels.h"

namespace sgdscope {
namespace {

// Runs for each instruction set that this processor has.
class SquaredRows : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, SquaredRows,
                         ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST_P(SquaredRows, AllLengths) {
  for (int64_t m = 1; m <= 70; ++m) {
    constexpr int64_t n = 3;
    Stream stream(1, "squared rows", static_cast<uint64_t>(m));
    std::vector<float> rows(n * m);
    for (float& v : rows) v = static_cast<float>(stream.Normal() * 1e25);  // overflows in float
    std::vector<double> fast(n + 1, -1), slow(n + 1, -1);
    kernels::SquaredRows(rows.data(), n, m, fast.data());
    kernels::reference::SquaredRows(rows.data(), n, m, slow.data());
    EXPECT_EQ(fast.back(), -1);
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(fast[i], slow[i],
                  slow[i] * static_cast<double>(m) * std::numeric_limits<double>::epsilon());
    }
  }
}

}  // namespace
}  // namespace sgdscope
