#include "nn/pool2d.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "core/rng.h"
#include "nn/activation.h"
#include "nn/conv2d.h"
#include "nn/scale.h"
#include "nn/sequence.h"
#include "tests/nn/autograd_rules.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

/// Random images and a window that fits into them, also with gaps, overlaps and a rest.
struct PoolCase {
  explicit PoolCase(uint64_t index) : stream(28, "pool", index) {
    kernel = 1 + stream.Below(3);
    stride = 1 + stream.Below(4);
    channels = 1 + stream.Below(3);
    height = kernel + stream.Below(6);
    width = kernel + stream.Below(6);
    n = static_cast<int64_t>(1 + stream.Below(4));
    layer = MakeMaxPool2d(static_cast<int64_t>(kernel), static_cast<int64_t>(stride));
  }

  at::Tensor Images() {
    return RandomTensor(stream, {n, static_cast<int64_t>(channels), static_cast<int64_t>(height),
                                 static_cast<int64_t>(width)});
  }
  std::vector<size_t> Places(const at::Tensor& image) const {
    return oracle::MaxPlaces(channels, height, width, kernel, stride, ToVector(image));
  }
  /// The numbers of `image` at these places.
  static Vector At(const at::Tensor& image, const std::vector<size_t>& places) {
    const Vector numbers = ToVector(image);
    Vector taken;
    for (const size_t place : places) taken.push_back(numbers[place]);
    return taken;
  }

  Stream stream;
  size_t kernel, stride, channels, height, width;
  int64_t n;
  std::unique_ptr<Layer> layer;
};

TEST(MaxPool2dLayer, LineFollowsTheLargestPixel) {
  for (uint64_t index = 0; index < 60; ++index) {
    PoolCase it(index);
    const Line h{it.Images(), it.Images(), it.Images(), it.Images()};
    const Line z = it.layer->ForwardLine(h, {{}, {}, 1, true});
    EXPECT_TRUE(SameBits(z.value, it.layer->Forward(h.value, {})));
    EXPECT_EQ(z.value.size(2), static_cast<int64_t>((it.height - it.kernel) / it.stride + 1));
    EXPECT_EQ(z.value.size(3), static_cast<int64_t>((it.width - it.kernel) / it.stride + 1));
    for (int64_t i = 0; i < it.n; ++i) {
      const auto places = it.Places(h.value[i]);
      EXPECT_EQ(ToVector(z.value[i]), PoolCase::At(h.value[i], places)) << index;
      EXPECT_EQ(ToVector(z.slope[i]), PoolCase::At(h.slope[i], places)) << index;
      EXPECT_EQ(ToVector(z.curvature[i]), PoolCase::At(h.curvature[i], places)) << index;
      EXPECT_EQ(ToVector(z.moved[i]), PoolCase::At(h.moved[i], it.Places(h.moved[i]))) << index;
    }
    const Line still = it.layer->ForwardLine({h.value, {}, {}, {}}, {{}, {}, 1, true});
    EXPECT_FALSE(still.slope.defined() || still.curvature.defined() || still.moved.defined());
  }
}

/// Behind relu many pixels are 0 at once; slope and gradient must agree on one of them.
TEST(MaxPool2dLayer, TheFirstOfEqualPixelsCounts) {
  const at::Tensor h = at::zeros({1, 1, 2, 2}, at::kDouble).requires_grad_(true);
  const auto layer = MakeMaxPool2d(2, 2);
  const at::Tensor slope = at::arange(1, 5, at::kDouble).view({1, 1, 2, 2});
  const Line z = layer->ForwardLine({h.detach(), slope, {}, {}}, {{}, {}, 1, false});
  EXPECT_EQ(z.slope.item<double>(), 1);
  const auto gradient = torch::autograd::grad({layer->Forward(h, {}).sum()}, {h});
  EXPECT_EQ(ToVector(gradient[0]), (Vector{1, 0, 0, 0}));
}

TEST(GlobalAveragePoolLayer, IsTheMeanOfEachChannel) {
  const auto layer = MakeGlobalAveragePool();
  EXPECT_EQ(layer->Describe(), "global average pool");
  for (uint64_t index = 0; index < 20; ++index) {
    PoolCase it(index);
    const Line h{it.Images(), it.Images(), {}, it.Images()};
    const Line z = layer->ForwardLine(h, {{}, {}, 1, true});
    EXPECT_FALSE(z.curvature.defined());
    EXPECT_TRUE(SameBits(z.value, layer->Forward(h.value, {})));
    for (const auto& [pooled, images] :
         {std::pair{z.value, h.value}, {z.slope, h.slope}, {z.moved, h.moved}}) {
      ASSERT_EQ(pooled.sizes(), at::IntArrayRef({it.n, static_cast<int64_t>(it.channels)}));
      for (int64_t i = 0; i < it.n; ++i) {
        for (int64_t c = 0; c < static_cast<int64_t>(it.channels); ++c) {
          const Vector pixels = ToVector(images[i][c]);
          double sum = 0, absolute = 0;
          for (const double x : pixels) sum += x, absolute += std::abs(x);
          const auto count = static_cast<double>(pixels.size());
          EXPECT_NEAR(pooled[i][c].item<double>(), sum / count,
                      (count + 1) * Epsilon(at::kDouble) * absolute / count);
        }
      }
    }
  }
}

TEST(PoolLayers, SayWhatTheyAre) {
  EXPECT_EQ(MakeMaxPool2d(3, 2)->Describe(), "max pool 3 x 3, stride 2");
}

/// Layers on images one after another, with every kind of layer, as in a residual network's branch.
struct ImageNetwork {
  explicit ImageNetwork(uint64_t index) : stream(29, "images", index) {
    const auto channels = static_cast<int64_t>(1 + stream.Below(3));
    out = static_cast<int64_t>(2 + stream.Below(3));
    const bool bias = index % 2 == 0;
    sequence.Append(MakeConv2d(table, "conv1", 2, channels, 3, 1, 1, bias));
    sequence.Append(MakeActivation(ActivationNames()[index % 3]));
    sequence.Append(MakeMaxPool2d(2, 1 + static_cast<int64_t>(stream.Below(2))));
    sequence.Append(MakeScale(table, "scale"));
    sequence.Append(MakeConv2d(table, "conv2", channels, out, 2, 2, 1, bias));
    sequence.Append(MakeActivation("tanh"));
    sequence.Append(MakeGlobalAveragePool());
    theta = RandomTensor(stream, {table.size()});
    direction = RandomTensor(stream, {table.size()});
    h = RandomTensor(stream, {4, 2, 6, 5});
  }

  Stream stream;
  ParameterTable table;
  Sequence sequence;
  int64_t out;
  at::Tensor theta, direction, h;
};

/// Also a double backward through the pool.
TEST(ImageLayers, AgreeWithAutograd) {
  for (uint64_t index = 0; index < 24; ++index) {
    ImageNetwork it(index);
    ExpectRulesOfAutograd(it.sequence, it.table.size(), {4, 2, 6, 5}, it.stream,
                          "network " + std::to_string(index));
  }
}

/// Outputs that a pass has recorded are taken over, and only the other examples computed.
TEST(ImageLayers, LineTakesWhatIsKnown) {
  for (uint64_t index = 0; index < 12; ++index) {
    ImageNetwork it(index);
    for (const int64_t recorded : {4, 2}) {
      std::vector<Tap> taps;
      it.sequence.Forward(it.h.narrow(0, 0, recorded), {it.theta, &taps});
      ASSERT_EQ(taps.size(), 3u);
      const LinePass plain{it.theta, it.direction, 0.25, true};
      const Line expected = it.sequence.ForwardLine({it.h, {}, {}, {}}, plain);
      const LinePass with_known{it.theta, it.direction, 0.25, true, &taps};
      const Line line = it.sequence.ForwardLine({it.h, {}, {}, {}}, with_known);
      const double bound = 1e-14 * (1 + oracle::Norm(ToVector(expected.curvature)));
      ExpectNear(ToVector(line.value), ToVector(expected.value), bound, "value");
      ExpectNear(ToVector(line.slope), ToVector(expected.slope), bound, "slope");
      ExpectNear(ToVector(line.curvature), ToVector(expected.curvature), bound, "curvature");
      ExpectNear(ToVector(line.moved), ToVector(expected.moved), bound, "moved");
      EXPECT_FALSE(line.value.requires_grad());
      // That they are taken over shows where they are wrong.
      for (Tap& tap : taps) tap.output = at::zeros_like(tap.output);
      const Line wrong = it.sequence.ForwardLine({it.h, {}, {}, {}}, with_known);
      EXPECT_EQ(oracle::Norm(ToVector(wrong.value.narrow(0, 0, recorded))), 0);
      if (recorded == 4) continue;
      ExpectNear(ToVector(wrong.value.narrow(0, 2, 2)), ToVector(expected.value.narrow(0, 2, 2)),
                 bound, "the rest");
    }
  }
}

}  // namespace
}  // namespace sgdscope
