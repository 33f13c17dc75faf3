#include "kernels/convolution.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace sgdscope {
namespace {

using kernels::Images;
constexpr int64_t kFew = kernels::kFewChannels;

// Runs for each instruction set that this processor has.
class Convolution : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, Convolution,
                         ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

template <class T>
std::vector<T> Normals(Stream& stream, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(stream.Normal());
  return values;
}

/// Calls use(number of `in`, weight, first channel of the result) for all that meet, but for the
/// channels of the result.
template <class Use>
void ForEachMeeting(const Images& images, const Use& use) {
  for (int64_t pixel = 0; pixel < images.count * images.height * images.width; ++pixel) {
    const int64_t y = pixel / images.width % images.height, x = pixel % images.width;
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t i = 0; i < 3; ++i) {
        if (y + j < 1 || y + j > images.height || x + i < 1 || x + i > images.width) continue;
        const int64_t from = pixel + (j - 1) * images.width + i - 1;
        for (int64_t c = 0; c < images.channels; ++c) {
          const int64_t weight = (j * 3 + i) * images.channels + c;
          use(from * images.channels + c, weight * kFew, pixel * kFew);
        }
      }
    }
  }
}

/// Sums in double, and of the absolute values of what is added.
struct Sums {
  explicit Sums(size_t count) : sum(count), size(count) {}
  void Add(int64_t place, double term) { sum[place] += term, size[place] += std::abs(term); }
  template <class T>
  void Expect(const std::vector<T>& made, double terms, double epsilon) const {
    ASSERT_EQ(made.size(), sum.size() + 1);
    EXPECT_EQ(made.back(), -1);  // is not written
    for (size_t k = 0; k < sum.size(); ++k) {
      ASSERT_NEAR(static_cast<double>(made[k]), sum[k], terms * epsilon * size[k]) << k;
    }
  }
  std::vector<double> sum, size;
};

template <class T>
void ExpectConvolutions(const Images& images, bool with_bias) {
  SCOPED_TRACE(::testing::Message() << images.count << " images " << images.height << " x "
                                    << images.width << " x " << images.channels);
  Stream stream(71, "convolution", static_cast<uint64_t>(images.width * 40 + images.channels));
  const int64_t pixels = images.count * images.height * images.width;
  const auto in = Normals<T>(stream, pixels * images.channels);
  const auto w = Normals<T>(stream, 9 * images.channels * kFew);
  const auto d = Normals<T>(stream, pixels * kFew);
  const auto bias = Normals<T>(stream, kFew);
  Sums outputs(d.size()), weights(w.size());
  for (size_t k = 0; with_bias && k < d.size(); ++k) outputs.Add(k, bias[k % kFew]);
  ForEachMeeting(images, [&](int64_t from, int64_t weight, int64_t to) {
    for (int64_t o = 0; o < kFew; ++o) {
      const double number = in[from];
      outputs.Add(to + o, number * static_cast<double>(w[weight + o]));
      weights.Add(weight + o, number * static_cast<double>(d[to + o]));
    }
  });
  std::vector<T> out(d.size() + 1, -1);
  std::vector<double> sums(w.size() + 1, -1);
  kernels::Convolve(in.data(), images, w.data(), with_bias ? bias.data() : nullptr, out.data());
  kernels::ConvolveByWeight(in.data(), images, d.data(), sums.data());
  const double epsilon = std::numeric_limits<T>::epsilon();
  outputs.Expect(out, static_cast<double>(9 * images.channels + 1), epsilon);
  // A thousand terms in one type, give or take a row, and as many sums in double as there are.
  const auto terms = static_cast<double>(std::min<int64_t>(pixels, 1024 + images.width));
  weights.Expect(sums, terms + static_cast<double>(pixels) / 1024, epsilon);
}

TEST_P(Convolution, OfAllWidthsAndChannels) {
  for (int64_t channels = 1; channels <= 18; ++channels) {
    for (int64_t width = 1; width <= 34; width += channels <= 3 || channels == 8 ? 1 : 11) {
      const Images images = {1 + width % 2, 1 + width % 5, width, channels};
      ExpectConvolutions<float>(images, channels % 2 == 0);
      ExpectConvolutions<double>(images, channels % 2 == 1);
    }
  }
}

/// Of images of 8 or 16 channels; in the order of weights that Spread takes.
template <class T>
void ExpectSpread(int64_t height, int64_t width, int64_t channels, int64_t out_channels) {
  SCOPED_TRACE(::testing::Message()
               << height << " x " << width << " x " << out_channels << " from " << channels);
  constexpr int64_t kOrder[9][2] = {{1, 1}, {1, 2}, {1, 0}, {2, 1}, {0, 1},
                                    {2, 2}, {2, 0}, {0, 2}, {0, 0}};
  Stream stream(72, "spread", static_cast<uint64_t>(width * 40 + channels));
  const Images images = {2, (height + 1) / 2, (width + 1) / 2, channels};
  const int64_t pixels = images.count * images.height * images.width;
  const auto d = Normals<T>(stream, pixels * channels);
  const auto w = Normals<T>(stream, 9 * channels * out_channels);
  Sums expected(static_cast<size_t>(images.count * height * width * out_channels));
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const int64_t image = pixel / (images.height * images.width);
    for (int64_t k = 0; k < 9; ++k) {
      const int64_t y = 2 * (pixel / images.width % images.height) + kOrder[k][0] - 1;
      const int64_t x = 2 * (pixel % images.width) + kOrder[k][1] - 1;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t o = 0; o < out_channels; ++o) {
          const int64_t weight = ((o / kFew * 9 + k) * channels + c) * kFew + o % kFew;
          expected.Add(
              ((image * height + y) * width + x) * out_channels + o,
              static_cast<double>(d[pixel * channels + c]) * static_cast<double>(w[weight]));
        }
      }
    }
  }
  std::vector<T> out(expected.sum.size() + 1, -1);
  kernels::Spread(d.data(), images, w.data(), height, width, out_channels, out.data());
  expected.Expect(out, static_cast<double>(4 * channels), std::numeric_limits<T>::epsilon());
}

TEST_P(Convolution, SpreadToAllSizes) {
  for (int64_t width = 1; width <= 70; width += width < 20 ? 1 : 9) {
    for (const int64_t out_channels : {8, 16}) {
      ExpectSpread<float>(1 + width % 5, width, 1 + width % 7, out_channels);
      ExpectSpread<double>(1 + width % 4, width, 1 + width % 6, out_channels);
    }
  }
}

/// So many pixels that the sums of some rows are added up.
TEST_P(Convolution, OfLargeImages) {
  for (const int64_t channels : {1, 3, 8}) {
    ExpectConvolutions<float>({2, 50, 70, channels}, true);
    ExpectConvolutions<double>({1, 2, 1100, channels}, false);
  }
}

}  // namespace
}  // namespace sgdscope
