#include "core/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

namespace sgdscope {
namespace {

using Words = std::array<uint32_t, 4>;

std::vector<uint64_t> Draw(Stream stream, int count) {
  std::vector<uint64_t> values(count);
  for (uint64_t& value : values) value = stream.Bits64();
  return values;
}

double ChiSquare(const std::vector<int64_t>& counts) {
  const double total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const int64_t count : counts) {
    const double distance = static_cast<double>(count) - expected;
    sum += distance * distance / expected;
  }
  return sum;
}

// Chi-square with k degrees of freedom has the mean k and the variance 2 k.
double FiveSigma(size_t cells) {
  const auto freedom = static_cast<double>(cells - 1);
  return freedom + 5 * std::sqrt(2 * freedom);
}

// The file kat_vectors of Random123.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(Philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Runs must be repeatable with later versions, so the layout of key and counter may never change.
TEST(RandomStream, IsPhiloxOfNameSeedIndexAndBlock) {
  const uint64_t hash_of_a = 0xaf63dc4c8601ec8c;  // FNV-1a of "a", from its authors' test suite
  const uint64_t seed = 0x0123456789abcdef;
  const uint64_t index = 0xfedcba9876543210;
  const Words key =
      Philox4x32({static_cast<uint32_t>(hash_of_a), static_cast<uint32_t>(hash_of_a >> 32), 0, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  Stream stream(seed, "a", index);
  for (uint32_t block = 0; block < 3; ++block) {
    const Words expected = Philox4x32({block, 0, 0x76543210, 0xfedcba98}, {key[0], key[1]});
    for (const uint32_t word : expected) EXPECT_EQ(stream.Bits32(), word);
  }
}

TEST(RandomStream, DependsOnNothingElse) {
  const auto init = Draw(Stream(1, "init", 3), 100);
  const auto order = Draw(Stream(1, "order", 3), 100);
  Stream second(1, "order", 3);
  Stream first(1, "init", 3);
  for (int i = 0; i < 100; ++i) {  // the other order, and interleaved
    EXPECT_EQ(second.Bits64(), order[i]);
    EXPECT_EQ(first.Bits64(), init[i]);
  }
}

TEST(RandomStream, DiffersBySeedNameAndIndex) {
  std::set<uint64_t> seen;
  size_t drawn = 0;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
    for (const std::string name : {"", "init", "order", "redro"}) {
      for (const uint64_t index : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
        for (const uint64_t value : Draw(Stream(seed, name, index), 50)) {
          seen.insert(value);
          ++drawn;
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), drawn);  // a common 64-bit value has the probability 1e-13
}

TEST(RandomStream, EachBitIsFair) {
  constexpr int kCount = 100000;
  Stream stream(5, "bits");
  std::vector<int> ones(64);
  for (int i = 0; i < kCount; ++i) {
    const uint64_t bits = stream.Bits64();
    for (int b = 0; b < 64; ++b) ones[b] += static_cast<int>(bits >> b & 1);
  }
  for (int b = 0; b < 64; ++b) {
    EXPECT_NEAR(ones[b], kCount / 2, 5 * std::sqrt(kCount) / 2) << "bit " << b;
  }
}

TEST(RandomStream, UniformIsInItsIntervalAndEven) {
  constexpr int kCount = 200000;
  Stream stream(6, "uniform");
  std::vector<int64_t> counts(64);
  double least = 1;
  double greatest = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = stream.Uniform();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    least = std::min(least, value);
    greatest = std::max(greatest, value);
    ++counts[static_cast<size_t>(value * 64)];
  }
  EXPECT_LT(ChiSquare(counts), FiveSigma(counts.size()));
  EXPECT_LT(least, 1e-4);
  EXPECT_GT(greatest, 1 - 1e-4);
}

TEST(RandomStream, NormalHasTheMomentsOfTheNormalDistribution) {
  constexpr int kCount = 400000;
  Stream stream(7, "normal");
  double sums[5] = {};
  double products = 0;  // of neighbours: the two values of one Box-Muller pair must be independent
  double last = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = stream.Normal();
    ASSERT_TRUE(std::isfinite(value));
    for (int power = 1; power <= 4; ++power) sums[power] += std::pow(value, power);
    products += value * last;
    last = value;
  }
  // The variances of x, x^2, x^3, x^4 and x y under the normal distribution: 1, 2, 15, 96, 1.
  const auto bound = [](double variance) { return 5 * std::sqrt(variance / kCount); };
  EXPECT_NEAR(sums[1] / kCount, 0, bound(1));
  EXPECT_NEAR(sums[2] / kCount, 1, bound(2));
  EXPECT_NEAR(sums[3] / kCount, 0, bound(15));
  EXPECT_NEAR(sums[4] / kCount, 3, bound(96));
  EXPECT_NEAR(products / kCount, 0, bound(1));
}

TEST(RandomStream, BelowIsUnbiased) {
  for (const uint64_t bound : {1, 2, 3, 7, 10, 100}) {
    Stream stream(8, "below", bound);
    std::vector<int64_t> counts(bound);
    for (int i = 0; i < 100000; ++i) {
      const uint64_t value = stream.Below(bound);
      ASSERT_LT(value, bound);
      ++counts[value];
    }
    EXPECT_LE(ChiSquare(counts), FiveSigma(bound)) << bound;
  }
}

// With the remainder alone, the lower half of these values would come twice as often.
TEST(RandomStream, BelowIsUnbiasedForBoundsNear2To64) {
  constexpr int kCount = 30000;
  const uint64_t bound = (uint64_t{1} << 63) + (uint64_t{1} << 62);
  Stream stream(9, "below");
  int lower = 0;
  for (int i = 0; i < kCount; ++i) {
    const uint64_t value = stream.Below(bound);
    ASSERT_LT(value, bound);
    lower += value < bound / 3 ? 1 : 0;
  }
  EXPECT_NEAR(lower, kCount / 3.0, 5 * std::sqrt(kCount * 2.0 / 9));
}

TEST(RandomPermutation, HoldsEachNumberOnce) {
  for (const int64_t n : {0, 1, 5, 1000}) {
    Stream stream(10, "order", n);
    auto order = Permutation(stream, n);
    std::vector<int64_t> sorted(n);
    std::iota(sorted.begin(), sorted.end(), int64_t{0});
    EXPECT_EQ(order == sorted, n < 2);
    std::ranges::sort(order);
    EXPECT_EQ(order, sorted);
  }
}

TEST(RandomPermutation, AllOrdersAreEquallyLikely) {
  Stream stream(11, "order");
  std::map<std::vector<int64_t>, int64_t> orders;
  for (int i = 0; i < 24 * 4000; ++i) ++orders[Permutation(stream, 4)];
  ASSERT_EQ(orders.size(), 24u);
  std::vector<int64_t> counts;
  for (const auto& [order, count] : orders) counts.push_back(count);
  EXPECT_LT(ChiSquare(counts), FiveSigma(24));
}

}  // namespace
}  // namespace sgdscope
