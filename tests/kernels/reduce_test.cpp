#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/kernels/reductions.h"

namespace sgdscope {
namespace {

constexpr double kGuard = -12345.5;

template <class T>
void ExpectColumns(const std::vector<T>& values, int64_t n, int64_t m, const Reduction& how,
                   const std::string& what) {
  std::vector<T> out(m + 1, static_cast<T>(kGuard));
  kernels::ReduceColumns(values.data(), n, m, m, how, out.data());
  ASSERT_EQ(out.back(), static_cast<T>(kGuard)) << what;
  ExpectReducedColumns(out, values, n, m, how, what);
}

template <class T>
void ExpectOuter(const std::vector<T>& d, const std::vector<T>& h, int64_t n, int64_t units,
                 int64_t inputs, const Reduction& how, const std::string& what) {
  std::vector<T> out(units * inputs + 1, static_cast<T>(kGuard));
  const kernels::OuterProducts<T> products = {d.data(), h.data(), n, units, inputs};
  kernels::ReduceOuter(products, how, 0, inputs, out.data());
  ASSERT_EQ(out.back(), static_cast<T>(kGuard)) << what;
  ExpectReducedOuter(out, products, how, what);
}

// Runs the tests for each instruction set that this processor has.
class Reduce : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }

  template <class T>
  void TestAll(int64_t n, int64_t units, int64_t inputs, const Reduction& how, uint64_t seed) {
    for (const Values kind : kAllValues) {
      Stream stream(seed, "reduce", static_cast<uint64_t>(kind));
      const std::vector<T> h = Draw<T>(stream, kind, n, inputs);
      std::vector<T> d = Draw<T>(stream, Values::kTanh, units, n);
      for (T& v : d) v = stream.Uniform() < 0.4 ? T(0) : v;
      const std::string what = "n " + std::to_string(n) + ", kind " +
                               std::to_string(static_cast<int>(kind)) + ", ranks " +
                               std::to_string(how.low) + " + " + std::to_string(how.low_part) +
                               " and " + std::to_string(how.high);
      ExpectColumns<T>(h, n, inputs, how, what);
      ExpectOuter<T>(d, h, n, units, inputs, how, what);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Targets, Reduce, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST_P(Reduce, EveryPercentileAndBatchSize) {
  for (const int64_t n : kSizes) {
    // All percentiles of the papers' sizes, a few of the large ones: sorting 1024 doubles is slow
    // in the twin.
    for (int c = 0; c <= 50; c += n > 128 ? 7 : 1) {
      const auto seed = static_cast<uint64_t>(n * 100 + c);
      const int64_t inputs = n > 128 ? 5 : 3 + c % 40;
      TestAll<float>(n, 2, inputs, Clip(n, c, false), seed);
      TestAll<double>(n, 1, inputs, Clip(n, c, c % 2 == 1), seed);
      TestAll<float>(n, 1, inputs, Clip(n, c, true), seed);
      const int64_t out = std::min<int64_t>(c * n / 100, (n - 1) / 2);
      TestAll<float>(n, 1, inputs, {Kind::kTrim, out, n - 1 - out}, seed);
    }
  }
}

TEST_P(Reduce, EveryNumberOfColumns) {
  for (int64_t inputs = 1; inputs <= 70; ++inputs) {
    TestAll<float>(20, 2, inputs, Clip(20, 10, false), static_cast<uint64_t>(inputs));
    TestAll<double>(20, 2, inputs, Clip(20, 10, false), static_cast<uint64_t>(inputs));
  }
}

TEST_P(Reduce, ColumnsInPartsAreTheWhole) {
  constexpr int64_t n = 50, units = 3, inputs = 400;
  Stream stream(5, "parts");
  const auto h = Draw<float>(stream, Values::kPixels, n, inputs);
  const auto d = Draw<float>(stream, Values::kTanh, units, n);
  std::vector<float> whole(units * inputs), parts(units * inputs);
  const Reduction how = Clip(n, 4, false);
  kernels::ReduceOuter({d.data(), h.data(), n, units, inputs}, how, 0, inputs, whole.data());
  for (int64_t begin = 0; begin < inputs; begin += 128) {
    kernels::ReduceOuter({d.data(), h.data(), n, units, inputs}, how, begin,
                         std::min<int64_t>(begin + 128, inputs), parts.data());
  }
  EXPECT_EQ(whole, parts);
}

TEST_P(Reduce, Signs) {
  constexpr int64_t n = 33, m = 21;
  Stream stream(6, "signs");
  for (const Values kind : kAllValues) {
    ExpectColumns(Draw<float>(stream, kind, n, m), n, m, {Kind::kSigns}, "signs");
  }
}

TEST_P(Reduce, WhatIsNotFiniteIsNeverHidden) {
  constexpr int64_t n = 100, units = 3, inputs = 40;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const double c : {1.0, 2.0, 25.0, 50.0}) {
      Stream stream(7, "not finite");
      const auto clean_h = Draw<float>(stream, Values::kRelu, n, inputs);
      const auto clean_d = Draw<float>(stream, Values::kTanh, units, n);
      std::vector<float> out(units * inputs);
      auto h = clean_h;
      h[17 * inputs + 11] = bad;
      kernels::ReduceOuter({clean_d.data(), h.data(), n, units, inputs}, Clip(n, c, false), 0,
                           inputs, out.data());
      for (int64_t o = 0; o < units; ++o) EXPECT_TRUE(std::isnan(out[o * inputs + 11]));
      kernels::ReduceColumns(h.data(), n, inputs, inputs, Clip(n, c, false), out.data());
      for (int64_t j = 0; j < inputs; ++j) EXPECT_EQ(std::isnan(out[j]), j == 11) << j;

      auto d = clean_d;
      d[n + 80] = bad;
      kernels::ReduceOuter({d.data(), clean_h.data(), n, units, inputs}, Clip(n, c, false), 0,
                           inputs, out.data());
      for (int64_t j = 0; j < inputs; ++j) EXPECT_TRUE(std::isnan(out[inputs + j]));
    }
  }
}

TEST_P(Reduce, AProductThatOverflowsIsNotHiddenAndSparesTheOthers) {
  constexpr int64_t n = 40, inputs = 35;
  Stream stream(8, "overflow");
  auto h = Draw<float>(stream, Values::kRelu, n, inputs);
  auto d = Draw<float>(stream, Values::kTanh, 1, n);
  for (int64_t j = 0; j < inputs; ++j) h[3 * inputs + j] = 0;
  h[3 * inputs + 5] = 1e30f;
  d[3] = 1e30f;
  std::vector<float> out(inputs);
  kernels::ReduceOuter({d.data(), h.data(), n, 1, inputs}, Clip(n, 10, false), 0, inputs,
                       out.data());
  for (int64_t j = 0; j < inputs; ++j) EXPECT_EQ(std::isnan(out[j]), j == 5) << j;
}

}  // namespace
}  // namespace sgdscope
