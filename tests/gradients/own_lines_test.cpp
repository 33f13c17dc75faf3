#include "gradients/own_lines.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <utility>

#include "config/registry.h"
#include "core/rng.h"
#include "nn/activation.h"
#include "nn/dense_chain.h"
#include "nn/linear.h"
#include "nn/sequence.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

// Against Hessian-vector products by loops over single examples in double.

namespace sgdscope {
namespace {

using oracle::Vector;

struct Expected {
  double product, squared_norm, size;  // size: |g| |H g|
};

Expected Definition(const RandomMlp& random, const at::Tensor& indices) {
  std::vector<oracle::Example> examples;
  for (const double index : ToVector(indices)) {
    examples.push_back(random.examples[static_cast<size_t>(index)]);
  }
  const Vector g = oracle::MeanGradient(random.mlp, random.theta, examples);
  const Vector product = oracle::MeanHessianVector(random.mlp, random.theta, examples, g);
  return {oracle::Dot(g, product), oracle::Dot(g, g), oracle::Norm(g) * oracle::Norm(product)};
}

class OwnLines : public ::testing::TestWithParam<at::ScalarType> {};

/// Alone, and three batches that were joined: the examples, all but the first, and one of them alone.
TEST_P(OwnLines, AreThoseOfEachBatchesGradient) {
  for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    SCOPED_TRACE(random.Text());
    const OracleUnderTest it(random, GetParam());
    ASSERT_EQ(InTheWayOfDenseChain(*it.network().root), nullptr);
    const auto n = static_cast<int64_t>(random.examples.size());
    const at::Tensor all = at::arange(n, at::kLong);
    const std::vector<at::Tensor> parts = {all, all.clamp_min(1).clamp_max(n - 1),
                                           at::full({n}, n / 2, at::kLong)};
    for (const int64_t count : {1, 3}) {
      const std::vector<at::Tensor> batches(parts.begin(), parts.begin() + count);
      Batch joined = it.oracle.Load(at::cat(batches));
      if (count > 1) joined.parts.assign(static_cast<size_t>(count), n);
      const OwnCurvature found =
          AlongOwnGradients(it.oracle, joined, it.theta, it.oracle.Evaluate(joined, it.theta));
      ASSERT_EQ(found.products.sizes(), at::IntArrayRef({count}));
      for (int64_t k = 0; k < count; ++k) {
        const auto [product, squared_norm, size] =
            Definition(random, parts[static_cast<size_t>(k)]);
        // Forward, backward and the sweep: three times as many sums as a gradient has. Curvature is
        // a sum over examples and paths whose parts may be larger than it is.
        const double relative = 100 * random.Sums() * Epsilon(GetParam());
        EXPECT_NEAR(found.products[k].item<double>(), product, relative * (size + squared_norm))
            << k << " of " << count;
        EXPECT_NEAR(found.squared_norms[k].item<double>(), squared_norm, relative * squared_norm)
            << k << " of " << count;
      }
    }
  }
}

/// So many examples, and so wide layers, that products of examples are made in several blocks: against
/// the product with the Hessian by autograd.
TEST(OwnLinesOfLargeBatches, AreThoseOfTheGradient) {
  constexpr int64_t kSize = 70;
  Network network;
  auto root = std::make_unique<Sequence>();
  root->Append(MakeLinear(network.table, "a", 400, 100, true));
  root->Append(MakeActivation("tanh"));
  root->Append(MakeLinear(network.table, "b", 100, 120, false));
  root->Append(MakeActivation("relu"));
  root->Append(MakeLinear(network.table, "c", 120, 3, true));
  network.root = std::move(root);
  Stream stream(76, "large");
  const at::Tensor theta = RandomTensor(stream, {network.table.size()}).mul(0.1);
  const Split split{RandomTensor(stream, {2 * kSize, 400}),
                    at::arange(2 * kSize, at::kLong).remainder(3)};
  const auto loss = Registry<Loss>::entries().at("cross_entropy").make();
  const Normalizer normalizer("none", split, at::kDouble);
  const Oracle oracle(network, *loss, split, normalizer);
  Batch joined = oracle.Load(at::arange(2 * kSize, at::kLong));
  joined.parts = {kSize, kSize};
  const OwnCurvature found =
      AlongOwnGradients(oracle, joined, theta, oracle.Evaluate(joined, theta));
  for (int64_t k = 0; k < 2; ++k) {
    const Batch batch = oracle.Load(at::arange(k * kSize, (k + 1) * kSize, at::kLong));
    const Gradients evaluated = oracle.Evaluate(batch, theta, /*keep_graph=*/true);
    const at::Tensor g = evaluated.Mean();
    const at::Tensor product = oracle.HessianVectorProduct(evaluated, g);
    const double size = g.norm().mul(product.norm()).item<double>();
    EXPECT_NEAR(found.products[k].item<double>(), g.dot(product).item<double>(), 1e-12 * size) << k;
    const double norm = g.dot(g).item<double>();
    EXPECT_NEAR(found.squared_norms[k].item<double>(), norm, 1e-12 * norm) << k;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, OwnLines, ::testing::Values(at::kFloat, at::kDouble));

}  // namespace
}  // namespace sgdscope
