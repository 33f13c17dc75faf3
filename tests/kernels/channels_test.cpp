#include "kernels/channels.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace sgdscope {
namespace {

// Runs for each instruction set that this processor has.
class Channels : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, Channels,
                         ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

template <class T>
std::vector<T> Normals(Stream& stream, int64_t count, double mean) {
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(stream.Normal() + mean);
  return values;
}

template <class T>
void ExpectSums(int64_t rows, int64_t channels) {
  Stream stream(1, "channel sums", static_cast<uint64_t>(channels));
  const auto a = Normals<T>(stream, rows * channels, 1000);  // in float, digits would be lost
  const auto b = Normals<T>(stream, rows * channels, -1000);
  const auto shift_a = Normals<double>(stream, channels, 1000);
  const auto shift_b = Normals<double>(stream, channels, -1000);
  std::vector<double> sums(static_cast<size_t>(2 * channels + 1), -1);
  kernels::ChannelSums({a.data(), shift_a.data()}, {b.data(), shift_b.data()}, rows, channels,
                       sums.data());
  EXPECT_EQ(sums.back(), -1);
  for (int64_t c = 0; c < channels; ++c) {
    double first = 0, second = 0, sizes = 0, products = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const double x = static_cast<double>(a[r * channels + c]) - shift_a[c];
      const double y = static_cast<double>(b[r * channels + c]) - shift_b[c];
      first += x;
      second += x * y;
      sizes += std::abs(x);
      products += std::abs(x * y);
    }
    const double rounding = static_cast<double>(rows) * std::numeric_limits<double>::epsilon();
    EXPECT_NEAR(sums[c], first, rounding * sizes) << rows << " x " << channels;
    EXPECT_NEAR(sums[channels + c], second, rounding * products) << rows << " x " << channels;
  }
}

TEST_P(Channels, SumsOfAllWidths) {
  for (int64_t channels = 1; channels <= 70; ++channels) {
    for (const int64_t rows : {1, 2, 7}) {
      ExpectSums<float>(rows, channels);
      ExpectSums<double>(rows, channels);
    }
  }
}

/// What is masked is written, and its sums are those of what was written.
template <class T>
void ExpectMaskedSums(int64_t rows, int64_t channels) {
  Stream stream(3, "masked sums", static_cast<uint64_t>(channels));
  const auto d = Normals<T>(stream, rows * channels, 0);
  const auto b = Normals<T>(stream, rows * channels, 1);
  auto positive = Normals<T>(stream, rows * channels, 0);
  positive[0] = 0;
  positive.back() = std::numeric_limits<T>::quiet_NaN();
  const std::vector<double> zero(static_cast<size_t>(channels), 0);
  const auto shift = Normals<double>(stream, channels, 1);
  std::vector<T> expected(d.size() + 1, -1), out(d.size() + 1, -1);
  for (size_t i = 0; i < d.size(); ++i) expected[i] = positive[i] <= 0 ? T{0} : d[i];
  std::vector<double> sums(static_cast<size_t>(2 * channels + 1), -1), of_masked = sums;
  kernels::ChannelSums({expected.data(), zero.data()}, {b.data(), shift.data()}, rows, channels,
                       of_masked.data());
  kernels::MaskedChannelSums({d.data(), positive.data(), out.data()}, {b.data(), shift.data()},
                             rows, channels, sums.data());
  EXPECT_EQ(out, expected) << rows << " x " << channels;
  EXPECT_EQ(sums, of_masked) << rows << " x " << channels;
}

TEST_P(Channels, MaskedSumsOfAllWidths) {
  for (int64_t channels = 1; channels <= 70; ++channels) {
    for (const int64_t rows : {1, 2, 7}) {
      ExpectMaskedSums<float>(rows, channels);
      ExpectMaskedSums<double>(rows, channels);
    }
  }
}

template <class T>
void ExpectCombination(int64_t rows, int64_t channels, int64_t count) {
  Stream stream(2, "channel combination", static_cast<uint64_t>(channels));
  std::vector<std::vector<T>> values, shifts, weights;
  std::vector<kernels::ChannelTerm<T>> terms;
  for (int64_t k = 0; k < count; ++k) {
    values.push_back(Normals<T>(stream, rows * channels, 100));
    shifts.push_back(Normals<T>(stream, channels, 100));
    weights.push_back(Normals<T>(stream, channels, 0));
    terms.push_back({values.back().data(), shifts.back().data(), weights.back().data()});
  }
  const auto constant = Normals<T>(stream, channels, 0);
  std::vector<T> out(static_cast<size_t>(rows * channels + 1), -1);
  kernels::ChannelCombination(terms.data(), count, constant.data(), /*positive=*/false, rows,
                              channels, out.data());
  EXPECT_EQ(out.back(), -1);
  std::vector<T> positive = out;
  for (int64_t i = 0; i < rows * channels; ++i) positive[i] = std::max(out[i], T{0});
  std::vector<T> ended(out.size(), -1);
  kernels::ChannelCombination(terms.data(), count, constant.data(), /*positive=*/true, rows,
                              channels, ended.data());
  EXPECT_EQ(ended, positive);
  for (int64_t i = 0; i < rows * channels; ++i) {
    const int64_t c = i % channels;
    double sum = constant[c], sizes = std::abs(sum);
    for (int64_t k = 0; k < count; ++k) {
      const double term = (static_cast<double>(values[k][i]) - static_cast<double>(shifts[k][c])) *
                          static_cast<double>(weights[k][c]);
      sum += term;
      sizes += std::abs(term);
    }
    EXPECT_NEAR(out[i], sum, 4 * std::numeric_limits<T>::epsilon() * sizes)
        << rows << " x " << channels << ", " << count << " terms";
  }
}

TEST_P(Channels, CombinationsOfAllWidths) {
  for (int64_t channels = 1; channels <= 40; ++channels) {
    for (const int64_t count : {1, 2, 3}) {
      ExpectCombination<float>(3, channels, count);
      ExpectCombination<double>(3, channels, count);
    }
  }
}

}  // namespace
}  // namespace sgdscope
