#include "core/random_vectors.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/random_simd.h"

namespace sgdscope {
namespace {

// Run for each instruction set that this processor has.
class RandomVectors : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, RandomVectors,
                         ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

/// Those of Uniform bit by bit, wherever in a block the stream stands, and with it afterwards.
TEST_P(RandomVectors, UniformsAreThoseOfTheStream) {
  Stream choices(1, "choices");
  for (uint64_t trial = 0; trial < 200; ++trial) {
    Stream at_once(3, "uniforms", trial << 40 | trial);
    const uint64_t words_before = choices.Below(12);
    for (uint64_t k = 0; k < words_before; ++k) at_once.Bits32();
    Stream one_by_one = at_once;
    for (int piece = 0; piece < 3; ++piece) {
      std::vector<double> numbers(choices.Below(trial < 190 ? 70 : 3000) + 1, -1);
      const size_t size = numbers.size() - 1;
      at_once.Uniforms(numbers.data(), static_cast<int64_t>(size));
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(numbers[i], one_by_one.Uniform()) << i;
      EXPECT_EQ(numbers.back(), -1);
    }
    EXPECT_EQ(at_once.Bits32(), one_by_one.Bits32());
  }
}

/// A stream has 2^64 blocks; that their number is of two words shows from the 2^32nd on.
TEST_P(RandomVectors, BlocksAreCountedInTwoWords) {
  const std::array<uint32_t, 2> key = {0xa4093822, 0x299f31d0};
  const uint64_t first = (uint64_t{1} << 32) - 3;
  constexpr int64_t kBlocks = 20;
  std::vector<double> numbers(2 * kBlocks);
  PhiloxUniforms(key, 0x03707344'13198a2e, first, kBlocks, numbers.data());
  for (uint64_t j = 0; j < kBlocks; ++j) {
    const uint64_t block = first + j;
    const auto words = Philox4x32(
        {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0x13198a2e, 0x03707344},
        key);
    for (size_t k = 0; k < 2; ++k) {
      const uint64_t bits = uint64_t{words[2 * k + 1]} << 32 | words[2 * k];
      EXPECT_EQ(numbers[2 * j + k], static_cast<double>(bits >> 11) * 0x1p-53) << j;
    }
  }
}

/// Uniforms of all sizes, and those where a logarithm is smallest or largest and an angle a quarter
/// turn.
std::vector<double> ManyPairs() {
  Stream stream(1, "pairs");
  std::vector<double> pairs;
  for (const double u : {0., 0x1p-53, 0.25, 0.5, 1 - std::numbers::sqrt2 / 2, 0.75, 1 - 0x1p-53}) {
    for (const double v :
         {0., 0x1p-53, 0.125, 0.25, 0.25 - 0x1p-53, 0.375, 0.5, 0.625, 0.75, 0.875, 1 - 0x1p-53}) {
      pairs.insert(pairs.end(), {u, v});
    }
  }
  for (int k = 0; k < 20'000; ++k) {
    const double u = std::ldexp(stream.Uniform(), -static_cast<int>(stream.Below(50)));
    const double near_one = std::floor((1 - u) * 0x1p53) * 0x1p-53;
    pairs.insert(pairs.end(), {k % 2 == 0 ? u : std::min(near_one, 1 - 0x1p-53), stream.Uniform()});
  }
  return pairs;
}

TEST_P(RandomVectors, NormalsAreThoseOfBoxAndMuller) {
  const std::vector<double> pairs = ManyPairs();
  std::vector<double> normals = pairs;
  BoxMuller(normals.data(), static_cast<int64_t>(normals.size() / 2));
  for (size_t k = 0; k < pairs.size(); k += 2) {
    // Exact sums of the uniforms, which are multiples of 2^-53 or so small that 1 - u is rounded.
    const long double radius = std::sqrt(-2 * std::log(static_cast<long double>(1 - pairs[k])));
    const long double quarters = std::round(4.0L * pairs[k + 1]);
    const long double rest = (4.0L * pairs[k + 1] - quarters) * std::numbers::pi_v<long double> / 2;
    const long double c = std::cos(rest);
    const long double s = std::sin(rest);
    const std::array<long double, 4> turns = {c, -s, -c, s};
    const auto quarter = static_cast<size_t>(quarters);
    const long double cosine = radius * turns[quarter % 4];
    const long double sine = radius * turns[(quarter + 3) % 4];
    EXPECT_NEAR(normals[k], cosine, 4 * 0x1p-53L * std::abs(cosine)) << k;
    EXPECT_NEAR(normals[k + 1], sine, 4 * 0x1p-53L * std::abs(sine)) << k;
  }
}

TEST_P(RandomVectors, NormalsAreTheSameWithAnyInstructions) {
  const std::vector<double> pairs = ManyPairs();
  std::vector<double> here = pairs;
  BoxMuller(here.data(), static_cast<int64_t>(here.size() / 2));
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::GetChosenTarget().Update(target);
    std::vector<double> there = pairs;
    for (size_t k = 0; k < there.size(); k += 6) {  // nor does it matter where a pair stands
      BoxMuller(there.data() + k,
                static_cast<int64_t>(std::min<size_t>(3, (there.size() - k) / 2)));
    }
    EXPECT_EQ(here, there) << hwy::TargetName(target);
  }
}

/// An odd number leaves half a pair behind.
TEST(Normals, AreThoseOfTheStream) {
  for (const int64_t size : {0, 1, 2, 7, 1000, 5001}) {
    Stream at_once(3, "normals", 4);
    Stream one_by_one(3, "normals", 4);
    const at::Tensor normals = Normals(at_once, size);
    ASSERT_EQ(normals.numel(), size);
    // A radius of at most 9 times a cosine whose angle of up to 2 pi is rounded.
    for (int64_t i = 0; i < size; ++i) {
      EXPECT_NEAR(normals[i].item<double>(), one_by_one.Normal(), 9 * 8 * 2.3e-16) << i;
    }
    if (size % 2 == 1) one_by_one.Normal();
    EXPECT_EQ(at_once.Bits32(), one_by_one.Bits32());
  }
}

}  // namespace
}  // namespace sgdscope
