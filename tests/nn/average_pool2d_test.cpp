#include "nn/average_pool2d.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

/// Windows with gaps, overlaps and a rest.
TEST(AveragePool2dLayer, IsTheMeanOfEachWindow) {
  for (uint64_t index = 0; index < 40; ++index) {
    Stream stream(28, "average", index);
    const auto kernel = static_cast<int64_t>(1 + stream.Below(3));
    const auto stride = static_cast<int64_t>(1 + stream.Below(4));
    const auto height = kernel + static_cast<int64_t>(stream.Below(6));
    const auto width = kernel + static_cast<int64_t>(stream.Below(6));
    const std::vector<int64_t> sizes = {2, 3, height, width};
    const auto layer = MakeAveragePool2d(kernel, stride);
    const Line h{
        RandomTensor(stream, sizes), RandomTensor(stream, sizes), {}, RandomTensor(stream, sizes)};
    const Line z = layer->ForwardLine(h, {{}, {}, 1, true});
    EXPECT_FALSE(z.curvature.defined());
    EXPECT_TRUE(SameBits(z.value, layer->Forward(h.value, {})));
    for (const auto& [pooled, images] :
         {std::pair{z.value, h.value}, {z.slope, h.slope}, {z.moved, h.moved}}) {
      Vector expected, bound;
      for (const at::Tensor& image : images.flatten(0, 1).unbind(0)) {
        for (int64_t y = 0; y + kernel <= height; y += stride) {
          for (int64_t x = 0; x + kernel <= width; x += stride) {
            double sum = 0;
            for (int64_t i = 0; i < kernel * kernel; ++i) {
              sum += image[y + i / kernel][x + i % kernel].item<double>();
            }
            expected.push_back(sum / static_cast<double>(kernel * kernel));
          }
        }
      }
      EXPECT_EQ(pooled.sizes(), at::IntArrayRef({2, 3, (height - kernel) / stride + 1,
                                                 (width - kernel) / stride + 1}));
      // Sums of at most nine numbers below ten.
      ExpectNear(ToVector(pooled), expected,
                 9 * 10 * Epsilon(at::kDouble) * std::sqrt(static_cast<double>(expected.size())),
                 "case " + std::to_string(index));
    }
  }
  EXPECT_EQ(MakeAveragePool2d(3, 2)->Describe(), "average pool 3 x 3, stride 2");
}

}  // namespace
}  // namespace sgdscope
