#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "config/registry.h"
#include "core/error.h"
#include "models/model.h"
#include "tests/expect_error.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

Network Build(const std::string& fields, const std::vector<int64_t>& shape, int64_t classes) {
  const auto model = Registry<Model>::entries().at("mlp").make();
  ReadFields(ParseConfig(fields, "test"), "model",
             [&](FieldVisitor& visitor) { model->Fields(visitor); });
  return model->Build(shape, classes, "model");
}

TEST(MlpModel, CountsItsParameters) {
  const std::vector<int64_t> image = {1, 28, 28};
  const auto count = [&](const std::string& fields) {
    return Build(fields, image, 10).table.size();
  };
  EXPECT_EQ(count(R"({"hidden": []})"), 784 * 10 + 10);
  EXPECT_EQ(count(R"({"hidden": [64]})"), 50890);
  EXPECT_EQ(count(R"({"hidden": [2000]})"), 1590010);
  EXPECT_EQ(count(R"({"hidden": [8000]})"), 6360010);
  EXPECT_EQ(count(R"({"hidden": [64], "bias": false})"), 784 * 64 + 64 * 10);
  EXPECT_EQ(count(R"({"hidden": [3, 5, 2]})"), 784 * 3 + 3 + 3 * 5 + 5 + 5 * 2 + 2 + 2 * 10 + 10);
  EXPECT_EQ(Build(R"({"hidden": [4]})", {3}, 2).table.size(), 3 * 4 + 4 + 4 * 2 + 2);
}

TEST(MlpModel, LaysOutThetaLayerByLayer) {
  const Network network = Build(R"({"hidden": [4, 3]})", {2, 3}, 5);
  int64_t offset = 0;
  std::vector<std::string> names;
  for (const Parameter& parameter : network.table.parameters()) {
    names.push_back(parameter.name);
    EXPECT_EQ(parameter.offset, offset) << parameter.name;
    int64_t size = 1;
    for (const int64_t extent : parameter.shape) size *= extent;
    EXPECT_EQ(parameter.size, size) << parameter.name;
    offset += size;
  }
  EXPECT_EQ(offset, network.table.size());
  EXPECT_EQ(names, (std::vector<std::string>{"linear1.weight", "linear1.bias", "linear2.weight",
                                             "linear2.bias", "linear3.weight", "linear3.bias"}));
  EXPECT_EQ(network.table.parameters()[2].shape, (std::vector<int64_t>{3, 4}));
}

TEST(MlpModel, HasNoNonlinearityAfterTheLastLayer) {
  EXPECT_EQ(Build(R"({"hidden": [4], "activation": "tanh"})", {6}, 3).root->Describe(),
            "flatten\nlinear 6 -> 4\ntanh\nlinear 4 -> 3");
  EXPECT_EQ(Build(R"({"hidden": [], "bias": false})", {6}, 3).root->Describe(),
            "flatten\nlinear 6 -> 3 (no bias)");
}

TEST(MlpModel, ComputesTheOraclesLogits) {
  for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    ASSERT_EQ(it.network().table.size(), static_cast<int64_t>(random.mlp.size()));
    const at::Tensor logits = it.oracle.Logits(it.batch, it.theta);
    for (size_t i = 0; i < random.examples.size(); ++i) {
      const auto expected = oracle::Logits(random.mlp, random.theta, random.examples[i].x);
      ExpectNear(ToVector(logits[static_cast<int64_t>(i)]), expected,
                 1e-13 * (1 + oracle::Norm(expected)), random.Text());
    }
  }
}

TEST(MlpModel, RefusesWhatItDoesNotKnow) {
  ExpectError(ErrorKind::kConfig, {"model", "hidden"}, [] { Build("{}", {2}, 2); });
  ExpectError(ErrorKind::kConfig, {"model.hidden[1]", "0"},
              [] { Build(R"({"hidden": [3, 0]})", {2}, 2); });
  ExpectError(ErrorKind::kConfig, {"model.activation", "sigmoid", "relu"},
              [] { Build(R"({"hidden": [3], "activation": "sigmoid"})", {2}, 2); });
  ExpectError(ErrorKind::kConfig, {"model.init", "xavier", "xavier_uniform"},
              [] { Build(R"({"hidden": [3], "init": "xavier"})", {2}, 2); });
}

constexpr size_t kIn = 300;
constexpr size_t kHidden = 200;
constexpr size_t kOut = 10;

Network BuildWith(const std::string& init, size_t hidden = kHidden) {
  return MakeNetwork({{kIn, hidden, kOut}, "relu", true, ""}, init);
}

struct Sample {
  explicit Sample(const oracle::Vector& values) {
    const auto n = static_cast<double>(values.size());
    for (const double x : values) {
      mean += x / n;
      largest = std::max(largest, std::abs(x));
    }
    for (const double x : values) {
      variance += (x - mean) * (x - mean) / n;
      fourth += std::pow(x - mean, 4) / n;
    }
    kurtosis = fourth / (variance * variance);
  }
  double mean = 0, variance = 0, fourth = 0, kurtosis = 0, largest = 0;
};

/// What the documentation says of each init: the variance of a weight, and whether it is normal.
struct InitCase {
  std::string name;
  bool normal;
  double variance;  // for fan_in kIn and fan_out kHidden
};

const std::vector<InitCase> kInits = {
    {"xavier_uniform", false, 6.0 / (kIn + kHidden) / 3},
    {"xavier_normal", true, 2.0 / (kIn + kHidden)},
    {"he_normal", true, 2.0 / kIn},
    {"lecun_normal", true, 1.0 / kIn},
    {"torch_default", false, 1.0 / kIn / 3},
};

TEST(InitialWeights, EachInitHasACase) {
  std::set<std::string> tested;
  for (const InitCase& init : kInits) tested.insert(init.name);
  const auto names = InitNames();
  EXPECT_EQ(tested, std::set<std::string>(names.begin(), names.end()));
}

TEST(InitialWeights, HaveTheDocumentedDistribution) {
  for (const InitCase& init : kInits) {
    const Network network = BuildWith(init.name);
    const at::Tensor theta = InitialTheta(network, 5, at::kDouble);
    const Parameter& weight = network.table.parameters()[0];
    ASSERT_EQ(weight.size, static_cast<int64_t>(kIn * kHidden));
    const Sample sample(ToVector(theta.narrow(0, weight.offset, weight.size)));
    // Five standard errors of mean and variance: E x^4 is 3 (normal) or 9/5 (uniform) variance^2.
    const double fourth = init.normal ? 3 : 1.8;
    const auto n = static_cast<double>(weight.size);
    EXPECT_NEAR(sample.mean, 0, 5 * std::sqrt(init.variance / n)) << init.name;
    EXPECT_NEAR(sample.variance, init.variance, 5 * init.variance * std::sqrt((fourth - 1) / n))
        << init.name;
    // Standard error of the kurtosis: sqrt(24/n) (normal), below it (uniform).
    EXPECT_NEAR(sample.kurtosis, fourth, 5 * std::sqrt(24 / n)) << init.name;
    if (init.normal) continue;
    const double bound = std::sqrt(3 * init.variance);
    EXPECT_LE(sample.largest, bound) << init.name;
    EXPECT_GT(sample.largest, 0.999 * bound) << init.name;  // missed with probability 0.999^60000
  }
}

TEST(InitialWeights, EachLayerHasItsOwnFans) {
  for (const InitCase& init : kInits) {
    const Network network = BuildWith(init.name);
    const at::Tensor theta = InitialTheta(network, 5, at::kDouble);
    const Parameter& weight = network.table.parameters()[2];
    double variance = 0;
    if (init.name.starts_with("xavier")) variance = 2.0 / (kHidden + kOut);
    if (init.name == "he_normal") variance = 2.0 / kHidden;
    if (init.name == "lecun_normal") variance = 1.0 / kHidden;
    if (init.name == "torch_default") variance = 1.0 / kHidden / 3;
    const Sample sample(ToVector(theta.narrow(0, weight.offset, weight.size)));
    const double fourth = init.normal ? 3 : 1.8;
    EXPECT_NEAR(sample.variance, variance,
                5 * variance * std::sqrt((fourth - 1) / static_cast<double>(weight.size)))
        << init.name;
  }
}

TEST(InitialWeights, BiasesAreZeroExceptForTorchDefault) {
  for (const InitCase& init : kInits) {
    const Network network = BuildWith(init.name);
    const at::Tensor theta = InitialTheta(network, 5, at::kDouble);
    for (const Parameter& parameter : network.table.parameters()) {
      if (!parameter.is_bias) continue;
      const Sample sample(ToVector(theta.narrow(0, parameter.offset, parameter.size)));
      if (init.name != "torch_default") {
        EXPECT_EQ(sample.largest, 0) << init.name << " " << parameter.name;
        continue;
      }
      EXPECT_GT(sample.largest, 0) << parameter.name;
      EXPECT_LE(sample.largest, 1 / std::sqrt(static_cast<double>(parameter.fan_in)))
          << parameter.name;
    }
  }
}

TEST(InitialWeights, Float32IsFloat64Rounded) {
  for (const std::string& init : InitNames()) {
    const Network network = BuildWith(init);
    const at::Tensor exact = InitialTheta(network, 5, at::kDouble);
    EXPECT_TRUE(SameBits(InitialTheta(network, 5, at::kFloat), exact.to(at::kFloat))) << init;
    EXPECT_TRUE(SameBits(InitialTheta(network, 5, at::kDouble), exact)) << init;
    EXPECT_FALSE(at::equal(InitialTheta(network, 6, at::kDouble), exact)) << init;
  }
}

TEST(InitialWeights, ParametersAreIndependentStreams) {
  const Network network = BuildWith("lecun_normal");
  const Network wider = BuildWith("lecun_normal", kHidden + 1);
  const at::Tensor theta = InitialTheta(network, 5, at::kDouble);
  const int64_t first = network.table.parameters()[0].size;
  EXPECT_TRUE(
      SameBits(theta.narrow(0, 0, first), InitialTheta(wider, 5, at::kDouble).narrow(0, 0, first)))
      << "more units add weights and change none";
  const Parameter& last = network.table.parameters()[2];
  const at::Tensor scaled = theta.narrow(0, 0, last.size) * std::sqrt(double{kIn} / kHidden);
  EXPECT_FALSE(at::allclose(scaled, theta.narrow(0, last.offset, last.size)));
}

}  // namespace
}  // namespace sgdscope
