#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "estimators/estimator.h"
#include "probes/probe.h"
#include "run/evaluation.h"
#include "tests/data/array_files.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/run/in_process.h"
#include "tests/temp_folder.h"
#include "tests/tensors.h"
#include "updates/update_rule.h"

// Runs on targets, numbers in place of labels.

namespace sgdscope {
namespace {

constexpr int64_t kExamples = 50, kInputs = 6, kOutputs = 2;

class Targets : public testing::Test {
 protected:
  Targets() {
    std::vector<double> x(kExamples * kInputs), y(kExamples * kOutputs);
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i * i));
    for (size_t i = 0; i < y.size(); ++i) y[i] = 3 * std::cos(static_cast<double>(i));
    WriteBytes(folder_ / "x.npy", Npy("'<f8'", {kExamples, 2, 3}, BytesOf(x)));
    WriteBytes(folder_ / "y.npy", Npy("'<f8'", {kExamples, kOutputs}, BytesOf(y)));
  }

  /// A run of 30 steps on 45 of them.
  Json Config(const Json& changes = Json::object()) const {
    Json config = SyntheticConfig({{"data",
                                    {{"name", "arrays"},
                                     {"path", folder_.path().string()},
                                     {"train_files", {"x.npy", "y.npy"}},
                                     {"split", {{"share", 0.1}}},
                                     {"normalize", "none"}}},
                                   {"loss", "mean_squared_error"},
                                   {"output", (folder_ / "run").string()}});
    for (const auto& [key, value] : changes.items()) config[key] = value;
    return config;
  }

  static Json Named(const LeafCase& leaf) {
    Json config = leaf.fields;
    config["name"] = leaf.name;
    return config;
  }

  /// Steps through a run; what it measures is there or is known not to be.
  static void ExpectSteps(const Json& config, const std::string& what) {
    ShortRun run(config);
    for (int64_t step = 0; step < 12; ++step) {
      for (const at::Tensor& measured : run.stepper().Step(step).probes) {
        if (!measured.defined()) continue;
        for (const double value : ToVector(measured)) {
          EXPECT_TRUE(std::isfinite(value) || IsNotMeasured(value)) << what << ", step " << step;
        }
      }
    }
    EXPECT_TRUE(run.stepper().theta().isfinite().all().item<bool>()) << what;
  }

  TempFolder folder_;
};

/// Least squares: (2 / (n k)) sum_i (W x_i + b - y_i) x_i^T.
TEST_F(Targets, ALinearNetworkHasTheGradientOfLeastSquares) {
  const ShortRun run(
      Config({{"model", {{"name", "mlp"}, {"hidden", Json::array()}}}, {"dtype", "float64"}}));
  const Oracle& train = run.experiment().train();
  ASSERT_EQ(train.table().size(), kInputs * kOutputs + kOutputs);
  Stream stream(7, "targets");
  const at::Tensor theta = RandomTensor(stream, {train.table().size()});
  const at::Tensor indices = at::tensor({3, 41, 7, 7, 20}, at::kLong);
  const Batch batch = train.Load(indices);
  const at::Tensor x = run.experiment().data().train.inputs.index_select(0, indices).flatten(1);
  const at::Tensor y = run.experiment().data().train.labels.index_select(0, indices);
  const at::Tensor weight = theta.narrow(0, 0, kInputs * kOutputs).view({kOutputs, kInputs});
  const at::Tensor error = x.mm(weight.t()) + theta.narrow(0, kInputs * kOutputs, kOutputs) - y;
  const Gradients found = train.Evaluate(batch, theta);
  const double scale = 2.0 / (5 * kOutputs);
  const at::Tensor expected = at::cat({error.t().mm(x).flatten(), error.sum(0)}).mul(scale);
  ExpectNear(ToVector(found.Mean()), ToVector(expected), 1e-13 * oracle::Norm(ToVector(expected)),
             "gradient");
  ExpectNear(ToVector(found.losses), ToVector(error.square().mean(1)), 1e-13, "losses");
}

TEST_F(Targets, EveryEstimatorRuns) {
  for (const LeafCase& leaf : AllLeaves<Estimator>()) {
    ExpectSteps(
        Config(
            {{"gradient", Named(leaf)}, {"sampler", {{"name", "replacement"}}}, {"batch_size", 8}}),
        leaf.Text());
  }
}

TEST_F(Targets, EveryUpdateRuleRuns) {
  for (const LeafCase& leaf : AllLeaves<UpdateRule>()) {
    ExpectSteps(Config({{"update", Named(leaf)}}), leaf.Text());
  }
}

TEST_F(Targets, EveryProbeRunsOrNeedsLabelNoise) {
  for (const LeafCase& leaf : AllLeaves<Probe>()) {
    Json config = Config({{"probes", Json::array({Named(leaf)})}, {"dtype", "float64"}});
    config["probes"][0]["every"] = 5 * leaf.fields.value("every", int64_t{1});
    try {
      ExpectSteps(config, leaf.Text());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
      EXPECT_EQ(leaf.name, "coherence") << error.what();
    }
  }
}

/// A probe that compares examples of one class with those of two.
TEST_F(Targets, MakeNoClasses) {
  ShortRun run(Config({{"probes", {{{"name", "covariance"}, {"gram", true}, {"every", 1}}}}}));
  const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  EXPECT_TRUE(std::isfinite(values.at("stiffness_cos")));
  for (const std::string pairs : {"within", "between"}) {
    EXPECT_TRUE(IsNotMeasured(values.at("stiffness_cos_" + pairs)));
    EXPECT_TRUE(IsNotMeasured(values.at("stiffness_sign_" + pairs)));
  }
}

/// 2,300 examples: three chunks, the last of them not full.
TEST_F(Targets, EvaluationsHaveLossesOnly) {
  std::vector<float> x(2500 * kInputs), y(2500);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  for (size_t i = 0; i < y.size(); ++i) y[i] = std::cos(static_cast<float>(i));
  WriteBytes(folder_ / "x.npy", Npy("'<f4'", {2500, kInputs}, BytesOf(x)));
  WriteBytes(folder_ / "y.npy", Npy("'<f4'", {2500}, BytesOf(y)));
  Json config = Config({{"dtype", "float64"}});
  config["data"]["split"]["share"] = 0.08;
  ShortRun run(config);
  const Oracle& train = run.experiment().train();
  ASSERT_EQ(train.size(), 2300);
  const Sweep sweep = SweepSplit(train, run.stepper().theta(), {}, {});
  double sum = 0;
  for (int64_t i = 0; i < train.size(); ++i) {
    const Batch one = train.Load(at::tensor({i}, at::kLong));
    sum += train.Losses(one, run.stepper().theta()).item<double>();
  }
  EXPECT_NEAR(sweep.all.loss, sum / 2300, 2300 * Epsilon(at::kDouble) * (1 + sum / 2300));
  EXPECT_TRUE(IsNotMeasured(sweep.all.accuracy));
  EXPECT_FALSE(sweep.right.defined());
  EXPECT_EQ(EvalColumns(run.experiment()),
            (std::vector<std::string>{"step", "epoch", "train_loss", "test_loss"}));
  EXPECT_EQ(EvalRow(run.experiment(), 0, sweep, {0.25, kNotMeasured}),
            (std::vector<double>{0, 0, sweep.all.loss, 0.25}));
}

TEST_F(Targets, ARunTellsNoAccuracy) {
  TrainInto(folder_ / "run", Config({{"steps", 60}}));
  const auto rows = Lines(ReadFile(folder_ / "run" / "eval.csv"));
  EXPECT_EQ(rows[0], "step,epoch,train_loss,test_loss");
  EXPECT_EQ(std::ranges::count(rows[1], ','), 3);
  const std::string log = ReadFile(folder_ / "run" / "log.txt");
  EXPECT_EQ(log.find("accuracy"), std::string::npos) << log;
  EXPECT_NE(log.find("done: 60 steps, train loss "), std::string::npos) << log;
  EXPECT_NE(log.find(", test loss "), std::string::npos) << log;
}

TEST_F(Targets, WhatIsOfClassesIsRefused) {
  const auto refused = [&](const Json& changes, const std::vector<std::string>& parts) {
    const auto config = ReadRunConfig(Config(changes));
    ExpectError(ErrorKind::kConfig, parts, [&] { const Experiment experiment(*config); });
  };
  refused({{"loss", "cross_entropy"}}, {"loss", "targets", "mean_squared_error", "astype"});
  Json noisy = Config()["data"];
  noisy["label_noise"] = {{"fraction", 0.5}};
  refused({{"data", noisy}}, {"data.label_noise", "targets", "Leave it out"});
  refused({{"stop", {{"train_accuracy", 0.9}}}}, {"stop.train_accuracy", "targets"});
  refused({{"eval", {{"learned", true}}}}, {"eval.learned", "targets"});
  const auto stops = ReadRunConfig(Config({{"stop", {{"train_loss", 0.5}}}}));
  const Experiment experiment(*stops);
}

}  // namespace
}  // namespace sgdscope
