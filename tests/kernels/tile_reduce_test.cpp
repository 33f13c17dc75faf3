#include "kernels/tile_reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/kernels/blocks.h"
#include "tests/kernels/reductions.h"

// The CUDA kernels' own code against the slow twin, without a GPU.

namespace sgdscope {
namespace {

std::string What(int64_t n, Values kind, const Reduction& how) {
  return "n " + std::to_string(n) + ", kind " + std::to_string(static_cast<int>(kind)) +
         ", ranks " + std::to_string(how.low) + " + " + std::to_string(how.low_part) + " and " +
         std::to_string(how.high) + " + " + std::to_string(how.high_part);
}

template <class T>
void ExpectColumns(int64_t n, int64_t m, const Reduction& how, uint64_t seed) {
  for (const Values kind : kAllValues) {
    Stream stream(seed, "tile columns", static_cast<uint64_t>(kind));
    std::vector<T> values = Draw<T>(stream, kind, n, m);
    for (T& v : values) v = stream.Uniform() < 0.5 ? -v : v;
    std::vector<T> out(m + 1, T(7));
    ReduceColumnsInBlocks(values.data(), n, m, how, out.data());
    ASSERT_EQ(out.back(), T(7)) << What(n, kind, how);
    ExpectReducedColumns(out, values, n, m, how, What(n, kind, how));
  }
}

template <class T>
void ExpectOuter(int64_t n, int64_t units, int64_t inputs, const Reduction& how, Values kind,
                 uint64_t seed) {
  Stream stream(seed, "tile outer");
  const std::vector<T> h = Draw<T>(stream, kind, n, inputs);
  std::vector<T> d = Draw<T>(stream, Values::kTanh, units, n);
  for (T& v : d) v = stream.Uniform() < 0.4 ? T(0) : v;
  std::vector<T> out(units * inputs + 1, T(7));
  const kernels::OuterProducts<T> products = {d.data(), h.data(), n, units, inputs};
  ReduceOuterInBlocks<T>(products, how, out.data());
  ASSERT_EQ(out.back(), T(7)) << What(n, kind, how);
  ExpectReducedOuter(out, products, how, What(n, kind, how));
}

Reduction Trim(int64_t n, int c) {
  const int64_t out = std::min<int64_t>(c * n / 100, (n - 1) / 2);
  return {Kind::kTrim, out, n - 1 - out};
}

TEST(TileReduce, ColumnsAtEveryPercentileAndBatchSize) {
  for (const int64_t n : kSizes) {
    // As in reduce_test.cpp: sorting 1024 doubles is slow in the twin.
    for (int c = 0; c <= 50; c += n > 128 ? 7 : 1) {
      const auto seed = static_cast<uint64_t>(n * 100 + c);
      ExpectColumns<float>(n, 4, Clip(n, c, false), seed);
      ExpectColumns<float>(n, 4, Clip(n, c, true), seed);
      ExpectColumns<double>(n, 3, Clip(n, c, c % 2 == 1), seed);
      ExpectColumns<float>(n, 3, Trim(n, c), seed);
      ExpectColumns<double>(n, 2, Trim(n, c), seed);
    }
    ExpectColumns<float>(n, 5, {Kind::kSigns}, static_cast<uint64_t>(n));
    ExpectColumns<double>(n, 5, {Kind::kSigns}, static_cast<uint64_t>(n));
  }
}

TEST(TileReduce, ColumnsOfAnyNumber) {
  for (const int64_t m : {1, 2, 31, 32, 33, 127, 128, 129, 255, 256, 257, 300}) {
    ExpectColumns<float>(20, m, Clip(20, 10, false), static_cast<uint64_t>(m));
    ExpectColumns<double>(20, m, Clip(20, 45, true), static_cast<uint64_t>(m));
  }
}

// By the number of values beyond a threshold: each length of list, and the selection.
TEST(TileReduce, OuterProductsOfRandomShapes) {
  for (uint64_t index = 0; index < 150; ++index) {
    Stream stream(12, "shapes", index);
    const int64_t n = kSizes[stream.Below(index < 20 ? 9 : 7)];
    const auto units = static_cast<int64_t>(1 + stream.Below(40));
    const auto inputs = static_cast<int64_t>(1 + stream.Below(70));
    const Values kind = kAllValues[stream.Below(std::size(kAllValues))];
    const int c = static_cast<int>(stream.Below(index % 2 == 0 ? 10 : 51));
    const Reduction how = index % 5 == 0 ? Trim(n, c) : Clip(n, c, index % 3 == 0);
    ExpectOuter<float>(n, units, inputs, how, kind, index);
    ExpectOuter<double>(n, units, inputs, how, kind, index);
  }
}

TEST(TileReduce, OuterProductsAtTheEdgesOfTiles) {
  for (const int64_t units : {1, 7, 8, 9, 15, 16, 17, 33}) {
    for (const int64_t inputs : {1, 31, 32, 33, 64, 65}) {
      const auto seed = static_cast<uint64_t>(units * 100 + inputs);
      for (const int64_t n : {31, 32, 33}) {
        ExpectOuter<float>(n, units, inputs, Clip(n, 4, false), Values::kTanh, seed);
        ExpectOuter<double>(n, units, inputs, Clip(n, 20, false), Values::kTanh, seed);
      }
    }
  }
}

TEST(TileReduce, WhatIsNotFiniteMakesNaNOfItsCoordinatesOnly) {
  constexpr int64_t n = 100, units = 20, inputs = 40;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const double c : {1.0, 2.0, 8.0, 25.0, 50.0}) {
      const Reduction how = Clip(n, c, false);
      Stream stream(7, "not finite");
      const auto clean_h = Draw<float>(stream, Values::kRelu, n, inputs);
      const auto clean_d = Draw<float>(stream, Values::kTanh, units, n);
      std::vector<float> out(units * inputs);
      auto h = clean_h;
      h[17 * inputs + 11] = bad;
      ReduceOuterInBlocks<float>({clean_d.data(), h.data(), n, units, inputs}, how, out.data());
      for (int64_t k = 0; k < units * inputs; ++k) {
        EXPECT_EQ(std::isnan(out[k]), k % inputs == 11) << k;
      }
      ReduceColumnsInBlocks(h.data(), n, inputs, how, out.data());
      for (int64_t j = 0; j < inputs; ++j) EXPECT_EQ(std::isnan(out[j]), j == 11) << j;

      auto d = clean_d;
      d[n + 80] = bad;
      ReduceOuterInBlocks<float>({d.data(), clean_h.data(), n, units, inputs}, how, out.data());
      for (int64_t k = 0; k < units * inputs; ++k) {
        EXPECT_EQ(std::isnan(out[k]), k / inputs == 1) << k;
      }
    }
    std::vector<float> values = {1, bad, -2}, sum(1);
    ReduceColumnsInBlocks(values.data(), 3, 1, {Kind::kSigns}, sum.data());
    EXPECT_TRUE(std::isnan(sum[0]));
  }
}

TEST(TileReduce, AProductThatOverflowsIsNotHiddenAndSparesTheOthers) {
  constexpr int64_t n = 40, inputs = 35;
  for (const int c : {2, 10, 50}) {
    Stream stream(8, "overflow");
    auto h = Draw<float>(stream, Values::kRelu, n, inputs);
    auto d = Draw<float>(stream, Values::kTanh, 1, n);
    for (int64_t j = 0; j < inputs; ++j) h[3 * inputs + j] = 0;
    h[3 * inputs + 5] = 1e30f;
    d[3] = 1e30f;
    std::vector<float> out(inputs);
    ReduceOuterInBlocks<float>({d.data(), h.data(), n, 1, inputs}, Clip(n, c, false), out.data());
    for (int64_t j = 0; j < inputs; ++j) EXPECT_EQ(std::isnan(out[j]), j == 5) << j;
  }
}

}  // namespace
}  // namespace sgdscope
