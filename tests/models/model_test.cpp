#include "models/model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/registry.h"
#include "core/rng.h"
#include "gradients/oracle.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

// What every registered model must do, on small images.

namespace sgdscope {
namespace {

using oracle::Vector;

/// A registered model with data and random weights.
struct ModelCase {
  explicit ModelCase(const std::string& name, at::ScalarType dtype = at::kDouble)
      : stream(31, name),
        network(MakeExample<Model>(name)->Build({2, 6, 5}, 3, "model")),
        loss(Registry<Loss>::entries().at("cross_entropy").make()),
        split{RandomTensor(stream, {7, 2, 6, 5}), at::arange(7, at::kLong).remainder(3)},
        normalizer("none", split, dtype),
        oracle(network, *loss, split, normalizer),
        batch(oracle.Load(at::arange(7, at::kLong))),
        theta(RandomTensor(stream, {network.table.size()}, dtype).mul(0.5)),
        direction(RandomTensor(stream, {network.table.size()}, dtype)) {}

  double LossAt(const at::Tensor& at) const {
    return oracle.Losses(batch, at).mean().item<double>();
  }

  Stream stream;
  Network network;
  std::unique_ptr<Loss> loss;
  Split split;
  Normalizer normalizer;
  Oracle oracle;
  Batch batch;
  at::Tensor theta, direction;
};

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : Registry<Model>::entries()) names.push_back(name);
  return names;
}

class EveryModel : public testing::TestWithParam<std::string> {};

/// Central differences are off by f''' step^2 / 6 and by eps L / step: about 1e-10 each.
constexpr double kStep = 1e-5;
constexpr double kDifference = 1e-8;

TEST_P(EveryModel, GradientIsTheSlopeOfTheLoss) {
  const ModelCase it(GetParam());
  const at::Tensor gradient = it.oracle.Evaluate(it.batch, it.theta).Mean();
  Vector slopes;
  for (int64_t k = 0; k < it.theta.numel(); ++k) {
    const at::Tensor ahead = it.theta.clone(), behind = it.theta.clone();
    ahead[k] += kStep;
    behind[k] -= kStep;
    slopes.push_back((it.LossAt(ahead) - it.LossAt(behind)) / (2 * kStep));
  }
  ExpectNear(ToVector(gradient), slopes, kDifference * (1 + oracle::Norm(slopes)), GetParam());
}

TEST_P(EveryModel, HessianVectorProductIsTheSlopeOfTheGradient) {
  const ModelCase it(GetParam());
  const auto gradient = [&](double s) {
    return ToVector(it.oracle.Evaluate(it.batch, it.theta.add(it.direction, s)).Mean());
  };
  Vector slopes = oracle::Plus(gradient(kStep), -1, gradient(-kStep));
  for (double& slope : slopes) slope /= 2 * kStep;
  const at::Tensor product = it.oracle.HessianVectorProduct(it.batch, it.theta, it.direction);
  EXPECT_GT(oracle::Norm(slopes), 0.01);
  ExpectNear(ToVector(product), slopes, kDifference * (1 + oracle::Norm(slopes)), GetParam());
}

TEST_P(EveryModel, LineAgreesWithGradientAndHessian) {
  const ModelCase it(GetParam());
  const double scale = -0.1;
  const LineLosses line = it.oracle.AlongLine(it.batch, it.theta, it.direction, scale, true);
  const at::Tensor gradient = it.oracle.Evaluate(it.batch, it.theta).Mean();
  const at::Tensor product = it.oracle.HessianVectorProduct(it.batch, it.theta, it.direction);
  const double slope = scale * gradient.dot(it.direction).item<double>();
  const double curvature = scale * scale * product.dot(it.direction).item<double>();
  // Two ways of a few hundred roundings each.
  EXPECT_NEAR(line.slope.mean().item<double>(), slope, 1e-12 * (1 + std::abs(slope)));
  EXPECT_NEAR(line.curvature.mean().item<double>(), curvature, 1e-12 * (1 + std::abs(curvature)));
  EXPECT_NEAR(line.moved.mean().item<double>(), it.LossAt(it.theta.add(it.direction, scale)),
              1e-12);
}

/// The same inputs give the same bits, and leave all that they were given as it was.
TEST_P(EveryModel, EvaluatingChangesNothing) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const ModelCase it(GetParam(), dtype);
    const at::Tensor theta = it.theta.clone();
    const at::Tensor inputs = it.batch.inputs.clone();
    const Gradients first = it.oracle.Evaluate(it.batch, it.theta);
    const at::Tensor losses = first.losses.clone();
    const at::Tensor mean = first.Mean().clone();
    EXPECT_EQ(mean.scalar_type(), dtype);
    it.oracle.AlongLine(it.batch, it.theta, it.direction, 0.1, true, &first);
    const Gradients second = it.oracle.Evaluate(it.batch, it.theta);
    EXPECT_TRUE(SameBits(first.losses, losses) && SameBits(second.losses, losses));
    EXPECT_TRUE(SameBits(first.Mean(), mean) && SameBits(second.Mean(), mean));
    EXPECT_TRUE(SameBits(it.theta, theta) && SameBits(it.batch.inputs, inputs));
  }
}

/// Probe separate_updates either measures a model or refuses it before the run; one block a tensor
/// works with any.
TEST_P(EveryModel, SeparateUpdatesAreMeasuredOrRefused) {
  for (const std::string& block : BlockNames()) {
    Json config = SyntheticConfig();
    config["data"]["shape"] = {2, 6, 5};
    config["model"] = ExampleFields<Model>(GetParam());
    config["model"]["name"] = GetParam();
    config["probes"] = {{{"name", "separate_updates"}, {"every", 1}, {"block", block}}};
    const auto read = ReadRunConfig(config);
    try {
      const Experiment experiment(*read);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_NE(block, "tensor") << error.what();
      EXPECT_NE(std::string(error.what()).find("probes[0].block"), std::string::npos);
      EXPECT_NE(GetParam(), "mlp");
      continue;
    }
    ShortRun run(config);
    EXPECT_TRUE(run.stepper().Step(0).probes[0].isfinite().all().item<bool>()) << block;
    EXPECT_FALSE(GetParam() == "convnet" && block != "tensor");
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryModel, testing::ValuesIn(ModelNames()),
                         [](const auto& info) { return info.param; });

/// Also where the size of the data is still unknown.
TEST(ModelsAndProbes, SeparateUpdatesOfConvolutionsSayWhatToDo) {
  Json config = SyntheticConfig();
  config["data"] = {{"name", "mnist"}, {"path", "/nowhere"}};
  config["model"] = {{"name", "convnet"}, {"channels", {2}}};
  config["probes"] = {{{"name", "separate_updates"}, {"every", 1}}};
  const auto read = ReadRunConfig(config);
  ExpectError(ErrorKind::kConfig,
              {"probes[0].block", "\"weight\"", "fully connected", "conv1.weight", "\"tensor\""},
              [&] { const Experiment experiment(*read); });
}

}  // namespace
}  // namespace sgdscope
