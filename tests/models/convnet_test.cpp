#include <gtest/gtest.h>

#include "config/json.h"
#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "models/model.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

Network Build(const std::string& fields, const std::vector<int64_t>& shape, int64_t classes) {
  const auto model = Registry<Model>::entries().at("convnet").make();
  ReadFields(ParseConfig(fields, "test"), "model",
             [&](FieldVisitor& visitor) { model->Fields(visitor); });
  model->Check("model");
  return model->Build(shape, classes, "model");
}

TEST(ConvNetModel, CountsItsParameters) {
  const auto count = [](const std::string& fields, const std::vector<int64_t>& shape) {
    return Build(fields, shape, 10).table.size();
  };
  EXPECT_EQ(count(R"({"channels": [8, 16]})", {1, 28, 28}),
            8 * 9 + 8 + 16 * 8 * 9 + 16 + 16 * 7 * 7 * 10 + 10);
  // 32 x 30 pixels become 10 x 10, then 3 x 3.
  EXPECT_EQ(count(R"({"channels": [4, 6], "kernel": 5, "pool": 3, "hidden": [7], "bias": false})",
                  {3, 32, 30}),
            4 * 3 * 25 + 6 * 4 * 25 + 6 * 3 * 3 * 7 + 7 * 10);
  EXPECT_EQ(count(R"({"channels": [2], "pool": 1, "kernel": 1})", {3, 4, 5}),
            2 * 3 + 2 + 2 * 4 * 5 * 10 + 10);
  EXPECT_EQ(count(R"({"channels": [2, 3, 4, 5], "pool": 2})", {1, 16, 16}),
            2 * 9 + 2 + 3 * 2 * 9 + 3 + 4 * 3 * 9 + 4 + 5 * 4 * 9 + 5 + 5 * 10 + 10);
}

TEST(ConvNetModel, ListsItsLayersAndParameters) {
  const Network network =
      Build(R"({"channels": [4, 6], "hidden": [7], "activation": "tanh", "init": "he_normal"})",
            {3, 8, 8}, 5);
  EXPECT_EQ(network.root->Describe(),
            "conv 3 -> 4, 3 x 3, stride 1, padding 1\ntanh\nmax pool 2 x 2, stride 2\n"
            "conv 4 -> 6, 3 x 3, stride 1, padding 1\ntanh\nmax pool 2 x 2, stride 2\n"
            "flatten\nlinear 24 -> 7\ntanh\nlinear 7 -> 5");
  EXPECT_EQ(network.init, "he_normal");
  std::vector<std::string> names;
  for (const Parameter& parameter : network.table.parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names, (std::vector<std::string>{"conv1.weight", "conv1.bias", "conv2.weight",
                                             "conv2.bias", "linear1.weight", "linear1.bias",
                                             "linear2.weight", "linear2.bias"}));
  EXPECT_EQ(Build(R"({"channels": [2], "pool": 1})", {1, 3, 3}, 2).root->Describe(),
            "conv 1 -> 2, 3 x 3, stride 1, padding 1\nrelu\nflatten\nlinear 18 -> 2");
}

/// The logits by loops over one example, from the documented order of theta.
TEST(ConvNetModel, ComputesTheDefinitionsLogits) {
  const Network network =
      Build(R"({"channels": [3, 4], "hidden": [5], "activation": "tanh"})", {2, 9, 7}, 3);
  const oracle::Convolution conv1{2, 3, 3, 1, 1, true, 9, 7};
  const oracle::Convolution conv2{3, 4, 3, 1, 1, true, 4, 3};
  const oracle::Mlp linear{{4 * 2 * 1, 5, 3}, "tanh"};
  ASSERT_EQ(network.table.size(),
            static_cast<int64_t>(conv1.size() + conv2.size() + linear.size()));
  Stream stream(30, "convnet");
  const at::Tensor theta = RandomTensor(stream, {network.table.size()});
  const at::Tensor images = RandomTensor(stream, {6, 2, 9, 7});
  const Vector values = ToVector(theta);
  const auto pooled = [](const oracle::Convolution& conv, Vector h) {
    for (double& x : h) x = oracle::Activate("tanh", x);
    Vector taken;
    for (const size_t place : oracle::MaxPlaces(conv.out, conv.rows(), conv.columns(), 2, 2, h)) {
      taken.push_back(h[place]);
    }
    return taken;
  };
  const at::Tensor logits = network.root->Forward(images, {theta});
  for (int64_t i = 0; i < images.size(0); ++i) {
    const Vector h1 = pooled(conv1, conv1.Forward(values, 0, ToVector(images[i])));
    const Vector h2 = pooled(conv2, conv2.Forward(values, conv1.size(), h1));
    const Vector rest(values.begin() + static_cast<long>(conv1.size() + conv2.size()),
                      values.end());
    const Vector expected = oracle::Logits(linear, rest, h2);
    ExpectNear(ToVector(logits[i]), expected, 1e-13 * (1 + oracle::Norm(expected)), "logits");
  }
}

TEST(ConvNetModel, RefusesWhatDoesNotFitTheData) {
  const auto refused = [](const std::string& fields, const std::vector<int64_t>& shape,
                          const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { Build(fields, shape, 3); });
  };
  refused("{}", {1, 4, 4}, {"model", "channels"});
  refused(R"({"channels": [2]})", {20},
          {"model: ", "[channels, height, width]", "1 dimensions", "mlp"});
  refused(R"({"channels": [2]})", {2, 3, 4, 5}, {"model: ", "4 dimensions"});
  refused(R"({"channels": [2, 2, 2], "pool": 2})", {1, 20, 7},
          {"model.pool", "found 2", "after 2 poolings", "1 pixels", "\"pool\": 1"});
  refused(R"({"channels": [2], "pool": 5})", {1, 20, 4}, {"model.pool", "after 0 poolings"});
  refused(R"({"channels": [2], "kernel": 4})", {1, 8, 8}, {"model.kernel", "found 4", "odd"});
  refused(R"({"channels": [2], "pool": 0})", {1, 8, 8}, {"model.pool", "0"});
  refused(R"({"channels": [2, 0]})", {1, 8, 8}, {"model.channels[1]", "0"});
  // The smallest images that fit.
  EXPECT_GT(Build(R"({"channels": [2, 2, 2], "pool": 2})", {1, 20, 8}, 3).table.size(), 0);
  EXPECT_GT(Build(R"({"channels": [2], "kernel": 9, "pool": 1})", {1, 1, 1}, 3).table.size(), 0);
}

Json ConvNetConfig() {
  return SyntheticConfig(
      {{"data",
        {{"name", "synthetic"}, {"train_size", 45}, {"test_size", 5}, {"shape", {2, 6, 5}}}},
       {"model", {{"name", "convnet"}, {"channels", {3, 2}}, {"hidden", {4}}}}});
}

/// A path through all layers: it learns, the same in every run, and probes don't disturb it.
TEST(ConvNetModel, TrainsTheSameWithAndWithoutProbes) {
  Json with_probe = ConvNetConfig();
  with_probe["probes"] = {
      {{"name", "taylor"}, {"hessian", true}, {"recent_lag", 2}, {"long_ago_lag", 9}},
      {{"name", "separate_updates"}, {"every", 1}, {"block", "tensor"}}};
  ShortRun plain(ConvNetConfig());
  ShortRun probed(with_probe);
  double first = 0, last = 0;
  for (int64_t step = 0; step < 30; ++step) {
    const double loss = plain.stepper().Step(step).loss.item<double>();
    (step < 6 ? first : last) += loss / (step < 6 ? 6 : 24);
    const auto measured = probed.stepper().Step(step).probes;
    EXPECT_TRUE(measured[1].isfinite().all().item<bool>()) << step;
    EXPECT_TRUE(SameBits(plain.stepper().theta(), probed.stepper().theta())) << step;
  }
  EXPECT_LT(last, first);
}

}  // namespace
}  // namespace sgdscope
