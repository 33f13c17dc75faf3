#include "kernels/pool.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace sgdscope {
namespace {

using kernels::Windows;

// Runs for each instruction set that this processor has.
class MaxPool : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, MaxPool, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

/// Calls use(place in the result, place of the first of the window's largest pixels).
template <class T, class Use>
void ForEachLargest(const std::vector<T>& in, const Windows& windows, const Use& use) {
  const auto value = [&](int64_t place) {
    return windows.positive && in[place] < 0 ? T{0} : in[place];
  };
  const auto place = [&](int64_t y, int64_t x, int64_t c) {
    return (y * windows.width + x) * windows.channels + c;
  };
  int64_t to = 0;
  for (int64_t y = 0; y < windows.out_height(); ++y) {
    for (int64_t x = 0; x < windows.out_width(); ++x) {
      for (int64_t c = 0; c < windows.channels; ++c, ++to) {
        int64_t largest = place(y * windows.stride, x * windows.stride, c);
        for (int64_t i = 0; i < windows.size; ++i) {
          for (int64_t j = 0; j < windows.size; ++j) {
            const int64_t pixel = place(y * windows.stride + i, x * windows.stride + j, c);
            if (value(pixel) > value(largest)) largest = pixel;
          }
        }
        use(to, largest, value(largest));
      }
    }
  }
}

/// Numbers of which many are equal.
template <class T>
std::vector<T> Numbers(Stream& stream, int64_t count) {
  std::vector<T> numbers(static_cast<size_t>(count));
  for (T& number : numbers) number = static_cast<T>(std::round(2 * stream.Normal()) / 2);
  return numbers;
}

template <class T>
void ExpectPooled(const Windows& windows, Stream& stream) {
  const auto in = Numbers<T>(stream, windows.height * windows.width * windows.channels);
  const int64_t count = windows.out_height() * windows.out_width() * windows.channels;
  const auto d = Numbers<T>(stream, count);
  std::vector<T> expected(d.size() + 1, -1), back(in.size() + 1, 0);
  back.back() = -1;
  ForEachLargest(in, windows, [&](int64_t to, int64_t largest, T value) {
    expected[to] = value;
    if (!windows.positive || value > 0) back[largest] += d[to];
  });
  std::vector<T> out(d.size() + 1, -1), by_in(in.size() + 1, -1);
  kernels::MaxPool(in.data(), windows, out.data());
  kernels::MaxPoolBack(in.data(), d.data(), windows, by_in.data());
  EXPECT_EQ(out, expected);
  EXPECT_EQ(by_in, back);
}

TEST_P(MaxPool, OfAllWidthsAndWindows) {
  Stream stream(61, "max pool");
  for (int64_t channels = 1; channels <= 40; ++channels) {
    for (int64_t size = 1; size <= 3; ++size) {
      for (int64_t stride = 1; stride <= 4; ++stride) {
        for (const bool positive : {false, true}) {
          const int64_t more = channels % 3;
          const Windows windows = {2 * size + more, 3 * size, channels, size, stride, positive};
          ExpectPooled<float>(windows, stream);
          ExpectPooled<double>(windows, stream);
        }
      }
    }
  }
}

/// What is not a number stays so on the way there and, at one pixel, on the way back.
TEST_P(MaxPool, LosesNoNan) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> in = {1, kNan, 5, -1}, d = {kNan};
  for (const bool positive : {false, true}) {
    const Windows windows = {2, 2, 1, 2, 2, positive};
    float out = 0;
    std::vector<float> by_in(4);
    kernels::MaxPool(in.data(), windows, &out);
    kernels::MaxPoolBack(in.data(), d.data(), windows, by_in.data());
    EXPECT_TRUE(std::isnan(out));
    EXPECT_TRUE(std::isnan(by_in[0] + by_in[1] + by_in[2] + by_in[3]));
  }
}

}  // namespace
}  // namespace sgdscope
