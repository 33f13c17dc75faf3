#include "run/stepper.h"

#include <gtest/gtest.h>

#include "core/rng.h"
#include "tests/example_fields.h"
#include "tests/experiment_helper.h"

namespace sgdscope {
namespace {

/// Weights after a few steps.
at::Tensor Trained(Json config, const Json& probes) {
  config["probes"] = probes;
  ShortRun run(config);
  for (int64_t step = 0; step < 6; ++step) run.stepper().Step(step);
  return run.stepper().theta().clone();
}

/// A fully connected network of random widths, and batches of a random size.
Json RandomConfig(uint64_t index) {
  Stream stream(54, "steppers", index);
  Json hidden = Json::array();
  for (uint64_t layer = 0; layer < index % 4; ++layer) hidden.push_back(1 + stream.Below(80));
  const auto batch = static_cast<int64_t>(index % 5 == 4 ? 513 + index : 1 + stream.Below(60));
  return SyntheticConfig(
      {{"batch_size", batch},
       {"dtype", index % 3 == 2 ? "float64" : "float32"},
       {"data",
        {{"name", "synthetic"},
         {"train_size", 600},
         {"test_size", 5},
         {"shape", {1 + stream.Below(300)}},
         {"classes", 2 + stream.Below(20)}}},
       {"sampler", {{"name", "replacement"}}},
       {"model",
        {{"name", "mlp"}, {"hidden", hidden}, {"activation", index % 2 ? "tanh" : "relu"}}},
       {"update", {{"name", "sgd"}, {"learning_rate", 0.3}}}});
}

/// A step at which no probe looks makes no g, and theta has the bits that it would have from it.
TEST(Stepper, ThetaIsTheSameWhetherTheGradientIsKeptOrNot) {
  const Json norm = {{"name", "gradient_norm"}};
  for (uint64_t index = 0; index < 40; ++index) {
    const Json config = RandomConfig(index);
    Json now_and_then = norm;
    now_and_then["every"] = 2;
    const at::Tensor theta = Trained(config, Json::array());
    EXPECT_TRUE(SameBits(theta, Trained(config, Json::array({norm})))) << config;
    EXPECT_TRUE(SameBits(theta, Trained(config, Json::array({now_and_then})))) << config;
  }
}

/// Of each rule and estimator, whether it says that delta is a multiple of the mean gradient or not.
TEST(Stepper, AGradientThatNobodySeesMovesThetaAsOneThatIsSeen) {
  const auto expect_same = [](const std::string& key, Json leaf, const std::string& name) {
    leaf["name"] = name;
    const Json config =
        SyntheticConfig({{"batch_size", 6}, {"sampler", {{"name", "replacement"}}}, {key, leaf}});
    const Json norm = {{"name", "gradient_norm"}};
    EXPECT_TRUE(SameBits(Trained(config, Json::array()), Trained(config, Json::array({norm}))))
        << leaf;
  };
  for (const LeafCase& rule : AllLeaves<UpdateRule>()) {
    expect_same("update", rule.fields, rule.name);
    Json clipping = rule.fields;
    clipping["clip_norm"] = 0.01;
    expect_same("update", clipping, rule.name);
  }
  for (const LeafCase& estimator : AllLeaves<Estimator>()) {
    expect_same("gradient", estimator.fields, estimator.name);
  }
}

}  // namespace
}  // namespace sgdscope
