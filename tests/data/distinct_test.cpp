#include "data/distinct.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

TEST(DrawDistinct, GivesDistinctExamplesOfTheSet) {
  for (uint64_t i = 0; i < 200; ++i) {
    Stream stream(1, "sizes", i);
    const auto examples = static_cast<int64_t>(1 + stream.Below(i < 100 ? 8 : 1000000));
    const int64_t most = std::min<int64_t>(examples, 500);
    const auto n = static_cast<int64_t>(stream.Below(static_cast<uint64_t>(most + 1)));
    Stream again = stream;
    const at::Tensor drawn = DrawDistinct(stream, n, examples);
    EXPECT_TRUE(SameBits(drawn, DrawDistinct(again, n, examples)));
    ASSERT_TRUE(drawn.sizes() == at::IntArrayRef({n}) && drawn.scalar_type() == at::kLong);
    const oracle::Vector values = ToVector(drawn);
    const std::set<double> distinct(values.begin(), values.end());
    EXPECT_EQ(static_cast<int64_t>(distinct.size()), n);
    for (const double value : values) EXPECT_TRUE(value >= 0 && value < examples) << value;
  }
}

/// Each of the 5 * 4 * 3 ordered choices of 3 out of 5 equally often. Chi-square with k degrees of
/// freedom has the mean k and the variance 2 k.
TEST(DrawDistinct, EveryOrderedChoiceIsEquallyLikely) {
  constexpr int kDraws = 60000;
  constexpr double kCells = 60;
  std::vector<double> counts(125);
  Stream stream(2, "draws");
  for (int i = 0; i < kDraws; ++i) {
    const oracle::Vector drawn = ToVector(DrawDistinct(stream, 3, 5));
    ++counts[static_cast<size_t>(25 * drawn[0] + 5 * drawn[1] + drawn[2])];
  }
  double chi_square = 0;
  int seen = 0;
  for (const double count : counts) {
    if (count == 0) continue;
    ++seen;
    chi_square += std::pow(count - kDraws / kCells, 2) / (kDraws / kCells);
  }
  EXPECT_EQ(seen, kCells);
  EXPECT_LT(chi_square, kCells - 1 + 5 * std::sqrt(2 * (kCells - 1)));
}

}  // namespace
}  // namespace sgdscope
