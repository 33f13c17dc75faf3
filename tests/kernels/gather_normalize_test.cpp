#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/kernels/reference.h"

namespace sgdscope {
namespace {

constexpr float kGuard = -12345.5f;

struct Problem {
  int64_t examples;
  int64_t n;
  int64_t channels;
  int64_t pixels;
  int64_t in_offset = 0;   // misalignment of the input, in bytes
  int64_t out_offset = 0;  // misalignment of the output, in floats
};

// Both versions of the kernel on one random problem: the same bits, and nothing written around
// them.
void ExpectSame(const Problem& p, const std::vector<float>& shift, const std::vector<float>& scale,
                uint64_t seed) {
  Stream stream(seed, "test");
  std::vector<uint8_t> in(p.in_offset + p.examples * p.channels * p.pixels);
  for (uint8_t& value : in) value = stream.Bits32() & 0xff;
  std::vector<int64_t> index(p.n);
  for (int64_t& i : index) i = static_cast<int64_t>(stream.Below(p.examples));
  const int64_t count = p.n * p.channels * p.pixels;
  std::vector<float> fast(p.out_offset + count + 1, kGuard);
  std::vector<float> slow = fast;
  kernels::GatherNormalize(in.data() + p.in_offset, index.data(), p.n, p.channels, p.pixels,
                           shift.data(), scale.data(), fast.data() + p.out_offset);
  kernels::reference::GatherNormalize(in.data() + p.in_offset, index.data(), p.n, p.channels,
                                      p.pixels, shift.data(), scale.data(),
                                      slow.data() + p.out_offset);
  ASSERT_EQ(std::memcmp(fast.data(), slow.data(), fast.size() * sizeof(float)), 0);
  ASSERT_EQ(fast.back(), kGuard);
}

// Runs the tests for each instruction set that this processor has.
class GatherNormalize : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, GatherNormalize,
                         ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST_P(GatherNormalize, AllLengths) {
  for (int64_t pixels = 1; pixels <= 70; ++pixels) {
    for (const int64_t channels : {1, 2, 3}) {
      ExpectSame({5, 4, channels, pixels}, {0.f, 125.3f, 3.f}, {255.f, 63.1f, 1.f},
                 static_cast<uint64_t>(pixels));
    }
  }
  ExpectSame({30, 20, 1, 784}, {72.94f}, {90.02f}, 1);
  ExpectSame({30, 20, 3, 1024}, {125.3f, 122.95f, 113.87f}, {62.99f, 62.09f, 66.7f}, 1);
}

TEST_P(GatherNormalize, Misaligned) {
  for (int64_t in_offset = 0; in_offset < 17; ++in_offset) {
    for (int64_t out_offset = 0; out_offset < 17; ++out_offset) {
      ExpectSame({3, 2, 2, 37, in_offset, out_offset}, {0.f, 10.5f}, {255.f, 33.f}, 1);
    }
  }
}

TEST_P(GatherNormalize, NoExamples) { ExpectSame({3, 0, 1, 16}, {0.f}, {255.f}, 1); }

// All 256 bytes for many shifts and scales, those for which the reciprocal is not exact among them.
TEST_P(GatherNormalize, AllBytesForManyScales) {
  std::vector<uint8_t> bytes(256);
  for (int value = 0; value < 256; ++value) bytes[value] = static_cast<uint8_t>(value);
  const int64_t index = 0;
  std::vector<float> fast(256);
  std::vector<float> slow(256);
  Stream stream(1, "scales");
  for (int trial = 0; trial < 20000; ++trial) {
    // From the ranges of images, and, less often, from all magnitudes: quotients without a normal
    // representation among them.
    const bool extreme = trial % 10 == 0;
    const auto scale = static_cast<float>(extreme ? std::exp2(250 * stream.Uniform() - 125)
                                                  : 255 * stream.Uniform() + 1e-3);
    const auto shift = static_cast<float>(trial % 3 == 0 ? 0 : 255 * stream.Uniform());
    kernels::GatherNormalize(bytes.data(), &index, 1, 1, 256, &shift, &scale, fast.data());
    kernels::reference::GatherNormalize(bytes.data(), &index, 1, 1, 256, &shift, &scale,
                                        slow.data());
    ASSERT_EQ(std::memcmp(fast.data(), slow.data(), 256 * sizeof(float)), 0)
        << shift << " " << scale;
  }
}

// The reference itself, by hand.
TEST(GatherNormalizeReference, Values) {
  const std::vector<uint8_t> in = {0, 10, 20, 30, 100, 110, 120, 130};  // [2, 2 * 2]
  const std::vector<int64_t> index = {1, 0, 1};
  const float shift[] = {10, 0};
  const float scale[] = {5, 2};
  std::vector<float> out(12);
  kernels::reference::GatherNormalize(in.data(), index.data(), 3, 2, 2, shift, scale, out.data());
  EXPECT_EQ(out, (std::vector<float>{18, 20, 60, 65, -2, 0, 10, 15, 18, 20, 60, 65}));
}

}  // namespace
}  // namespace sgdscope
