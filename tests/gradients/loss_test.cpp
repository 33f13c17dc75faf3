#include "gradients/loss.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "config/registry.h"
#include "core/rng.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

at::Tensor RandomLabels(Stream& stream, int64_t n, int64_t classes) {
  at::Tensor labels = at::empty({n}, at::kLong);
  for (int64_t i = 0; i < n; ++i) {
    labels.data_ptr<int64_t>()[i] =
        static_cast<int64_t>(stream.Below(static_cast<uint64_t>(classes)));
  }
  return labels;
}

/// A loss of labels, or of targets.
struct LossCase {
  std::string name;
  bool targets;
  std::unique_ptr<Loss> loss = Registry<Loss>::entries().at(name).make();

  at::Tensor Labels(Stream& stream, int64_t n, int64_t classes) const {
    return targets ? RandomTensor(stream, {n, classes}) : RandomLabels(stream, n, classes);
  }
};

std::vector<LossCase> AllLosses() {
  std::vector<LossCase> cases;
  for (const auto& [name, entry] : Registry<Loss>::entries()) {
    cases.push_back({name, false});
    if (cases.back().loss->TakesTargets()) cases.push_back({name, true});
  }
  return cases;
}

/// Every registered loss: one number an example, and a line whose derivatives are those of Losses.
TEST(LossContract, LineAgreesWithAutograd) {
  for (const auto& it : AllLosses()) {
    const auto& [name, targets, loss] = it;
    Stream stream(40, name);
    for (const int64_t n : {1, 6}) {
      for (const int64_t classes : {1, 2, 3, 10}) {
        const std::vector<int64_t> sizes = {n, classes};
        const Line z{RandomTensor(stream, sizes), RandomTensor(stream, sizes),
                     RandomTensor(stream, sizes), RandomTensor(stream, sizes)};
        const at::Tensor labels = it.Labels(stream, n, classes);
        // Examples don't mix, so that the derivatives of the sum by s [n, 1] are the examples' own.
        const at::Tensor s = at::zeros({n, 1}, at::kDouble).requires_grad_(true);
        const at::Tensor losses =
            loss->Losses(z.value + s * z.slope + 0.5 * s * s * z.curvature, labels);
        ASSERT_EQ(losses.sizes(), at::IntArrayRef({n})) << name;
        const at::Tensor first = torch::autograd::grad({losses.sum()}, {s}, {}, true, true)[0];
        const at::Tensor second = torch::autograd::grad({first.sum()}, {s})[0];
        const double bound = 1e-14 * static_cast<double>(n * classes * 10);
        for (const bool curvature : {false, true}) {
          const LineLosses line = loss->AlongLine(z, labels, curvature);
          ExpectNear(ToVector(line.value), ToVector(losses), bound, name + " value");
          ExpectNear(ToVector(line.slope), ToVector(first), bound, name + " slope");
          ExpectNear(ToVector(line.moved), ToVector(loss->Losses(z.moved, labels)), bound,
                     name + " moved");
          ASSERT_EQ(line.curvature.defined(), curvature) << name;
          if (curvature)
            ExpectNear(ToVector(line.curvature), ToVector(second), bound, name + " curvature");
        }
        const at::Tensor zeros = at::zeros(sizes, at::kDouble);
        const LineLosses flat = loss->AlongLine({z.value, z.slope, {}, z.moved}, labels, true);
        const LineLosses bent = loss->AlongLine({z.value, z.slope, zeros, z.moved}, labels, true);
        ExpectNear(ToVector(flat.curvature), ToVector(bent.curvature), bound,
                   name + ": undefined is zero");
      }
    }
  }
}

TEST(LossContract, LineIsInDoubleAndLossesInTheirOwnType) {
  for (const auto& it : AllLosses()) {
    const auto& [name, targets, loss] = it;
    Stream stream(41, name);
    const at::Tensor z = RandomTensor(stream, {4, 3}, at::kFloat);
    const at::Tensor labels = it.Labels(stream, 4, 3);
    EXPECT_EQ(loss->Losses(z, labels).scalar_type(), at::kFloat) << name;
    const LineLosses line = loss->AlongLine({z, z, z, z}, labels, true);
    for (const at::Tensor& tensor : {line.value, line.slope, line.curvature, line.moved}) {
      EXPECT_EQ(tensor.scalar_type(), at::kDouble) << name;
    }
    const at::Tensor exact = loss->Losses(z.to(at::kDouble), labels);
    ExpectNear(ToVector(line.value), ToVector(exact), 1e-14,
               name + ": not rounded to float on the way");
    EXPECT_GE(line.value.min().item<double>(), 0) << name;
  }
}

TEST(LossValues, AreTheOracles) {
  for (const std::string name : {"cross_entropy", "mean_squared_error"}) {
    const auto loss = Registry<Loss>::entries().at(name).make();
    Stream stream(42, name);
    for (const int64_t classes : {1, 2, 5, 100}) {
      const at::Tensor z = 5 * RandomTensor(stream, {8, classes});
      const at::Tensor labels = RandomLabels(stream, 8, classes);
      const at::Tensor losses = loss->Losses(z, labels);
      for (int64_t i = 0; i < 8; ++i) {
        const double expected =
            oracle::LossOf(name, ToVector(z[i]), static_cast<size_t>(labels[i].item<int64_t>()));
        EXPECT_NEAR(losses[i].item<double>(), expected, 1e-13 * (10 + expected))
            << name << " " << classes;
      }
    }
  }
}

/// Moves of all examples along one direction, in several ways at once.
TEST(LossContract, MeanChangesAreThoseOfTheLosses) {
  for (const auto& it : AllLosses()) {
    Stream stream(43, it.name);
    const at::Tensor z = RandomTensor(stream, {5, 3}), labels = it.Labels(stream, 5, 3);
    const at::Tensor shift = RandomTensor(stream, {4, 5}), direction = RandomTensor(stream, {4, 3});
    oracle::Vector expected;
    for (int64_t v = 0; v < 4; ++v) {
      const at::Tensor moved = z + shift[v].unsqueeze(1) * direction[v];
      const at::Tensor change = it.loss->Losses(moved, labels) - it.loss->Losses(z, labels);
      expected.push_back(change.mean().item<double>());
    }
    ExpectNear(ToVector(it.loss->MeanChanges(z, labels, shift, direction)), expected, 1e-13,
               it.name);
  }
}

TEST(LossValues, SquaredErrorOfTargetsByHand) {
  const auto squared = Registry<Loss>::entries().at("mean_squared_error").make();
  const at::Tensor z = ToTensor({3, 1, 0, 0}, {2, 2});
  const at::Tensor targets = ToTensor({2.5, -1, 0, 4}, {2, 2});
  EXPECT_EQ(ToVector(squared->Losses(z, targets)), (oracle::Vector{4.25 / 2, 8}));
  EXPECT_EQ(ToVector(squared->Losses(z, targets.to(at::kFloat))), (oracle::Vector{4.25 / 2, 8}));
  EXPECT_FALSE(Registry<Loss>::entries().at("cross_entropy").make()->TakesTargets());
}

TEST(LossValues, ByHand) {
  const auto cross_entropy = Registry<Loss>::entries().at("cross_entropy").make();
  const auto squared = Registry<Loss>::entries().at("mean_squared_error").make();
  const at::Tensor z = at::tensor(std::vector<double>{3, 1, 0, 0}, at::kDouble).view({1, 4});
  const at::Tensor label = at::zeros({1}, at::kLong);
  EXPECT_NEAR(cross_entropy->Losses(z, label).item<double>(),
              std::log(std::exp(3.0) + std::exp(1.0) + 2) - 3, 1e-15);
  EXPECT_EQ(squared->Losses(z, label).item<double>(), (4.0 + 1) / 4);
}

/// exp(1000) overflows: the largest logit must be taken out first.
/// At a perfect fit derivatives are far below the slopes that they are made of: digits count
/// relative to the derivative. With two classes q_1 = 1 / (1 + e^gap), L' = q_1 (z'_1 - z'_0) and
/// L'' = q_0 q_1 (z'_1 - z'_0)^2.
TEST(LossValues, CrossEntropyOnALineKeepsItsDigitsWhereTheLabelIsAlmostCertain) {
  const auto cross_entropy = Registry<Loss>::entries().at("cross_entropy").make();
  const at::Tensor label = at::zeros({1}, at::kLong);
  for (const double gap : {10.0, 30.0, 300.0}) {
    const at::Tensor z = ToTensor({0, -gap}, {1, 2});
    const at::Tensor slope = ToTensor({0.7, 2.9}, {1, 2});
    const at::Tensor bend = ToTensor({5.3, 5.1}, {1, 2});
    const LineLosses line = cross_entropy->AlongLine({z, slope, bend, z}, label, true);
    const double q = 1 / (1 + std::exp(gap));
    EXPECT_NEAR(line.slope.item<double>() / (q * 2.2), 1, 1e-13) << gap;
    const double curvature = q * (1 - q) * 2.2 * 2.2 - q * 0.2;
    EXPECT_NEAR(line.curvature.item<double>() / curvature, 1, 1e-13) << gap;
  }
}

TEST(LossValues, CrossEntropyOfLargeLogitsIsFinite) {
  const auto loss = Registry<Loss>::entries().at("cross_entropy").make();
  const at::Tensor z = at::tensor(std::vector<double>{1000, -1000}, at::kDouble).view({1, 2});
  const at::Tensor label = at::ones({1}, at::kLong);
  EXPECT_EQ(loss->Losses(z, label).item<double>(), 2000);
  const LineLosses line = loss->AlongLine({z, z, {}, z}, label, true);
  EXPECT_EQ(line.value.item<double>(), 2000);
  EXPECT_EQ(line.slope.item<double>(), 2000);
  EXPECT_EQ(line.curvature.item<double>(), 0);
}

}  // namespace
}  // namespace sgdscope
