#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/csv.h"
#include "data/distinct.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"

// The probe generalization_gap, end to end: each value again from the weights before and after the
// step and the data, with tests/oracles.h.

namespace sgdscope {
namespace {

using oracle::Vector;
using Named = std::map<std::string, double>;

constexpr int64_t kSteps = 16;  // more than two epochs
constexpr int64_t kTestBatch = 4;
constexpr uint64_t kSeed = 3;

const Json kSgd = {{"name", "sgd"}, {"learning_rate", 0.1}};
const Json kMomentum = {{"name", "sgd"}, {"learning_rate", 0.05}, {"momentum", 0.9}};
const Json kDecay = {{"name", "sgd"}, {"learning_rate", 0.1}, {"weight_decay", 0.01}};
const Json kAdam = {{"name", "adam"}, {"learning_rate", 0.02}};

/// A float64 run: 45 examples in batches of 7, the last one of an epoch of 3; 5 test examples.
Json ConfigOf(const Json& fields, const Json& update = kSgd, const Json& changes = Json::object()) {
  Json config = SyntheticConfig({{"dtype", "float64"}, {"update", update}});
  config["model"] = {{"name", "mlp"}, {"hidden", {7}}, {"activation", "tanh"}};
  config["probes"] = {{{"name", "generalization_gap"}, {"batch_size", kTestBatch}}};
  for (const auto& [key, value] : fields.items()) config["probes"][0][key] = value;
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

const oracle::Mlp kMlp = {{6, 7, 4}, "tanh", true, "cross_entropy"};

std::vector<oracle::Example> ExamplesOf(const Split& split, const at::Tensor& indices) {
  std::vector<oracle::Example> examples;
  for (const double index : ToVector(indices)) {
    const auto i = static_cast<int64_t>(index);
    examples.push_back(
        {ToVector(split.inputs[i]), static_cast<size_t>(split.labels[i].item<int64_t>())});
  }
  return examples;
}

/// The definitions for a step from theta by delta.
Named Definition(const ShortRun& run, int64_t step, const Vector& theta, const Vector& delta) {
  const LoadedData& data = run.experiment().data();
  Stream stream(kSeed, "generalization_gap", static_cast<uint64_t>(step));
  const auto a = ExamplesOf(data.test, DrawDistinct(stream, kTestBatch, data.test.size()));
  const auto b = ExamplesOf(data.train, run.experiment().sampler().At(step));
  const int64_t drawn = kTestBatch + static_cast<int64_t>(b.size());
  std::vector<oracle::Example> c;  // of the training examples outside of B the first that are drawn
  const Vector in_b = ToVector(run.experiment().sampler().At(step));
  for (const double index : ToVector(DrawDistinct(stream, drawn, data.train.size()))) {
    if (std::ranges::find(in_b, index) != in_b.end() || c.size() == kTestBatch) continue;
    c.push_back(ExamplesOf(data.train, at::tensor({index})).front());
  }
  const Vector g_a = oracle::MeanGradient(kMlp, theta, a);
  const Vector g_c = oracle::MeanGradient(kMlp, theta, c);
  const Vector g_b = oracle::MeanGradient(kMlp, theta, b);
  const Vector moved = oracle::Plus(theta, 1, delta);
  Named values;
  values["test.change"] = oracle::MeanLoss(kMlp, moved, a) - oracle::MeanLoss(kMlp, theta, a);
  values["train.change"] = oracle::MeanLoss(kMlp, moved, b) - oracle::MeanLoss(kMlp, theta, b);
  values["measured"] = values["test.change"] - values["train.change"];
  values["predicted"] = oracle::Dot(delta, oracle::Plus(g_a, -1, g_b));
  values["own"] = oracle::Dot(delta, oracle::Plus(g_c, -1, g_b));
  values["shift"] = oracle::Dot(delta, oracle::Plus(g_a, -1, g_c));
  values["gradient_dot"] = oracle::Dot(g_a, g_b);
  const auto n = static_cast<double>(b.size());
  for (const auto& example : b) {
    const Vector deviation = oracle::Plus(oracle::Gradient(kMlp, theta, example), -1, g_b);
    values["covariance_trace"] += oracle::Dot(deviation, deviation) / (n - 1);
  }
  values["squared_norm"] = oracle::Dot(g_b, g_b) - values["covariance_trace"] / n;
  return values;
}

/// Losses of the order 1 cancel in the changes, and delta has lost the rounding of theta: each
/// value is off by some 10 eps whatever its size, and by n + widths eps of its terms. `added`: how
/// many of them a running sum has.
void ExpectAgrees(const Named& values, const std::string& name, double expected, int64_t added,
                  const std::string& what) {
  const double bound = 1e-13 * std::abs(expected) + 1e-14 * static_cast<double>(added);
  EXPECT_NEAR(values.at(name), expected, bound) << name << ", " << what;
}

TEST(GeneralizationGap, EveryValueAgreesWithTheDefinition) {
  for (const Json& update : {kSgd, kMomentum, kDecay, kAdam}) {
    ShortRun run(ConfigOf({{"covariance", true}, {"outside", true}}, update));
    const bool plain = update == kSgd;
    Named sums;
    for (int64_t step = 0; step < kSteps; ++step) {
      const Vector theta = ToVector(run.stepper().theta());
      const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
      const Vector delta = oracle::Plus(ToVector(run.stepper().theta()), -1, theta);
      Named expected = Definition(run, step, theta, delta);
      const std::string what = update.dump() + ", step " + std::to_string(step);
      if (plain) {
        const auto n = static_cast<double>(step % 7 == 6 ? 3 : 7);
        expected["average"] = 0.1 * expected["covariance_trace"] / n;
        expected["correction"] = 0.1 * (expected["squared_norm"] - expected["gradient_dot"]);
        // Equation 9 and section 4 say the same of a single pair of batches.
        EXPECT_NEAR(expected["average"] + expected["correction"], expected["predicted"], 1e-14);
      }
      for (const auto& [name, value] : expected) ExpectAgrees(values, name, value, 1, what);
      for (const std::string name : {"predicted", "measured", "average", "correction"}) {
        if (!expected.contains(name)) {
          EXPECT_TRUE(IsNotMeasured(values.at(name)) && IsNotMeasured(values.at("cum_" + name)))
              << name << ", " << what;
          continue;
        }
        sums[name] += expected.at(name);
        ExpectAgrees(values, "cum_" + name, sums[name], step + 1, what);
      }
      for (const std::string split : {"test", "train"}) {
        sums[split] += expected.at(split + ".change");
        ExpectAgrees(values, split + ".cum_change", sums[split], step + 1, what);
      }
    }
  }
}

/// The measured change of the gap tends to the predicted one: half the learning rate, half the
/// relative distance.
TEST(GeneralizationGap, PredictsToFirstOrder) {
  const auto distance = [](double rate) {
    ShortRun run(ConfigOf(Json::object(), {{"name", "sgd"}, {"learning_rate", rate}}));
    const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
    return values.at("measured") / values.at("predicted") - 1;
  };
  EXPECT_LT(std::abs(distance(1e-4)), 1e-2);
  EXPECT_GT(std::abs(distance(1e-4)), 1e-6);
  EXPECT_NEAR(distance(2e-4) / distance(1e-4), 2, 0.01);
}

/// Under plain SGD own has the mean of the average form, and shift that of the correction: over many
/// steps that are too short to change the weights.
TEST(GeneralizationGap, OwnAndShiftHaveTheMeansOfAverageAndCorrection) {
  constexpr double kTiny = 1e-9;
  constexpr int kMany = 600;
  ShortRun run(ConfigOf({{"covariance", true}, {"outside", true}},
                        {{"name", "sgd"}, {"learning_rate", kTiny}}));
  std::map<std::string, std::vector<double>> differences;
  double average = 0;
  for (int64_t step = 0; step < kMany; ++step) {
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    if (step % 7 == 6) continue;  // a smaller batch
    average += values.at("average");
    differences["own"].push_back(values.at("own") - values.at("average"));
    differences["shift"].push_back(values.at("shift") - values.at("correction"));
  }
  for (const auto& [name, of_steps] : differences) {
    const auto n = static_cast<double>(of_steps.size());
    double mean = 0;
    for (const double value : of_steps) mean += value / n;
    double squares = 0;
    for (const double value : of_steps) squares += (value - mean) * (value - mean);
    const double error = std::sqrt(squares / (n - 1) / n);
    EXPECT_LT(std::abs(mean), 3 * error) << name;
    EXPECT_LT(error, 0.1 * average / n) << name;
  }
}

/// A batch of a single example has no covariance; the running sums go on with the next step.
TEST(GeneralizationGap, OneExampleHasNoAverage) {
  Json config = ConfigOf({{"covariance", true}}, kSgd, {{"batch_size", 22}});  // 22, 22, 1
  ShortRun run(config);
  double sum = 0;
  for (int64_t step = 0; step < 6; ++step) {
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    const bool one = step % 3 == 2;
    for (const std::string name :
         {"average", "correction", "covariance_trace", "squared_norm", "cum_average"}) {
      EXPECT_EQ(IsNotMeasured(values.at(name)), one) << name << " at " << step;
    }
    if (one) continue;
    sum += values.at("average");
    EXPECT_NEAR(values.at("cum_average"), sum, 1e-15);
  }
}

TEST(GeneralizationGap, LoggedSumsHoldTheLoggedSteps) {
  const auto last = [](const Json& fields) {
    ShortRun run(ConfigOf(fields));
    Named values;
    double logged = 0;
    for (int64_t step = 0; step < 7; ++step) {
      const at::Tensor measured = run.stepper().Step(step).probes[0];
      if (!measured.defined() || step % 3 != 0) continue;
      values = ByName(run.probe(0), measured);
      logged += values.at("measured");
    }
    values["logged"] = logged;
    return values;
  };
  const Named logged = last({{"every", 3}, {"cumulative", "logged"}});
  const Named all = last({{"every", 3}});
  EXPECT_NEAR(logged.at("cum_measured"), logged.at("logged"), 1e-15);
  EXPECT_GT(std::abs(all.at("cum_measured") - all.at("logged")), 1e-6);
  EXPECT_EQ(all.at("measured"), logged.at("measured"));
  EXPECT_FALSE(last({{"every", 3}, {"cumulative", "none"}}).contains("cum_measured"));
}

/// Each batch is normalized by its own statistics, and no gradient of a single example is needed.
TEST(GeneralizationGap, WithBatchNormalization) {
  Json config = ConfigOf(Json::object());
  config["data"]["shape"] = {2, 17, 16};
  config["model"] = {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}};
  ShortRun run(config);
  const Oracle& train = run.experiment().train();
  const Oracle& test = run.experiment().test();
  for (int64_t step = 0; step < 3; ++step) {
    Stream stream(kSeed, "generalization_gap", static_cast<uint64_t>(step));
    const Batch a = test.Load(DrawDistinct(stream, kTestBatch, 5));
    const Batch b = train.Load(run.experiment().sampler().At(step));
    const at::Tensor theta = run.stepper().theta().clone();
    auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    const at::Tensor& moved = run.stepper().theta();
    const auto change = [&](const Oracle& oracle, const Batch& batch) {
      const at::Tensor losses = oracle.Losses(batch, moved).sub(oracle.Losses(batch, theta));
      return losses.mean().item<double>();
    };
    const at::Tensor g_a = test.Evaluate(a, theta).Mean();
    const at::Tensor g_b = train.Evaluate(b, theta).Mean();
    EXPECT_NEAR(values["test.change"], change(test, a), 1e-12);
    EXPECT_NEAR(values["train.change"], change(train, b), 1e-12);
    const double predicted = moved.sub(theta).dot(g_a.sub(g_b)).item<double>();
    EXPECT_NEAR(values["predicted"], predicted, 1e-12 * (1 + std::abs(predicted)));
  }
}

void ExpectRefused(const Json& fields, const std::vector<std::string>& parts,
                   const Json& changes = Json::object()) {
  ExpectError(ErrorKind::kConfig, parts, [&] {
    const auto read = ReadRunConfig(ConfigOf(fields, kSgd, changes));
    const Experiment experiment(*read);
  });
}

TEST(GeneralizationGap, WhatCannotBeMeasuredIsRefused) {
  ExpectRefused({{"batch_size", 6}}, {"probes[0].batch_size", "6", "test set of 5", "at most 5"});
  ExpectRefused({{"outside", true}}, {"probes[0].outside", "4 training examples", "3 outside"},
                {{"batch_size", 42}});
  ExpectRefused({{"covariance", true}},
                {"probes[0].covariance", "single examples", "batch normalization"},
                {{"data", {{"name", "synthetic"}, {"shape", {2, 17, 16}}, {"train_size", 45}}},
                 {"model", {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}}}});
}

/// Left out, the test batch is as large as a training batch.
TEST(GeneralizationGap, TheTestBatchIsAsLargeAsTheTrainingBatch) {
  Json config = ConfigOf(Json::object());
  config["probes"][0].erase("batch_size");
  ExpectError(ErrorKind::kConfig, {"probes[0].batch_size", "7", "training batch", "test set of 5"},
              [&] {
                const auto read = ReadRunConfig(config);
                const Experiment experiment(*read);
              });
  config["batch_size"] = 5;
  const auto gradient_dot = [](const Json& json) {
    ShortRun run(json);
    return ByName(run.probe(0), run.stepper().Step(0).probes[0]).at("gradient_dot");
  };
  const double left_out = gradient_dot(config);
  config["probes"][0]["batch_size"] = 5;
  EXPECT_EQ(gradient_dot(config), left_out);
  config["probes"][0]["batch_size"] = 4;
  EXPECT_NE(gradient_dot(config), left_out);
}

}  // namespace
}  // namespace sgdscope
