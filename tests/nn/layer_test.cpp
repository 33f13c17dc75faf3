#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "nn/activation.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/sequence.h"
#include "tests/nn/autograd_rules.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

/// A random linear layer that lies somewhere inside theta, with an oracle of the same shape.
struct LinearCase {
  explicit LinearCase(uint64_t index) : stream(21, "linear", index) {
    in = static_cast<int64_t>(1 + stream.Below(9));
    out = static_cast<int64_t>(1 + stream.Below(9));
    n = index % 4 == 0 ? 1 : static_cast<int64_t>(1 + stream.Below(8));
    bias = index % 2 == 0;
    before = static_cast<int64_t>(1 + stream.Below(5));
    table.Add("before", {before}, 1, 1, false);
    layer = MakeLinear(table, "it", in, out, bias);
    size = table.size() - before;
    table.Add("after", {3}, 1, 1, false);
    mlp = {{static_cast<size_t>(in), static_cast<size_t>(out)}, "identity", bias, ""};
    theta = RandomTensor(stream, {table.size()});
  }

  Vector Forward(const at::Tensor& parameters, const Vector& h) const {
    return oracle::Affine(mlp, 0, ToVector(parameters), static_cast<size_t>(before), h);
  }

  Stream stream;
  int64_t in, out, n, before, size;
  bool bias;
  ParameterTable table;
  std::unique_ptr<DenseLayer> layer;
  oracle::Mlp mlp;
  at::Tensor theta;
};

TEST(LinearLayer, DeclaresWeightThenBias) {
  ParameterTable table;
  MakeLinear(table, "first", 3, 2, true);
  MakeLinear(table, "second", 2, 4, false);
  ASSERT_EQ(table.parameters().size(), 3u);
  const auto expect = [&](size_t i, const char* name, std::vector<int64_t> shape, int64_t offset,
                          int64_t size, int64_t fan_in, int64_t fan_out, bool is_bias) {
    const Parameter& parameter = table.parameters()[i];
    EXPECT_EQ(parameter.name, name);
    EXPECT_EQ(parameter.shape, shape);
    EXPECT_EQ(parameter.offset, offset);
    EXPECT_EQ(parameter.size, size);
    EXPECT_EQ(parameter.fan_in, fan_in);
    EXPECT_EQ(parameter.fan_out, fan_out);
    EXPECT_EQ(parameter.is_bias, is_bias);
  };
  expect(0, "first.weight", {2, 3}, 0, 6, 3, 2, false);
  expect(1, "first.bias", {2}, 6, 2, 3, 2, true);
  expect(2, "second.weight", {4, 2}, 8, 8, 2, 4, false);
  EXPECT_EQ(table.size(), 16);
}

TEST(LinearLayer, TilesCoverEveryCoordinateOnce) {
  for (uint64_t index = 0; index < 60; ++index) {
    LinearCase it(index);
    const at::Tensor h = RandomTensor(it.stream, {it.n, it.in});
    const at::Tensor d = RandomTensor(it.stream, {it.n, it.out});
    const Tap tap = {it.layer.get(), h, {}};
    for (const int64_t max_numbers : {int64_t{1}, it.n * 3, it.n * it.in * 2, int64_t{100000}}) {
      for (int64_t groups = 1; groups <= it.n; ++groups) {
        if (it.n % groups != 0) continue;
        at::Tensor seen = at::full({groups, it.table.size()}, std::nan(""), at::kDouble);
        it.layer->ForEachTile(
            tap, d, groups, max_numbers, [&](int64_t offset, const at::Tensor& tile) {
              EXPECT_LE(tile.numel(), std::max(max_numbers, groups));
              EXPECT_TRUE(seen.narrow(1, offset, tile.size(1)).isnan().all().item<bool>());
              seen.narrow(1, offset, tile.size(1)).copy_(tile);
            });
        for (int64_t group = 0; group < groups; ++group) {
          const int64_t count = it.n / groups;
          at::Tensor expected = at::full({it.table.size()}, std::nan(""), at::kDouble);
          it.layer->WriteGradient({it.layer.get(), h.narrow(0, group * count, count), {}},
                                  d.narrow(0, group * count, count), expected);
          const at::Tensor ours = seen[group].narrow(0, it.before, it.size);
          EXPECT_TRUE(at::allclose(ours, expected.narrow(0, it.before, it.size), 1e-13, 1e-13));
        }
        EXPECT_TRUE(seen.narrow(1, 0, it.before).isnan().all().item<bool>());
        EXPECT_TRUE(seen.narrow(1, it.before + it.size, 3).isnan().all().item<bool>());
      }
    }
  }
}

Vector Places(const at::Tensor& block) { return ToVector(block); }

TEST(ParameterTable, BlocksAreWeightsUnitsOrTensors) {
  ParameterTable table;
  MakeLinear(table, "first", 3, 2, true);
  MakeLinear(table, "second", 2, 1, false);
  const auto blocks = [&](const std::string& kind) {
    std::vector<Vector> places;
    for (const at::Tensor& block : table.Blocks(kind)) places.push_back(Places(block));
    return places;
  };
  EXPECT_EQ(blocks("weight"),
            (std::vector<Vector>{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}}));
  EXPECT_EQ(blocks("unit"), (std::vector<Vector>{{0, 1, 2, 6}, {3, 4, 5, 7}, {8, 9}}));
  EXPECT_EQ(blocks("tensor"), (std::vector<Vector>{{0, 1, 2, 3, 4, 5}, {6, 7}, {8, 9}}));
}

TEST(LinearLayer, ForwardIsTheAffineMap) {
  for (uint64_t index = 0; index < 40; ++index) {
    LinearCase it(index);
    const at::Tensor h = RandomTensor(it.stream, {it.n, it.in});
    const at::Tensor z = it.layer->Forward(h, {it.theta});
    EXPECT_FALSE(z.requires_grad());
    ASSERT_EQ(z.sizes(), at::IntArrayRef({it.n, it.out}));
    for (int64_t i = 0; i < it.n; ++i) {
      const Vector x = ToVector(h[i]);
      const Vector expected = it.Forward(it.theta, x);
      // Each of `in + 1` terms is below 25; k additions of k terms round k eps times their sum.
      const double k = static_cast<double>(it.in + 1);
      ExpectNear(ToVector(z[i]), expected, k * k * 25 * kEpsilon, "layer " + std::to_string(index));
    }
  }
}

TEST(LinearLayer, TapGradientIsWrittenToItsOwnPlaceOnly) {
  for (uint64_t index = 0; index < 40; ++index) {
    LinearCase it(index);
    const at::Tensor h = RandomTensor(it.stream, {it.n, it.in});
    const at::Tensor dz = RandomTensor(it.stream, {it.n, it.out});
    std::vector<Tap> taps;
    const at::Tensor z = it.layer->Forward(h, {it.theta, &taps});
    ASSERT_EQ(taps.size(), 1u);
    EXPECT_TRUE(z.requires_grad());
    EXPECT_TRUE(SameBits(taps[0].input, h));
    EXPECT_TRUE(SameBits(taps[0].output, z));
    EXPECT_EQ(taps[0].layer, it.layer.get());

    const at::Tensor gradient = at::full({it.table.size()}, 777.0, at::kDouble);
    it.layer->WriteGradient(taps[0], dz, gradient);

    Vector expected(static_cast<size_t>(it.table.size()), 777.0);
    const Vector dzs = ToVector(dz);
    const Vector hs = ToVector(h);
    for (int64_t o = 0; o < it.out; ++o) {
      for (int64_t k = 0; k <= it.in; ++k) {
        if (k == it.in && !it.bias) continue;
        double sum = 0;
        for (int64_t i = 0; i < it.n; ++i) {
          sum += dzs[i * it.out + o] * (k == it.in ? 1 : hs[i * it.in + k]);
        }
        expected[it.before + (k == it.in ? it.out * it.in + o : o * it.in + k)] = sum;
      }
    }
    const Vector actual = ToVector(gradient);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(actual[i], expected[i], expected[i] == 777 ? 0 : 8 * 8 * 25 * kEpsilon)
          << "layer " << index << ", parameter " << i;
    }
  }
}

TEST(LinearLayer, LineHasTheDerivativesOfTheAffineMap) {
  for (uint64_t index = 0; index < 60; ++index) {
    LinearCase it(index);
    const at::Tensor direction = RandomTensor(it.stream, {it.table.size()});
    const double scale = -0.3;
    // From an input that stays (the first layer) to one that moves and bends.
    const uint64_t known = index % 3;
    Line h{RandomTensor(it.stream, {it.n, it.in}), {}, {}, {}};
    if (known > 0) h.slope = RandomTensor(it.stream, {it.n, it.in});
    if (known > 1) h.curvature = RandomTensor(it.stream, {it.n, it.in});
    if (known > 0) h.moved = RandomTensor(it.stream, {it.n, it.in});
    for (const bool curvature : {false, true}) {
      const Line z = it.layer->ForwardLine(h, {it.theta, direction, scale, curvature});
      EXPECT_TRUE(SameBits(z.value, it.layer->Forward(h.value, {it.theta})));
      EXPECT_EQ(z.curvature.defined(), curvature && known > 0);
      oracle::Mlp without_bias = it.mlp;
      without_bias.bias = false;
      const auto map = [&](const at::Tensor& parameters, const at::Tensor& input) {
        return oracle::Affine(without_bias, 0, ToVector(parameters), it.before, ToVector(input));
      };
      const at::Tensor moved_theta = it.theta + scale * direction;
      for (int64_t i = 0; i < it.n; ++i) {
        Vector slope(static_cast<size_t>(it.out));
        slope = oracle::Plus(slope, scale, it.Forward(direction, ToVector(h.value[i])));
        Vector bend(static_cast<size_t>(it.out));
        if (known > 0) {
          slope = oracle::Plus(slope, 1, map(it.theta, h.slope[i]));
          bend = oracle::Plus(bend, 2 * scale, map(direction, h.slope[i]));
        }
        if (known > 1) bend = oracle::Plus(bend, 1, map(it.theta, h.curvature[i]));
        const at::Tensor& input_moved = known > 0 ? h.moved : h.value;
        const Vector moved = it.Forward(moved_theta, ToVector(input_moved[i]));
        // Three sums of at most 10 terms below 25 each.
        const double bound = 3 * 10 * 10 * 25 * kEpsilon;
        const std::string what = "layer " + std::to_string(index);
        ExpectNear(ToVector(z.slope[i]), slope, bound, what + ", slope");
        ExpectNear(ToVector(z.moved[i]), moved, bound, what + ", moved");
        if (z.curvature.defined())
          ExpectNear(ToVector(z.curvature[i]), bend, bound, what + ", curvature");
      }
    }
  }
}

TEST(ActivationLayer, NamesAreTheDocumentedOnes) {
  EXPECT_EQ(ActivationNames(),
            (std::vector<std::string>{"relu", "tanh", "gelu", "gelu_tanh", "identity"}));
  for (const std::string& name : ActivationNames())
    EXPECT_EQ(MakeActivation(name)->Describe(), name);
}

TEST(ActivationLayer, LineFollowsTheChainRule) {
  for (const std::string& name : ActivationNames()) {
    Stream stream(22, name);
    const auto layer = MakeActivation(name);
    const Line z{RandomTensor(stream, {5, 7}), RandomTensor(stream, {5, 7}),
                 RandomTensor(stream, {5, 7}), RandomTensor(stream, {5, 7})};
    const LinePass pass{{}, {}, 1, true};
    const Line h = layer->ForwardLine(z, pass);
    const Line without_bend = layer->ForwardLine({z.value, z.slope, {}, z.moved}, pass);
    const Vector value = ToVector(z.value), slope = ToVector(z.slope), bend = ToVector(z.curvature),
                 moved = ToVector(z.moved);
    Vector e_value, e_slope, e_bend, e_moved, e_own_bend;
    for (size_t i = 0; i < value.size(); ++i) {
      const double first = oracle::ActivateFirst(name, value[i]);
      e_value.push_back(oracle::Activate(name, value[i]));
      e_moved.push_back(oracle::Activate(name, moved[i]));
      e_slope.push_back(first * slope[i]);
      e_own_bend.push_back(oracle::ActivateSecond(name, value[i]) * slope[i] * slope[i]);
      e_bend.push_back(first * bend[i] + e_own_bend.back());
    }
    // 35 numbers, each below 10 and a few roundings of it (tanh's own error included).
    const double bound = 35 * 10 * 4 * kEpsilon;
    EXPECT_TRUE(SameBits(h.value, layer->Forward(z.value, {})));
    ExpectNear(ToVector(h.value), e_value, bound, name + " value");
    ExpectNear(ToVector(h.moved), e_moved, bound, name + " moved");
    ExpectNear(ToVector(h.slope), e_slope, bound, name + " slope");
    ExpectNear(ToVector(h.curvature), e_bend, bound, name + " curvature");
    if (without_bend.curvature.defined()) {
      ExpectNear(ToVector(without_bend.curvature), e_own_bend, bound, name + " own curvature");
    } else {
      EXPECT_TRUE(name == "relu" || name == "identity") << "undefined means zero";
    }
    const Line still = layer->ForwardLine({z.value, {}, {}, {}}, pass);
    EXPECT_FALSE(still.slope.defined() || still.curvature.defined() || still.moved.defined())
        << name;
    EXPECT_TRUE(SameBits(still.value, h.value)) << name;
  }
}

TEST(ActivationLayer, ReluAtItsKinkHasSlopeZero) {
  const at::Tensor zero = at::zeros({1, 1}, at::kDouble);
  const at::Tensor one = at::ones({1, 1}, at::kDouble);
  const Line h = MakeActivation("relu")->ForwardLine({zero, one, one, one}, {{}, {}, 1, true});
  EXPECT_EQ(h.slope.item<double>(), 0);
  EXPECT_EQ(h.curvature.item<double>(), 0);
}

TEST(FlattenLayer, KeepsTheBatchAndWhatIsUndefined) {
  Stream stream(23, "flatten");
  const at::Tensor h = RandomTensor(stream, {2, 3, 4, 5});
  const auto layer = MakeFlatten();
  EXPECT_TRUE(SameBits(layer->Forward(h, {}), h.view({2, 60})));
  const Line line = layer->ForwardLine({h, h.mul(2), {}, h.mul(3)}, {{}, {}, 1, true});
  EXPECT_TRUE(SameBits(line.slope, h.mul(2).view({2, 60})));
  EXPECT_TRUE(SameBits(line.moved, h.mul(3).view({2, 60})));
  EXPECT_FALSE(line.curvature.defined());
}

TEST(SequenceLayer, AgreesWithAutograd) {
  for (uint64_t index = 0; index < 24; ++index) {
    Stream stream(24, "sequence", index);
    const std::string activation = ActivationNames()[index % ActivationNames().size()];
    ParameterTable table;
    Sequence sequence;
    sequence.Append(MakeFlatten());
    int64_t width = 6;
    for (uint64_t l = 0; l < 1 + index / 3 % 3; ++l) {
      const auto next = static_cast<int64_t>(2 + stream.Below(5));
      sequence.Append(MakeLinear(table, "l", width, next, index % 2 == 0));
      sequence.Append(MakeActivation(activation));
      width = next;
    }
    ExpectRulesOfAutograd(sequence, table.size(), {4, 2, 3}, stream,
                          activation + " " + std::to_string(index));
  }
}

TEST(LinearLayer, AgreesWithAutograd) {
  for (uint64_t index = 0; index < 12; ++index) {
    Stream stream(25, "autograd", index);
    ParameterTable table;
    const auto layer = MakeLinear(table, "it", 3, 4, index % 2 == 0);
    ExpectRulesOfAutograd(*layer, table.size(), {5, 3}, stream, "linear");
  }
}

}  // namespace
}  // namespace sgdscope
