#include "gradients/oracle.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "nn/activation.h"
#include "nn/sequence.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

// Tolerances: each number of a gradient goes through sums of Sums() = n + all widths terms, forward
// and backward, so its error is a small multiple of Sums() eps times what is summed. The scale is
// the largest example's norm, in which cancellation within the batch doesn't count.

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr uint64_t kCases = 3 * kCombinations;

double Tolerance(const RandomMlp& random, at::ScalarType dtype) {
  return 8 * random.Sums() * Epsilon(dtype);
}

double LargestGradient(const RandomMlp& random) {
  double largest = 0;
  for (const auto& example : random.examples) {
    largest = std::max(largest, oracle::Norm(oracle::Gradient(random.mlp, random.theta, example)));
  }
  return largest;
}

/// Where softmax saturates, terms of the size |gradient| |v| cancel in H v: they are part of its
/// scale.
double HessianScale(const RandomMlp& random, const Vector& v) {
  double largest = 0;
  for (const auto& example : random.examples) {
    const Vector product = oracle::HessianVector(random.mlp, random.theta, example, v);
    largest = std::max(largest, oracle::Norm(product));
  }
  return largest + oracle::Norm(v) * LargestGradient(random);
}

Vector LossesAt(const RandomMlp& random, const Vector& theta) {
  Vector losses;
  for (const auto& example : random.examples)
    losses.push_back(oracle::LossAt(random.mlp, theta, example));
  return losses;
}

/// The oracles themselves: backpropagation against differences of the loss, the R-operator against
/// differences of the gradient. Five points: the error is O(h^4) + eps/h, 1e-12 for h = 1e-3, times
/// the fifth derivative; tests/oracles.h is right to many more digits than a wrong formula would
/// leave.
TEST(SlowOracle, DerivativesAreThoseOfTheLoss) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    Stream stream(30, "direction", index);
    Vector v = RandomVector(stream, random.mlp.size());
    const double length = oracle::Norm(v);
    for (double& value : v) value /= length;
    const oracle::Example& example = random.examples[0];
    const Vector gradient = oracle::Gradient(random.mlp, random.theta, example);
    const Vector product = oracle::HessianVector(random.mlp, random.theta, example, v);
    // Small enough that relu stays on its side of the kink, 1e-3 away.
    const double h = random.mlp.activation == "relu" ? 2e-5 : 1e-3;
    const auto at = [&](double s) { return oracle::Plus(random.theta, s, v); };
    const auto loss = [&](double s) { return oracle::LossAt(random.mlp, at(s), example); };
    const double slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h);
    const auto gradient_at = [&](double s) { return oracle::Gradient(random.mlp, at(s), example); };
    Vector change = oracle::Plus(gradient_at(h), -1, gradient_at(-h));
    change = oracle::Plus(Vector(change.size()), 8, change);
    change = oracle::Plus(change, -1, gradient_at(2 * h));
    change = oracle::Plus(change, 1, gradient_at(-2 * h));
    for (double& value : change) value /= 12 * h;
    EXPECT_NEAR(oracle::Dot(gradient, v), slope, 1e-7 * (1 + oracle::Norm(gradient)))
        << random.Text();
    ExpectNear(change, product, 1e-7 * (1 + oracle::Norm(product)), random.Text());
  }
}

class BothTypes : public testing::TestWithParam<at::ScalarType> {};

std::string TypeName(const testing::TestParamInfo<at::ScalarType>& info) {
  return info.param == at::kDouble ? "float64" : "float32";
}

using OracleGradient = BothTypes;
INSTANTIATE_TEST_SUITE_P(Types, OracleGradient, testing::Values(at::kDouble, at::kFloat), TypeName);

TEST_P(OracleGradient, LossesAndMeanGradientAreTheOracles) {
  for (uint64_t index = 0; index < kCases; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, GetParam());
    const at::Tensor theta_before = it.theta.clone();
    const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
    const Vector losses = LossesAt(random, random.theta);
    const double tolerance = Tolerance(random, GetParam());

    ASSERT_EQ(gradients.Mean().scalar_type(), GetParam());
    EXPECT_FALSE(gradients.Mean().requires_grad() || gradients.losses.requires_grad());
    EXPECT_FALSE(it.theta.requires_grad() || it.batch.inputs.requires_grad());
    EXPECT_TRUE(SameBits(it.theta, theta_before));
    ExpectNear(ToVector(gradients.Mean()),
               oracle::MeanGradient(random.mlp, random.theta, random.examples),
               tolerance * LargestGradient(random), random.Text());
    // A loss is a difference of logits, each of them such a sum.
    const double size = it.oracle.Logits(it.batch, it.theta).abs().max().item<double>();
    ExpectNear(ToVector(gradients.losses), losses, tolerance * (size + 1) * (size + 1),
               random.Text());
    EXPECT_TRUE(SameBits(gradients.losses, it.oracle.Losses(it.batch, it.theta))) << random.Text();
    EXPECT_TRUE(SameBits(gradients.Mean(), it.oracle.Evaluate(it.batch, it.theta).Mean()))
        << random.Text();
  }
}

TEST_P(OracleGradient, AgreesWithAutogradOnTheta) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, GetParam());
    const at::Tensor leaf = it.theta.clone().requires_grad_(true);
    const at::Tensor z = it.network().root->Forward(it.batch.inputs, {leaf});
    const at::Tensor loss = it.loss().Losses(z, it.batch.labels).mean();
    const at::Tensor expected = torch::autograd::grad({loss}, {leaf})[0];
    ExpectNear(ToVector(it.oracle.Evaluate(it.batch, it.theta).Mean()), ToVector(expected),
               Tolerance(random, GetParam()) * LargestGradient(random), random.Text());
  }
}

using OracleHessian = BothTypes;
INSTANTIATE_TEST_SUITE_P(Types, OracleHessian, testing::Values(at::kDouble, at::kFloat), TypeName);

TEST_P(OracleHessian, VectorProductIsTheOracles) {
  for (uint64_t index = 0; index < kCases; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, GetParam());
    Stream stream(31, "v", index);
    const Vector v = RandomVector(stream, random.mlp.size());
    const at::Tensor product =
        it.oracle.HessianVectorProduct(it.oracle.Evaluate(it.batch, it.theta, /*keep_graph=*/true),
                                       ToTensor(v, it.theta.sizes().vec(), GetParam()));
    EXPECT_FALSE(product.requires_grad());
    ExpectNear(ToVector(product),
               oracle::MeanHessianVector(random.mlp, random.theta, random.examples, v),
               Tolerance(random, GetParam()) * HessianScale(random, v), random.Text());
  }
}

using OracleLine = BothTypes;
INSTANTIATE_TEST_SUITE_P(Types, OracleLine, testing::Values(at::kDouble, at::kFloat), TypeName);

TEST_P(OracleLine, ValuesAndDerivativesAreTheOracles) {
  for (uint64_t index = 0; index < kCases; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, GetParam());
    Stream stream(32, "direction", index);
    const Vector direction = RandomVector(stream, random.mlp.size());
    const double scale = -0.125;  // exact, so that the moved theta is the same in float32
    const LineLosses line = it.oracle.AlongLine(
        it.batch, it.theta, ToTensor(direction, it.theta.sizes().vec(), GetParam()), scale,
        index % 2 == 0);
    Vector slopes;
    Vector curvatures;
    for (const auto& example : random.examples) {
      slopes.push_back(scale *
                       oracle::Dot(oracle::Gradient(random.mlp, random.theta, example), direction));
      const Vector product = oracle::HessianVector(random.mlp, random.theta, example, direction);
      curvatures.push_back(scale * scale * oracle::Dot(direction, product));
    }
    const Vector moved_theta = oracle::Plus(random.theta, scale, direction);
    const Vector moved = LossesAt(random, moved_theta);
    const double tolerance = Tolerance(random, GetParam());
    const double length = oracle::Norm(direction);
    const double values = it.oracle.Logits(it.batch, it.theta).abs().max().item<double>() + 1;
    const double moved_size =
        it.oracle.Logits(it.batch, ToTensor(moved_theta, it.theta.sizes().vec(), GetParam()))
            .abs()
            .max()
            .item<double>() +
        1;
    const double slope_scale = std::abs(scale) * length * LargestGradient(random);
    const double curvature_scale = scale * scale * length * HessianScale(random, direction);

    for (const at::Tensor& tensor : {line.value, line.slope, line.moved}) {
      ASSERT_EQ(tensor.scalar_type(), at::kDouble);
      ASSERT_EQ(tensor.sizes(), at::IntArrayRef({it.batch.size()}));
      EXPECT_FALSE(tensor.requires_grad());
    }
    ExpectNear(ToVector(line.value), LossesAt(random, random.theta), tolerance * values * values,
               random.Text());
    ExpectNear(ToVector(line.moved), moved, tolerance * moved_size * moved_size, random.Text());
    ExpectNear(ToVector(line.slope), slopes, tolerance * slope_scale, random.Text());
    ASSERT_EQ(line.curvature.defined(), index % 2 == 0) << random.Text();
    if (index % 2 == 0) {
      ExpectNear(ToVector(line.curvature), curvatures, tolerance * curvature_scale, random.Text());
    }
  }
}

/// Three ways of the program to one number, which share no code beyond the layers' forward pass.
TEST(OracleConsistency, LineGradientAndHessianAgree) {
  for (uint64_t index = 0; index < kCases; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    Stream stream(33, "direction", index);
    const at::Tensor direction = RandomTensor(stream, it.theta.sizes().vec());
    const double scale = 0.37;
    const LineLosses line = it.oracle.AlongLine(it.batch, it.theta, direction, scale, true);
    const at::Tensor mean = it.oracle.Evaluate(it.batch, it.theta).Mean();
    const at::Tensor product = it.oracle.HessianVectorProduct(
        it.oracle.Evaluate(it.batch, it.theta, /*keep_graph=*/true), direction);
    const double tolerance = Tolerance(random, at::kDouble);
    const double length = direction.norm().item<double>();
    const double slope_scale = scale * length * LargestGradient(random);
    const double curvature_scale =
        scale * scale * length * HessianScale(random, ToVector(direction));
    EXPECT_NEAR(line.slope.mean().item<double>(), scale * mean.dot(direction).item<double>(),
                tolerance * slope_scale)
        << random.Text();
    EXPECT_NEAR(line.curvature.mean().item<double>(),
                scale * scale * direction.dot(product).item<double>(), tolerance * curvature_scale)
        << random.Text();
    const at::Tensor moved = it.oracle.Losses(it.batch, it.theta + scale * direction);
    ExpectNear(ToVector(line.moved), ToVector(moved), 1e-12 * (1 + moved.norm().item<double>()),
               random.Text());
  }
}

TEST(OracleConsistency, ALineIsTheSameWhenItsFirstExamplesAreKnown) {
  for (uint64_t index = 0; index < kCases; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    Stream stream(34, "direction", index);
    const at::Tensor direction = RandomTensor(stream, it.theta.sizes().vec());
    const LineLosses plain = it.oracle.AlongLine(it.batch, it.theta, direction, 0.37, true);
    for (const int64_t known : {int64_t{1}, it.batch.size()}) {
      const Batch first = it.oracle.Load(it.batch.indices.narrow(0, 0, known));
      const Gradients evaluated = it.oracle.Evaluate(first, it.theta);
      const LineLosses line =
          it.oracle.AlongLine(it.batch, it.theta, direction, 0.37, true, &evaluated);
      const auto expect = [&](const at::Tensor& a, const at::Tensor& b) {
        ExpectNear(ToVector(a), ToVector(b), 1e-12 * (1 + b.norm().item<double>()), random.Text());
        EXPECT_FALSE(a.requires_grad());
      };
      expect(line.value, plain.value);
      expect(line.slope, plain.slope);
      expect(line.curvature, plain.curvature);
      expect(line.moved, plain.moved);
    }
  }
}

TEST(OracleConsistency, TheMeanGradientIsTheMeanOfBatchesOfOne) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    at::Tensor sum = at::zeros_like(it.theta);
    for (int64_t i = 0; i < it.batch.size(); ++i) {
      sum = sum + it.oracle.Evaluate(it.oracle.Load(at::full({1}, i, at::kLong)), it.theta).Mean();
    }
    const at::Tensor mean = it.oracle.Evaluate(it.batch, it.theta).Mean();
    ExpectNear(ToVector(mean), ToVector(sum / it.batch.size()),
               Tolerance(random, at::kDouble) * LargestGradient(random), random.Text());
  }
}

/// Logits are what comes out of the network, also where its last layer has no parameters.
TEST(OracleConsistency, ChangesOfTheLossAreThoseOfTheNetworksOutput) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    Network network = MakeNetwork(random.mlp);
    auto root = std::make_unique<Sequence>();
    root->Append(std::move(network.root));
    root->Append(MakeActivation("tanh"));
    network.root = std::move(root);
    const OracleUnderTest it(std::move(network), random, at::kDouble);
    Stream stream(35, "direction", index);
    const at::Tensor moved = it.theta.add(RandomTensor(stream, it.theta.sizes().vec()), 0.1);
    const Gradients evaluated = it.oracle.Evaluate(it.batch, it.theta);
    EXPECT_TRUE(SameBits(evaluated.logits, it.oracle.Logits(it.batch, it.theta)));
    const double change =
        MeanLoss(it.oracle.Losses(it.batch, moved)).sub(MeanLoss(evaluated.losses)).item<double>();
    // Losses of logits between -1 and 1 are below 10.
    const double bound = 10 * random.Sums() * Epsilon(at::kDouble);
    EXPECT_NEAR(it.oracle.MeanChange(it.batch, evaluated, moved).item<double>(), change, bound);
    const Gradients last = evaluated.OfPart(it.batch.size() - 1, 1);
    EXPECT_TRUE(SameBits(last.logits, evaluated.logits.narrow(0, it.batch.size() - 1, 1)));
  }
}

TEST(OracleLoad, GathersTheNamedExamples) {
  const RandomMlp random = MakeRandomMlp(1);
  const OracleUnderTest it(random, at::kDouble);
  ASSERT_GE(random.examples.size(), 2u);
  EXPECT_EQ(it.oracle.size(), static_cast<int64_t>(random.examples.size()));
  const at::Tensor indices = at::tensor(std::vector<int64_t>{1, 0, 1}, at::kLong);
  const Batch batch = it.oracle.Load(indices);
  EXPECT_EQ(batch.size(), 3);
  EXPECT_TRUE(SameBits(batch.indices, indices));
  for (int64_t row = 0; row < 3; ++row) {
    const oracle::Example& example = random.examples[row == 1 ? 0 : 1];
    EXPECT_EQ(ToVector(batch.inputs[row]), example.x);
    EXPECT_EQ(batch.labels[row].item<int64_t>(), static_cast<int64_t>(example.label));
  }
}

TEST(MeanLossOfABatch, IsTheMeanInDouble) {
  const at::Tensor losses = at::tensor(std::vector<float>{16777216.0f, 1.0f, 1.0f}, at::kFloat);
  EXPECT_EQ(MeanLoss(losses).item<double>(), 16777218.0 / 3);  // 2^24 + 1 is no float
  EXPECT_EQ(MeanLoss(losses).scalar_type(), at::kDouble);
}

}  // namespace
}  // namespace sgdscope
