#include "nn/group_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "core/rng.h"
#include "models/model.h"
#include "tests/nn/autograd_rules.h"
#include "tests/nn/example_rules.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

int64_t ProductOf(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

/// A group norm, or every third time a layer norm, that lies somewhere inside theta, of lists or of
/// images.
struct NormCase {
  explicit NormCase(uint64_t index, at::ScalarType type = at::kDouble)
      : stream(26, "group norm", index), dtype(type) {
    const auto between = [&](int64_t least, int64_t most) {
      return least + static_cast<int64_t>(stream.Below(static_cast<uint64_t>(most - least + 1)));
    };
    const int64_t each = between(2, 4);  // channels of a group
    groups = index % 3 == 0 ? 1 : between(1, 3);
    shape = {each * groups};
    if (index % 2 == 0) shape.insert(shape.end(), {between(1, 4), between(1, 3)});
    n = between(1, 6);
    before = between(1, 5);
    table.Add("before", {before}, 1, 1, false);
    layer = index % 3 == 0 ? MakeLayerNorm(table, "it", shape)
                           : MakeGroupNorm(table, "it", shape[0], groups);
    features = index % 3 == 0 ? ProductOf(shape) : shape[0];
    table.Add("after", {3}, 1, 1, false);
    theta = Random({table.size()});
  }

  at::Tensor Random(const std::vector<int64_t>& sizes) {
    return RandomTensor(stream, sizes, dtype);
  }
  /// Examples of mean 3: what is subtracted matters.
  at::Tensor Examples() {
    std::vector<int64_t> sizes = {n};
    sizes.insert(sizes.end(), shape.begin(), shape.end());
    return Random(sizes).add(3);
  }

  size_t numbers() const { return static_cast<size_t>(ProductOf(shape)); }
  size_t positions() const { return numbers() / static_cast<size_t>(features); }
  size_t of_group() const { return numbers() / static_cast<size_t>(groups); }

  /// An example's numbers, normalized, and the numbers that their rounding is in proportion to.
  std::pair<Vector, Vector> Normalized(const Vector& h) const {
    Vector x, size;
    for (size_t begin = 0; begin < h.size(); begin += of_group()) {
      double mean = 0, absolute = 0, variance = 0;
      const auto m = static_cast<double>(of_group());
      for (size_t k = begin; k < begin + of_group(); ++k) {
        mean += h[k] / m, absolute += std::abs(h[k]) / m;
      }
      for (size_t k = begin; k < begin + of_group(); ++k) {
        variance += (h[k] - mean) * (h[k] - mean) / m;
      }
      for (size_t k = begin; k < begin + of_group(); ++k) {
        x.push_back((h[k] - mean) / std::sqrt(variance + 1e-5));
        size.push_back((std::abs(h[k]) + absolute) / std::sqrt(variance + 1e-5));
      }
    }
    return {x, size};
  }
  /// An error of the mean, of m terms, moves the variance and so each number of the group.
  double terms() const { return static_cast<double>(4 * of_group() + positions() + 8); }

  Stream stream;
  at::ScalarType dtype;
  int64_t groups = 1, n = 1, before = 0, features = 0;
  std::vector<int64_t> shape;
  ParameterTable table;
  std::unique_ptr<ExampleLayer> layer;
  at::Tensor theta;
};

TEST(GroupNormLayer, ForwardIsTheDefinition) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 30; ++index) {
      NormCase it(index, dtype);
      const at::Tensor h = it.Examples();
      const at::Tensor z = it.layer->Forward(h, {it.theta});
      ASSERT_EQ(z.sizes(), h.sizes());
      EXPECT_FALSE(z.requires_grad());
      const Vector theta = ToVector(it.theta);
      const auto gamma = theta.begin() + it.before, beta = gamma + it.features;
      for (int64_t i = 0; i < it.n; ++i) {
        const auto [x, size] = it.Normalized(ToVector(h[i]));
        Vector expected, bound;
        for (size_t k = 0; k < x.size(); ++k) {
          const auto f = static_cast<int64_t>(k / it.positions());
          expected.push_back(gamma[f] * x[k] + beta[f]);
          // x is off by what its own size has, times how much the variance is off.
          const double off = size[k] * (1 + std::abs(x[k]));
          bound.push_back(it.terms() * Epsilon(dtype) *
                          (std::abs(gamma[f]) * off + std::abs(beta[f])));
        }
        ExpectWithin(ToVector(z[i]), expected, bound, "case " + std::to_string(index));
      }
    }
  }
}

TEST(GroupNormLayer, AgreesWithAutograd) {
  for (uint64_t index = 0; index < 24; ++index) {
    Stream stream(26, "autograd", index);
    ParameterTable table;
    const std::vector<int64_t> shape =
        index % 2 == 0 ? std::vector<int64_t>{6} : std::vector<int64_t>{6, 3, 2};
    const int64_t groups = std::vector<int64_t>{1, 2, 3}[index / 2 % 3];
    const auto layer =
        index < 18 ? MakeGroupNorm(table, "it", 6, groups) : MakeLayerNorm(table, "it", shape);
    std::vector<int64_t> sizes = {4};
    sizes.insert(sizes.end(), shape.begin(), shape.end());
    ExpectRulesOfAutograd(*layer, table.size(), sizes, stream, "norm " + std::to_string(index));
  }
}

TEST(GroupNormLayer, RulesOfSingleExamplesAgreeWithALoop) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 30; ++index) {
      NormCase it(index, dtype);
      const at::Tensor h = it.Examples();
      const at::Tensor d = it.Random(h.sizes().vec());
      std::vector<Tap> taps;
      it.layer->Forward(h, {it.theta, &taps});
      ASSERT_EQ(taps.size(), 1u);
      ExampleGradients each;
      for (int64_t i = 0; i < it.n; ++i) {
        const auto [x, size] = it.Normalized(ToVector(h[i]));
        const Vector dz = ToVector(d[i]);
        const auto features = static_cast<size_t>(it.features);
        Vector g(2 * features), absolute(g.size());
        for (size_t k = 0; k < x.size(); ++k) {
          const size_t f = k / it.positions();
          g[f] += dz[k] * x[k];
          g[features + f] += dz[k];
          absolute[f] += std::abs(dz[k]) * size[k] * (1 + std::abs(x[k]));
          absolute[features + f] += std::abs(dz[k]);
        }
        each.g.push_back(g);
        each.absolute.push_back(absolute);
      }
      each.terms = it.terms() + static_cast<double>(it.n);
      ExpectExampleRules(*it.layer, taps[0], d, it.Random({it.table.size()}), it.before, each,
                         "case " + std::to_string(index));
    }
  }
}

/// Whatever the model's init says.
TEST(GroupNormLayer, StartsAsTheNormalizationAlone) {
  for (const std::string& init : InitNames()) {
    Network network;
    network.init = init;
    MakeGroupNorm(network.table, "group", 3, 1);
    MakeLayerNorm(network.table, "layer", {2, 2});
    EXPECT_EQ(ToVector(InitialTheta(network, 4, at::kDouble)),
              (Vector{1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0}))
        << init;
  }
}

}  // namespace
}  // namespace sgdscope
