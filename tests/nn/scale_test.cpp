#include "nn/scale.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/rng.h"
#include "models/model.h"
#include "nn/linear.h"
#include "tests/nn/autograd_rules.h"
#include "tests/nn/example_rules.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

/// A gain that lies somewhere inside theta, and inputs of a random shape.
struct ScaleCase {
  explicit ScaleCase(uint64_t index, at::ScalarType type = at::kDouble)
      : stream(27, "scale", index), dtype(type) {
    before = static_cast<int64_t>(1 + stream.Below(5));
    table.Add("before", {before}, 1, 1, false);
    layer = MakeScale(table, "it");
    table.Add("after", {3}, 1, 1, false);
    shape = {static_cast<int64_t>(1 + stream.Below(6))};
    for (uint64_t k = 0; k < 1 + index % 3; ++k) {
      shape.push_back(static_cast<int64_t>(1 + stream.Below(6)));
    }
    theta = Random({table.size()});
    alpha = theta[before].item<double>();
  }

  at::Tensor Random(const std::vector<int64_t>& sizes) {
    return RandomTensor(stream, sizes, dtype);
  }

  Stream stream;
  at::ScalarType dtype;
  int64_t before;
  ParameterTable table;
  std::unique_ptr<ExampleLayer> layer;
  std::vector<int64_t> shape;
  at::Tensor theta;
  double alpha;
};

/// SkipInit: whatever the model's init says, residual branches start closed.
TEST(ScaleLayer, StartsAtZeroAndDisturbsNoOtherStart) {
  const auto build = [](const std::string& init, bool scaled) {
    Network network;
    network.init = init;
    if (scaled) {
      EXPECT_EQ(MakeScale(network.table, "skip")->Describe(), "scale by one gain");
    } else {
      network.table.Add("skip", {1}, 1, 1, false);
    }
    MakeLinear(network.table, "linear", 3, 2, true);
    return InitialTheta(network, 4, at::kDouble);
  };
  for (const std::string& init : InitNames()) {
    const at::Tensor theta = build(init, true);
    EXPECT_EQ(theta[0].item<double>(), 0) << init;
    EXPECT_NE(theta[1].item<double>(), 0) << init;
    const at::Tensor other = build(init, false);
    EXPECT_NE(other[0].item<double>(), 0) << init;
    EXPECT_TRUE(SameBits(theta.narrow(0, 1, 8), other.narrow(0, 1, 8))) << init;
  }
}

TEST(ScaleLayer, IsOneParameterThatIsNoBias) {
  ScaleCase it(0);
  const Parameter& alpha = it.table.parameters()[1];
  EXPECT_EQ(alpha.name, "it.alpha");
  EXPECT_EQ(alpha.shape, (std::vector<int64_t>{1}));
  EXPECT_FALSE(alpha.is_bias);
  for (const std::string& kind : BlockNames()) {
    const auto blocks = it.table.Blocks(kind);
    EXPECT_TRUE(std::ranges::any_of(blocks, [&](const at::Tensor& block) {
      return ToVector(block) == Vector{static_cast<double>(it.before)};
    })) << kind;
  }
}

TEST(ScaleLayer, ForwardAndGradientAreTheDefinition) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 30; ++index) {
      ScaleCase it(index, dtype);
      const at::Tensor h = it.Random(it.shape);
      const at::Tensor d = it.Random(it.shape);
      std::vector<Tap> taps;
      const at::Tensor z = it.layer->Forward(h, {it.theta, &taps});
      EXPECT_TRUE(z.requires_grad());
      ASSERT_EQ(taps.size(), 1u);
      EXPECT_TRUE(SameBits(z, h.mul(it.theta[it.before])));
      EXPECT_FALSE(it.layer->Forward(h, {it.theta}).requires_grad());

      const at::Tensor gradient = at::full({it.table.size()}, 777.0, dtype);
      it.layer->WriteGradient(taps[0], d, gradient);
      Vector expected(static_cast<size_t>(it.table.size()), 777.0), bound(expected.size());
      expected[static_cast<size_t>(it.before)] = oracle::Dot(ToVector(h), ToVector(d));
      bound[static_cast<size_t>(it.before)] =
          static_cast<double>(h.numel()) * Epsilon(at::kDouble) *
              oracle::Dot(Absolute(ToVector(h)), Absolute(ToVector(d))) +
          Epsilon(dtype) * std::abs(expected[static_cast<size_t>(it.before)]);
      ExpectWithin(ToVector(gradient), expected, bound, "gradient");
    }
  }
}

TEST(ScaleLayer, AgreesWithAutograd) {
  for (uint64_t index = 0; index < 12; ++index) {
    Stream stream(27, "autograd", index);
    ParameterTable table;
    const auto layer = MakeScale(table, "it");
    ExpectRulesOfAutograd(*layer, table.size(), {5, 3}, stream, "scale");
  }
}

TEST(ScaleLayer, RulesOfSingleExamplesAgreeWithALoop) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 30; ++index) {
      ScaleCase it(index, dtype);
      const at::Tensor h = it.Random(it.shape);
      const at::Tensor d = it.Random(it.shape);
      std::vector<Tap> taps;
      it.layer->Forward(h, {it.theta, &taps});
      ExampleGradients each;
      for (int64_t i = 0; i < h.size(0); ++i) {
        each.g.push_back({oracle::Dot(ToVector(h[i]), ToVector(d[i]))});
        each.absolute.push_back({oracle::Dot(ToVector(h[i].abs()), ToVector(d[i].abs()))});
      }
      each.terms = static_cast<double>(h.numel() + 2);
      ExpectExampleRules(*it.layer, taps[0], d, it.Random({it.table.size()}), it.before, each,
                         "case " + std::to_string(index));
    }
  }
}

TEST(ScaleLayer, LineHasTheDerivativesOfTheProduct) {
  for (uint64_t index = 0; index < 30; ++index) {
    ScaleCase it(index);
    const at::Tensor direction = it.Random({it.table.size()});
    const double scale = 0.25;
    const double move = scale * direction[it.before].item<double>();
    const uint64_t known = index % 3;
    Line h{it.Random(it.shape), {}, {}, {}};
    if (known > 0) h.slope = it.Random(it.shape);
    if (known > 1) h.curvature = it.Random(it.shape);
    if (known > 0) h.moved = it.Random(it.shape);
    for (const bool curvature : {false, true}) {
      const Line z = it.layer->ForwardLine(h, {it.theta, direction, scale, curvature});
      const auto zero = at::zeros(it.shape, at::kDouble);
      const at::Tensor h_slope = known > 0 ? h.slope : zero;
      const at::Tensor h_curvature = known > 1 ? h.curvature : zero;
      const auto expect = [&](const at::Tensor& actual, const at::Tensor& a, double factor_a,
                              const at::Tensor& b, double factor_b) {
        Vector sum = oracle::Plus(Vector(static_cast<size_t>(a.numel())), factor_a, ToVector(a));
        sum = oracle::Plus(sum, factor_b, ToVector(b));
        const at::Tensor terms =
            a.abs().mul(std::abs(factor_a)).add(b.abs().mul(std::abs(factor_b)));
        ExpectWithin(ToVector(actual), sum, ToVector(terms.mul(4 * Epsilon(at::kDouble))),
                     "case " + std::to_string(index));
      };
      EXPECT_TRUE(SameBits(z.value, it.layer->Forward(h.value, {it.theta})));
      expect(z.slope, h_slope, it.alpha, h.value, move);
      const at::Tensor& end = known > 0 ? h.moved : h.value;
      expect(z.moved, end, it.alpha, end, move);
      EXPECT_EQ(z.curvature.defined(), curvature && known > 0);
      if (z.curvature.defined()) expect(z.curvature, h_curvature, it.alpha, h_slope, 2 * move);
    }
  }
}

}  // namespace
}  // namespace sgdscope
