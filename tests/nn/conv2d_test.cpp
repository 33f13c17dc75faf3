#include "nn/conv2d.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "core/rng.h"
#include "tests/nn/autograd_rules.h"
#include "tests/nn/example_rules.h"
#include "tests/oracles.h"
#include "tests/tensors.h"
#include "tests/threads.h"

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr uint64_t kCases = 60;

/// A random convolution that lies somewhere inside theta, with an oracle of the same shape.
struct ConvCase {
  explicit ConvCase(uint64_t index, at::ScalarType type = at::kDouble)
      : stream(25, "conv", index), dtype(type), map(RandomMap(index)) {
    n = index % 4 == 0 ? 1 : static_cast<int64_t>(1 + stream.Below(6));
    before = static_cast<int64_t>(1 + stream.Below(5));
    table.Add("before", {before}, 1, 1, false);
    const auto whole = [](size_t value) { return static_cast<int64_t>(value); };
    layer = MakeConv2d(table, "it", whole(map.in), whole(map.out), whole(map.kernel),
                       whole(map.stride), whole(map.padding), map.bias);
    table.Add("after", {3}, 1, 1, false);
    theta = Random({table.size()});
    what = "case " + std::to_string(index);
  }

  oracle::Convolution RandomMap(uint64_t index) {
    if (index == 1) return {8, 16, 3, 1, 1, true, 14, 14};  // where LibTorch changes its method
    if (index % 10 == 7) return {1 + index / 10, 8, 3, 1, 1, index % 20 == 7, 5, 3 + index / 2};
    if (index % 10 == 8) return {8, 1 + index / 10, 3, 1, 1, index % 20 == 8, 3, 1 + index / 4};
    if (index % 10 == 9) return {16, 1 + index / 10, 3, 2, 1, index % 20 == 9, 3, 1 + index / 4};
    const auto between = [this](size_t least, size_t most) {
      return least + static_cast<size_t>(stream.Below(most - least + 1));
    };
    const size_t kernel = between(1, 4);
    const size_t padding = between(0, 2);
    const size_t least = kernel > 2 * padding ? kernel - 2 * padding : 1;
    const size_t more = index % 3 == 0 ? 0 : 5;  // few positions, or many
    const size_t in = between(1, 4);
    const size_t out = between(1, 5);
    const size_t stride = between(1, 3);
    const size_t height = least + between(0, more);
    return {in, out, kernel, stride, padding, index % 2 == 0, height, least + between(0, more)};
  }

  at::Tensor Random(const std::vector<int64_t>& sizes) {
    return RandomTensor(stream, sizes, dtype);
  }
  at::Tensor RandomInput() {
    return Random({n, static_cast<int64_t>(map.in), static_cast<int64_t>(map.height),
                   static_cast<int64_t>(map.width)});
  }
  at::Tensor RandomOutput() {
    return Random({n, static_cast<int64_t>(map.out), static_cast<int64_t>(map.rows()),
                   static_cast<int64_t>(map.columns())});
  }

  Vector Forward(const at::Tensor& parameters, const at::Tensor& h) const {
    return map.Forward(ToVector(parameters), static_cast<size_t>(before), ToVector(h));
  }
  /// What rounding may do to Forward: a sum of K + 1 terms.
  Vector ForwardBound(const at::Tensor& parameters, const at::Tensor& h) const {
    const double rounding = static_cast<double>(map.fan_in() + 1) * Epsilon(dtype);
    return oracle::Plus(Vector(map.out * map.positions()), rounding,
                        Forward(parameters.abs(), h.abs()));
  }

  Stream stream;
  at::ScalarType dtype;
  oracle::Convolution map;
  int64_t n, before;
  ParameterTable table;
  std::unique_ptr<ExampleLayer> layer;
  at::Tensor theta;
  std::string what;
};

TEST(Conv2dLayer, DeclaresWeightThenBias) {
  ParameterTable table;
  const auto layer = MakeConv2d(table, "first", 3, 2, 5, 1, 2, true);
  const auto plain = MakeConv2d(table, "second", 2, 4, 1, 2, 0, false);
  ASSERT_EQ(table.parameters().size(), 3u);
  const Parameter& weight = table.parameters()[0];
  EXPECT_EQ(weight.name, "first.weight");
  EXPECT_EQ(weight.shape, (std::vector<int64_t>{2, 3, 5, 5}));
  EXPECT_EQ(weight.fan_in, 3 * 25);
  EXPECT_EQ(weight.fan_out, 2 * 25);
  EXPECT_FALSE(weight.is_bias);
  const Parameter& bias = table.parameters()[1];
  EXPECT_EQ(bias.name, "first.bias");
  EXPECT_EQ(bias.shape, (std::vector<int64_t>{2}));
  EXPECT_EQ(bias.offset, 150);
  EXPECT_EQ(bias.fan_in, 3 * 25);
  EXPECT_TRUE(bias.is_bias);
  EXPECT_EQ(table.parameters()[2].offset, 152);
  EXPECT_EQ(table.size(), 160);
  EXPECT_EQ(layer->Describe(), "conv 3 -> 2, 5 x 5, stride 1, padding 2");
  EXPECT_EQ(plain->Describe(), "conv 2 -> 4, 1 x 1, stride 2, padding 0 (no bias)");
}

/// A unit is an output channel, whose bias comes last.
TEST(Conv2dLayer, UnitsAreOutputChannels) {
  ParameterTable table;
  MakeConv2d(table, "it", 1, 2, 2, 1, 0, true);
  const auto units = table.Blocks("unit");
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(ToVector(units[0]), (Vector{0, 1, 2, 3, 8}));
  EXPECT_EQ(ToVector(units[1]), (Vector{4, 5, 6, 7, 9}));
}

TEST(Conv2dLayer, ForwardIsTheDefinition) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < kCases; ++index) {
      ConvCase it(index, dtype);
      const at::Tensor h = it.RandomInput();
      const at::Tensor z = it.layer->Forward(h, {it.theta});
      EXPECT_FALSE(z.requires_grad());
      ASSERT_EQ(z.sizes(), it.RandomOutput().sizes()) << it.what;
      for (int64_t i = 0; i < it.n; ++i) {
        ExpectWithin(ToVector(z[i]), it.Forward(it.theta, h[i]), it.ForwardBound(it.theta, h[i]),
                     it.what);
      }
    }
  }
}

/// The gradients of single examples that the derivatives d give.
ExampleGradients GradientsOf(const ConvCase& it, const at::Tensor& h, const at::Tensor& d) {
  ExampleGradients made;
  for (int64_t i = 0; i < it.n; ++i) {
    made.g.push_back(it.map.Gradient(ToVector(h[i]), ToVector(d[i])));
    made.absolute.push_back(it.map.Gradient(ToVector(h[i].abs()), ToVector(d[i].abs())));
  }
  // Sums over examples and positions, and (by positions) over weights and channels.
  made.terms =
      static_cast<double>(made.n() * it.map.positions() + it.map.fan_in() + it.map.out + 4);
  return made;
}

TEST(Conv2dLayer, TapGradientIsWrittenToItsOwnPlaceOnly) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < kCases; ++index) {
      ConvCase it(index, dtype);
      // As behind another layer, whose output is differentiable.
      const at::Tensor h = it.RandomInput().requires_grad_(index % 3 == 0);
      const at::Tensor d = it.RandomOutput();
      std::vector<Tap> taps;
      const at::Tensor z = it.layer->Forward(h, {it.theta, &taps});
      ASSERT_EQ(taps.size(), 1u);
      EXPECT_TRUE(z.requires_grad());
      EXPECT_EQ(taps[0].layer, it.layer.get());
      EXPECT_TRUE(SameBits(taps[0].input, h) && SameBits(taps[0].output, z));

      const at::Tensor gradient = at::full({it.table.size()}, 777.0, dtype);
      it.layer->WriteGradient(taps[0], d, gradient);
      EXPECT_FALSE(gradient.requires_grad());
      const ExampleGradients each = GradientsOf(it, h.detach(), d);
      Vector expected(each.size()), bound(each.size());
      for (size_t i = 0; i < each.n(); ++i) {
        expected = oracle::Plus(expected, 1, each.g[i]);
        bound = oracle::Plus(bound, each.terms * Epsilon(dtype), each.absolute[i]);
      }
      Vector all(static_cast<size_t>(it.table.size()), 777.0), bounds(all.size());
      std::ranges::copy(expected, all.begin() + it.before);
      std::ranges::copy(bound, bounds.begin() + it.before);
      ExpectWithin(ToVector(gradient), all, bounds, it.what);
    }
  }
}

TEST(Conv2dLayer, AgreesWithAutograd) {
  for (uint64_t index = 0; index < 12; ++index) {
    Stream stream(26, "autograd", index);
    ParameterTable table;
    const auto layer =
        MakeConv2d(table, "it", 2, 3, 3, 1 + static_cast<int64_t>(index % 2), 1, index % 3 != 0);
    ExpectRulesOfAutograd(*layer, table.size(), {4, 2, 5, 6}, stream, "conv2d");
  }
}

/// A layer's gradients of <d, z>, by theta and by the input.
std::vector<at::Tensor> GradientsOf(const ExampleLayer& layer, const at::Tensor& theta,
                                    const at::Tensor& h, const at::Tensor& d) {
  std::vector<Tap> taps;
  at::AutoGradMode enable(true);
  const at::Tensor input = h.detach().requires_grad_(true);
  const at::Tensor z = layer.Forward(input, {theta, &taps});
  const at::Tensor gradient = at::empty_like(theta);
  const at::Tensor by_input = torch::autograd::grad({z}, {input}, {d}, false)[0];
  layer.WriteGradient(taps[0], d, gradient);
  return {gradient, by_input};
}

/// Where one side has 8 channels, or both; with stride 2 also 16.
TEST(Conv2dLayer, OfFewChannelsAgreesWithAutograd) {
  struct Shape {
    int64_t in, out, stride, height, width;
  };
  for (const Shape& shape : {Shape{8, 8, 1, 5, 6},
                             {3, 8, 1, 5, 6},
                             {8, 3, 1, 5, 6},
                             {8, 3, 2, 5, 6},
                             {16, 2, 2, 8, 1},
                             {16, 5, 2, 1, 7},
                             {8, 16, 2, 6, 5}}) {
    Stream stream(26, "few channels", static_cast<uint64_t>(shape.width));
    ParameterTable table;
    const auto layer =
        MakeConv2d(table, "it", shape.in, shape.out, 3, shape.stride, 1, shape.in == 8);
    ExpectRulesOfAutograd(*layer, table.size(), {9, shape.in, shape.height, shape.width}, stream,
                          layer->Describe());
  }
}

/// Examples of 8 channels are convolved one by one, and added up in an order of their own.
TEST(Conv2dLayer, OfFewChannelsHasTheSameBitsOnAnyThreads) {
  Stream stream(29, "threads");
  ParameterTable table;
  const auto layer = MakeConv2d(table, "it", 8, 8, 3, 1, 1, true);
  const at::Tensor theta = RandomTensor(stream, {table.size()}, at::kFloat);
  const at::Tensor h = RandomTensor(stream, {33, 8, 16, 16}, at::kFloat);
  const at::Tensor d = RandomTensor(stream, {33, 8, 16, 16}, at::kFloat);
  const auto alone = GradientsOf(*layer, theta, h, d);
  const at::Tensor z = layer->Forward(h, {theta});
  const auto together = OnThreads(3, [&] { return GradientsOf(*layer, theta, h, d); });
  EXPECT_TRUE(SameBits(OnThreads(3, [&] { return layer->Forward(h, {theta}); }), z));
  EXPECT_TRUE(SameBits(together[0], alone[0]));
  EXPECT_TRUE(SameBits(together[1], alone[1]));
  for (const int64_t i : {0, 32}) {
    EXPECT_TRUE(SameBits(layer->Forward(h.narrow(0, i, 1), {theta})[0], z[i]));
  }
}

/// Many weights, of which oneDNN would go through all for each image's few pixels.
TEST(Conv2dLayer, OfFewPixelsHasTheGradientOfTheDefinition) {
  struct Shape {
    int64_t in, out, kernel, stride, height, width;
  };
  for (const Shape& shape :
       {Shape{320, 400, 3, 1, 2, 4}, {360, 330, 3, 2, 5, 8}, {130, 330, 5, 1, 1, 3}}) {
    Stream stream(30, "few pixels", static_cast<uint64_t>(shape.in));
    ParameterTable table;
    const auto layer = MakeConv2d(table, "it", shape.in, shape.out, shape.kernel, shape.stride,
                                  shape.kernel / 2, false);
    const at::Tensor h = RandomTensor(stream, {3, shape.in, shape.height, shape.width}, at::kFloat);
    const at::Tensor z = layer->Forward(h, {at::zeros({table.size()}, at::kFloat)});
    const at::Tensor d = RandomTensor(stream, z.sizes().vec(), at::kFloat);
    const at::Tensor gradient = at::empty({table.size()}, at::kFloat);
    layer->WriteGradient({layer.get(), h, {}}, d, gradient);
    // dL/dW as a convolution of the images' channels by d, unfolded, in double.
    const auto derivative = [&](const at::Tensor& images, const at::Tensor& by_z) {
      const at::Tensor u = at::im2col(images.to(at::kDouble), {shape.kernel, shape.kernel}, {1, 1},
                                      {shape.kernel / 2, shape.kernel / 2},
                                      {shape.stride, shape.stride});  // [n, K, P]
      return by_z.to(at::kDouble).flatten(2).bmm(u.transpose(1, 2)).sum(0).flatten();
    };
    const at::Tensor error = gradient.to(at::kDouble).sub(derivative(h, d)).abs();
    const double terms = static_cast<double>(d.numel() / shape.out);
    const at::Tensor bound = derivative(h.abs(), d.abs()).mul(terms * Epsilon(at::kFloat));
    EXPECT_TRUE(error.le(bound).all().item<bool>()) << layer->Describe();
  }
}

TEST(Conv2dLayer, RulesOfSingleExamplesAgreeWithALoop) {
  int by_positions = 0;
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < kCases; ++index) {
      ConvCase it(index, dtype);
      const at::Tensor h = it.RandomInput();
      const at::Tensor d = it.RandomOutput();
      std::vector<Tap> taps;
      it.layer->Forward(h, {it.theta, &taps});
      const at::Tensor v = it.Random({it.table.size()});
      ExpectExampleRules(*it.layer, taps[0], d, v, it.before, GradientsOf(it, h, d), it.what);
      const size_t k = it.map.fan_in();
      by_positions += 2 * it.map.positions() * (it.map.out + k) < it.map.out * k ? 1 : 0;
    }
  }
  // Both ways to a norm must occur.
  EXPECT_GT(by_positions, 5);
  EXPECT_LT(by_positions, static_cast<int>(kCases));
}

/// So many numbers that norms and Gram matrix come from several tiles, and norms from several
/// blocks of examples.
TEST(Conv2dLayer, RulesOfSingleExamplesOnManyNumbers) {
  Stream stream(26, "large");
  ParameterTable table;
  const auto layer = MakeConv2d(table, "it", 64, 64, 3, 1, 1, true);
  const int64_t n = 130;
  const at::Tensor theta = RandomTensor(stream, {table.size()});
  for (const int64_t extent : {2, 8}) {
    const at::Tensor h = RandomTensor(stream, {n, 64, extent, extent});
    const at::Tensor d = RandomTensor(stream, {n, 64, extent, extent});
    const Tap tap{layer.get(), h, {}};
    const at::Tensor g = at::empty({n, table.size()}, at::kDouble);
    for (int64_t i = 0; i < n; ++i) {
      layer->WriteGradient({layer.get(), h.narrow(0, i, 1), {}}, d.narrow(0, i, 1), g[i]);
    }
    // Absolute terms of a number of g: extent^2 products of order 1; of an entry of the Gram
    // matrix: p squares of it.
    const double p = static_cast<double>(table.size());
    const double positions = static_cast<double>(extent * extent);
    const double bound = (positions + p) * Epsilon(at::kDouble) * p * positions * positions;
    const at::Tensor gram = g.mm(g.t());
    EXPECT_LE(layer->Gram(tap, d).sub(gram).abs().max().item<double>(), bound) << extent;
    EXPECT_LE(layer->SquaredNorms(tap, d).sub(gram.diag()).abs().max().item<double>(), bound);
    EXPECT_GT(gram.diag().min().item<double>(), 1e6 * bound);
  }
}

TEST(Conv2dLayer, LineHasTheDerivativesOfTheDefinition) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < kCases; ++index) {
      ConvCase it(index, dtype);
      const at::Tensor direction = it.Random({it.table.size()});
      const double scale = -0.25;
      // From an input that stays (the first layer) to one that moves and bends.
      const uint64_t known = index % 3;
      Line h{it.RandomInput(), {}, {}, {}};
      if (known > 0) h.slope = it.RandomInput();
      if (known > 1) h.curvature = it.RandomInput();
      if (known > 0) h.moved = it.RandomInput();
      oracle::Convolution without_bias = it.map;
      without_bias.bias = false;
      /// Adds factor * map(parameters, input) to `sum`, and what rounding may do to it.
      const auto add = [&](Vector& sum, Vector& bound, double factor, const at::Tensor& parameters,
                           const at::Tensor& input, bool bias) {
        const auto offset = static_cast<size_t>(it.before);
        const oracle::Convolution& map = bias ? it.map : without_bias;
        sum = oracle::Plus(sum, factor, map.Forward(ToVector(parameters), offset, ToVector(input)));
        const double terms = static_cast<double>(it.map.fan_in() + 6);
        bound =
            oracle::Plus(bound, std::abs(factor) * terms * Epsilon(dtype),
                         map.Forward(ToVector(parameters.abs()), offset, ToVector(input.abs())));
      };
      for (const bool curvature : {false, true}) {
        const Line z = it.layer->ForwardLine(h, {it.theta, direction, scale, curvature});
        EXPECT_TRUE(SameBits(z.value, it.layer->Forward(h.value, {it.theta})));
        EXPECT_EQ(z.curvature.defined(), curvature && known > 0);
        for (int64_t i = 0; i < it.n; ++i) {
          const size_t numbers = it.map.out * it.map.positions();
          Vector slope(numbers), bend(numbers), moved(numbers);
          Vector slope_bound(numbers), bend_bound(numbers), moved_bound(numbers);
          add(slope, slope_bound, scale, direction, h.value[i], true);
          if (known > 0) {
            add(slope, slope_bound, 1, it.theta, h.slope[i], false);
            add(bend, bend_bound, 2 * scale, direction, h.slope[i], false);
          }
          if (known > 1) add(bend, bend_bound, 1, it.theta, h.curvature[i], false);
          const at::Tensor& end = known > 0 ? h.moved : h.value;
          add(moved, moved_bound, 1, it.theta, end[i], true);
          add(moved, moved_bound, scale, direction, end[i], true);
          ExpectWithin(ToVector(z.slope[i]), slope, slope_bound, it.what + ", slope");
          ExpectWithin(ToVector(z.moved[i]), moved, moved_bound, it.what + ", moved");
          if (z.curvature.defined()) {
            ExpectWithin(ToVector(z.curvature[i]), bend, bend_bound, it.what + ", curvature");
          }
        }
      }
    }
  }
}

/// Sizes of batches and of what convolves them in single precision on several threads.
struct Grid {
  std::vector<int64_t> channels, batches, threads;
};

/// In single precision against double, for every kernel and stride of the models: the libraries
/// beneath choose their method by all of these sizes. Returns the worst relative error.
double ExpectRightGradients(const Grid& grid) {
  constexpr int64_t kOut = 8, kExtent = 16;
  double worst = 0;
  for (const int64_t kernel : {1, 3}) {
    for (const int64_t stride : {1, 2}) {
      for (const int64_t in : grid.channels) {
        Stream stream(28, "grid", static_cast<uint64_t>(in));
        ParameterTable table;
        const auto layer = MakeConv2d(table, "it", in, kOut, kernel, stride, kernel / 2, true);
        const at::Tensor theta = RandomTensor(stream, {table.size()});
        for (const int64_t n : grid.batches) {
          const at::Tensor h = RandomTensor(stream, {n, in, kExtent, kExtent});
          const int64_t extent = kExtent / stride;
          const at::Tensor d = RandomTensor(stream, {n, kOut, extent, extent});
          const auto exact = GradientsOf(*layer, theta, h, d);
          for (const int64_t threads : grid.threads) {
            const auto single = OnThreads(static_cast<int>(threads), [&] {
              return GradientsOf(*layer, theta.to(at::kFloat), h.to(at::kFloat), d.to(at::kFloat));
            });
            for (size_t k = 0; k < exact.size(); ++k) {
              const double error = (single[k].to(at::kDouble) - exact[k]).norm().item<double>() /
                                   exact[k].norm().item<double>();
              // Random roundings of sums of up to 33 * 16 * 16 products: sqrt(8448) eps = 1.1e-5.
              EXPECT_LE(error, 1.1e-5)
                  << kernel << " x " << kernel << ", stride " << stride << ", " << in
                  << " channels, batch " << n << ", " << threads << " threads";
              worst = std::max(worst, error);
            }
          }
        }
      }
    }
  }
  return worst;
}

/// oneDNN writes past its workspace for some of these (see SkipsPixels in conv2d.cpp).
TEST(Conv2dLayer, GradientsAreRightOnSeveralThreads) {
  ExpectRightGradients({.channels = {4, 8, 15}, .batches = {9, 33}, .threads = {2}});
}

TEST(Conv2dLayerSlow, GradientsAreRightForAllSizes) {
  Grid grid;
  for (int64_t k = 1; k <= 33; ++k) grid.batches.push_back(k);
  for (int64_t k = 1; k <= 32; ++k) grid.channels.push_back(k);
  for (int64_t k = 1; k <= 4; ++k) grid.threads.push_back(k);
  RecordProperty("worst_error_times_1e9", static_cast<int>(1e9 * ExpectRightGradients(grid)));
}

}  // namespace
}  // namespace sgdscope
