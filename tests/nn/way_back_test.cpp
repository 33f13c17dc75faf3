#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/rng.h"
#include "nn/activation.h"
#include "nn/batch_norm.h"
#include "nn/conv2d.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/pool2d.h"
#include "nn/residual.h"
#include "nn/scale.h"
#include "nn/sequence.h"
#include "tests/tensors.h"

// The way back through layers of all kinds, in any order, against autograd, to the bit.

namespace sgdscope {
namespace {

/// A random network for images, some of whose layers are residual, also within one another.
class RandomNetwork {
 public:
  explicit RandomNetwork(uint64_t index) : stream_(51, "way back", index), index_(index) {
    Append(sequence_, static_cast<int64_t>(2 + stream_.Below(8)), /*depth=*/0);
    if (index % 2 == 0) {
      sequence_.Append(MakeGlobalAveragePool());
    } else {
      sequence_.Append(MakeFlatten());
      shape_[0] *= shape_[1] * shape_[2];
    }
    for (const int64_t units : {5, 4, 3}) {
      sequence_.Append(MakeLinear(table_, Name(), shape_[0], units, true));
      if (units != 3) sequence_.Append(MakeActivation("relu"));
      shape_[0] = units;
    }
  }

  void ExpectAutogradsBits(at::ScalarType type) {
    const std::string what = sequence_.Describe();
    const at::Tensor theta = RandomTensor(stream_, {table_.size()}, type);
    // Behind relu and in the input, many numbers are equal.
    const at::Tensor h = RandomTensor(stream_, {8, 2, 12, 11}, type).round();
    const at::Tensor d = RandomTensor(stream_, {8, 3}, type);
    std::vector<Tap> kept, taps;
    at::AutoGradMode graph(true);
    const at::Tensor z = sequence_.Forward(h, {theta, &kept});
    torch::autograd::variable_list outputs;
    for (const Tap& tap : kept) outputs.push_back(tap.output);
    const auto expected = torch::autograd::grad({z}, outputs, {d});

    at::NoGradGuard no_grad;
    WayBack back;
    EXPECT_TRUE(SameBits(sequence_.Forward(h, {theta, &taps, {}, &back}), z.detach())) << what;
    EXPECT_TRUE(SameBits(sequence_.Forward(h, {theta}), z.detach())) << what;
    WayBack::Go(back.steps, d);
    ASSERT_EQ(back.output_gradients.size(), expected.size()) << what;
    const at::Tensor g = at::empty_like(theta), by_autograd = at::empty_like(theta);
    for (size_t tap = 0; tap < taps.size(); ++tap) {
      EXPECT_TRUE(SameBits(back.output_gradients[tap], expected[tap])) << what << "\ntap " << tap;
      taps[tap].layer->WriteGradient(taps[tap], back.output_gradients[tap], g);
      kept[tap].layer->WriteGradient(kept[tap], expected[tap], by_autograd);
    }
    EXPECT_TRUE(SameBits(g, by_autograd)) << what;
  }

  bool KnowsWayBack() const { return sequence_.KnowsWayBack(); }

 private:
  std::string Name() { return "layer" + std::to_string(table_.parameters().size()); }

  void AppendConvolution(Sequence& to, int64_t kernel, int64_t stride) {
    // 8 is computed in a way of its own.
    const auto out = stream_.Below(4) == 0 ? 8 : static_cast<int64_t>(1 + stream_.Below(18));
    AppendConvolution(to, out, kernel, stride);
  }
  void AppendConvolution(Sequence& to, int64_t out, int64_t kernel, int64_t stride) {
    to.Append(
        MakeConv2d(table_, Name(), shape_[0], out, kernel, stride, kernel / 2, index_ % 3 != 0));
    shape_ = {out, Places(shape_[1], kernel, stride), Places(shape_[2], kernel, stride)};
  }
  static int64_t Places(int64_t extent, int64_t kernel, int64_t stride) {
    return (extent + 2 * (kernel / 2) - kernel) / stride + 1;
  }

  void AppendPool(Sequence& to) {
    const auto size = static_cast<int64_t>(1 + stream_.Below(3));
    const auto stride = static_cast<int64_t>(1 + stream_.Below(3));
    if (std::min(shape_[1], shape_[2]) < size) return;
    to.Append(MakeMaxPool2d(size, stride));
    for (const int dim : {1, 2}) shape_[dim] = (shape_[dim] - size) / stride + 1;
  }

  void AppendResidual(Sequence& to, int depth) {
    const std::vector<int64_t> before = shape_;
    auto branch = std::make_unique<Sequence>(), shortcut = std::make_unique<Sequence>();
    if (stream_.Below(8) == 0) return to.Append(MakeResidual(std::move(branch), nullptr));
    const bool changes = stream_.Below(2) == 0;
    const int64_t out = changes ? 3 : before[0];
    AppendSome(*branch, static_cast<int64_t>(stream_.Below(3)), depth + 1, /*pool=*/false);
    AppendConvolution(*branch, out, 3, 1);
    AppendSome(*branch, static_cast<int64_t>(stream_.Below(3)), /*depth=*/9, /*pool=*/false);
    if (shape_[0] != out) AppendConvolution(*branch, out, 1, 1);
    const std::vector<int64_t> after = shape_;
    shape_ = before;
    if (changes) AppendConvolution(*shortcut, out, 1, 1);
    shape_ = after;
    if (!changes) shortcut = nullptr;
    to.Append(MakeResidual(std::move(branch), std::move(shortcut)));
  }

  /// Layers that keep the size of images, unless they may `pool`.
  void AppendSome(Sequence& to, int64_t count, int depth, bool pool) {
    for (int64_t i = 0; i < count; ++i) {
      switch (stream_.Below(depth < 2 ? 8 : 6)) {
        case 0:
          AppendConvolution(to, 3, pool ? 1 + static_cast<int64_t>(stream_.Below(2)) : 1);
          break;
        case 1:
          to.Append(MakeActivation("relu"));
          break;
        case 2:
          to.Append(MakeActivation("tanh"));
          break;
        case 3: {
          const int64_t ghost = stream_.Below(2) == 0 ? 0 : 4;
          to.Append(MakeBatchNorm(table_, statistics_, Name(), shape_[0], ghost));
          break;
        }
        case 4:
          to.Append(MakeScale(table_, Name()));
          break;
        case 5:
          if (pool) AppendPool(to);
          break;
        default:
          AppendResidual(to, depth);
      }
      // Relu is where passes are put together.
      if (stream_.Below(2) == 0) to.Append(MakeActivation("relu"));
      if (pool && stream_.Below(4) == 0) AppendPool(to);
    }
  }
  void Append(Sequence& to, int64_t count, int depth) { AppendSome(to, count, depth, true); }

  Stream stream_;
  uint64_t index_;
  ParameterTable table_, statistics_;
  Sequence sequence_;
  std::vector<int64_t> shape_ = {2, 12, 11};
};

TEST(WayBack, IsAutogradsToTheBit) {
  for (uint64_t index = 0; index < 60; ++index) {
    RandomNetwork network(index);
    ASSERT_TRUE(network.KnowsWayBack());
    network.ExpectAutogradsBits(at::kFloat);
    network.ExpectAutogradsBits(at::kDouble);
  }
}

}  // namespace
}  // namespace sgdscope
