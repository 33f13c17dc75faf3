#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/csv.h"
#include "core/tensor_file.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/temp_folder.h"

// The taylor and snapshot probes, end to end: what taylor measured is computed again from the
// snapshot files and the data with tests/oracles.h, which shares no code with the program.

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr int64_t kSteps = 30;
constexpr int64_t kRecentLag = 2;
constexpr int64_t kLongAgoLag = 9;  // more than an epoch of 7 steps
const std::vector<std::string> kBatches = {"updating", "recent", "long_ago"};
const std::vector<std::string> kTerms = {"dot", "delta_loss", "penalty", "second_order",
                                         "remainder"};

int64_t LagOf(const std::string& batch) {
  if (batch == "updating") return 0;
  return batch == "recent" ? kRecentLag : kLongAgoLag;
}

using Values = std::map<std::string, double>;

Json Taylor(const Json& changes = Json::object()) {
  Json probe = {{"name", "taylor"},
                {"hessian", true},
                {"recent_lag", kRecentLag},
                {"long_ago_lag", kLongAgoLag}};
  for (const auto& [key, value] : changes.items()) probe[key] = value;
  return probe;
}

Json Snapshot() {
  return {{"name", "snapshot"},
          {"every", 1},
          {"recent_lag", kRecentLag},
          {"long_ago_lag", kLongAgoLag}};
}

/// A float64 run with these probes; `changes` to the rest of the config.
Json ConfigOf(const std::vector<Json>& probes, const Json& changes,
              const std::string& output = "unused") {
  Json config = SyntheticConfig(changes);
  if (!config.contains("dtype")) config["dtype"] = "float64";
  config["output"] = output;
  config["probes"] = Json(probes);
  return config;
}

/// What the first probe measured at each step; empty where it did not.
std::vector<Values> Measure(const Json& config) {
  ShortRun run(config);
  std::vector<Values> rows;
  for (int64_t step = 0; step < kSteps; ++step) {
    const at::Tensor values = run.stepper().Step(step).probes[0];
    rows.push_back(values.defined() ? ByName(run.probe(0), values) : Values());
  }
  return rows;
}

/// An update rule with the model and loss that it trains.
struct Setting {
  std::string name;
  Json changes;
  oracle::Mlp mlp;
};

std::vector<Setting> Settings() {
  const Json sgd = {{"name", "sgd"}, {"learning_rate", 0.1}};
  const Json momentum = {{"name", "sgd"}, {"learning_rate", 0.05}, {"momentum", 0.9}};
  const Json nesterov = {{"name", "sgd"},
                         {"learning_rate", 0.05},
                         {"momentum", 0.8},
                         {"nesterov", true},
                         {"weight_decay", 0.01}};
  const Json adam = {{"name", "adam"}, {"learning_rate", 0.02}};
  const Json relu = {{"name", "mlp"}, {"hidden", {8, 5}}};
  const Json tanh = {{"name", "mlp"}, {"hidden", {7}}, {"activation", "tanh"}};
  const Json no_bias = {{"name", "mlp"}, {"hidden", {6}}, {"activation", "tanh"}, {"bias", false}};
  const oracle::Mlp relu_mlp{{6, 8, 5, 4}, "relu", true, "cross_entropy"};
  const oracle::Mlp tanh_mlp{{6, 7, 4}, "tanh", true, "cross_entropy"};
  oracle::Mlp squared_mlp{{6, 6, 4}, "tanh", false, "mean_squared_error"};
  return {
      {"sgd relu", {{"update", sgd}, {"model", relu}}, relu_mlp},
      {"momentum relu", {{"update", momentum}, {"model", relu}}, relu_mlp},
      {"adam relu", {{"update", adam}, {"model", relu}}, relu_mlp},
      {"sgd tanh", {{"update", sgd}, {"model", tanh}}, tanh_mlp},
      {"momentum tanh", {{"update", momentum}, {"model", tanh}}, tanh_mlp},
      {"adam tanh", {{"update", adam}, {"model", tanh}}, tanh_mlp},
      {"nesterov squared",
       {{"update", nesterov}, {"model", no_bias}, {"loss", "mean_squared_error"}},
       squared_mlp},
  };
}

/// The five terms of a batch by their definitions.
Values TermsOf(const oracle::Mlp& mlp, const Vector& theta, const Vector& delta,
               const std::vector<oracle::Example>& batch) {
  Values terms;
  terms["dot"] = -oracle::Dot(oracle::MeanGradient(mlp, theta, batch), delta);
  terms["delta_loss"] = oracle::MeanLoss(mlp, theta, batch) -
                        oracle::MeanLoss(mlp, oracle::Plus(theta, 1, delta), batch);
  terms["penalty"] = terms["delta_loss"] - terms["dot"];
  terms["second_order"] =
      oracle::Dot(delta, oracle::MeanHessianVector(mlp, theta, batch, delta)) / 2;
  terms["remainder"] = terms["penalty"] + terms["second_order"];
  return terms;
}

/// To 1e-6 relative. Beyond that, where losses of the order 1 cancel (delta_loss,
/// penalty and remainder), each value is off by some 10 eps = 2e-15 whatever its size, and all else
/// by a few times (n + widths) eps of itself; `added` is how many values a running sum has. The
/// worst relative errors seen are 2e-14 (dot), 3e-13 (delta_loss), 1.5e-10 (penalty), 4e-14
/// (second_order), 1.4e-9 (remainder).
void ExpectAgrees(double actual, double expected, int64_t added, const std::string& what) {
  const double error = std::abs(actual - expected);
  EXPECT_LE(error, 1e-6 * std::abs(expected)) << what << ": " << actual << ", not " << expected;
  EXPECT_LE(error, 1e-12 * std::abs(expected) + 1e-14 * static_cast<double>(added))
      << what << ": " << actual << ", not " << expected;
}

TEST(TaylorAgainstSnapshots, EveryValueAgreesWithTheDefinition) {
  for (const Setting& setting : Settings()) {
    const TempFolder folder;
    ShortRun run(ConfigOf({Taylor(), Snapshot()}, setting.changes, folder.path().string()));
    ASSERT_EQ(run.stepper().theta().numel(), static_cast<int64_t>(setting.mlp.size()));
    Values sums;
    for (int64_t step = 0; step < kSteps; ++step) {
      const at::Tensor theta_before = run.stepper().theta().clone();
      const auto measured = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
      const TensorFile file =
          ReadTensorFile(folder / ("snapshots/step_" + std::to_string(step) + ".safetensors"));
      ASSERT_TRUE(SameBits(file.tensors.at("theta"), theta_before));
      const Vector theta = ToVector(file.tensors.at("theta"));
      const Vector delta = ToVector(file.tensors.at("delta"));
      for (const std::string& batch : kBatches) {
        const bool present = file.tensors.contains("batch." + batch);
        ASSERT_EQ(present, step >= LagOf(batch)) << batch;
        Values terms;
        if (present) {
          terms = TermsOf(setting.mlp, theta, delta,
                          ExamplesOf(run, file.tensors.at("batch." + batch)));
        }
        for (const std::string& term : kTerms) {
          const std::string what =
              setting.name + ", step " + std::to_string(step) + ", " + batch + "." + term;
          const double value = measured.at(batch + "." + term);
          const double sum = measured.at(batch + ".cum_" + term);
          if (!present) {
            EXPECT_TRUE(IsNotMeasured(value) && IsNotMeasured(sum)) << what;
            continue;
          }
          sums[batch + term] += terms.at(term);
          ExpectAgrees(value, terms.at(term), 1, what);
          ExpectAgrees(sum, sums[batch + term], step + 1, what + ", running sum");
        }
      }
    }
  }
}

TEST(SnapshotProbe, HoldsTheStep) {
  for (const Setting& setting : Settings()) {
    const TempFolder folder;
    ShortRun run(ConfigOf({Snapshot()}, setting.changes, folder.path().string()));
    Sampler& sampler = run.experiment().sampler();
    for (int64_t step = 0; step < kLongAgoLag + 3; ++step) {
      const at::Tensor before = run.stepper().theta().clone();
      run.stepper().Step(step);
      const TensorFile file =
          ReadTensorFile(folder / ("snapshots/step_" + std::to_string(step) + ".safetensors"));
      const auto& tensors = file.tensors;
      EXPECT_EQ(file.metadata.at("step"), std::to_string(step));
      for (const std::string& batch : kBatches) {
        const int64_t lag = LagOf(batch);
        ASSERT_EQ(tensors.contains("batch." + batch), step >= lag) << batch;
        EXPECT_TRUE(step < lag || SameBits(tensors.at("batch." + batch), sampler.At(step - lag)))
            << batch;
      }
      const Vector g = oracle::MeanGradient(setting.mlp, ToVector(before),
                                            ExamplesOf(run, tensors.at("batch.updating")));
      ExpectNear(ToVector(tensors.at("g")), g, 1e-13 * oracle::Norm(g), setting.name);
      // theta + scale * direction and theta + delta differ by the rounding of delta and of the sum.
      ExpectNear(ToVector(before + tensors.at("delta")), ToVector(run.stepper().theta()),
                 4 * Epsilon(at::kDouble) * before.norm().item<double>(), setting.name);
    }
  }
}

TEST(SnapshotProbe, WritesTheChosenStepsOnly) {
  const TempFolder folder;
  Json probe = {{"name", "snapshot"}, {"steps", {4, 0, 29}}};
  ShortRun run(ConfigOf({probe}, Json::object(), folder.path().string()));
  for (int64_t step = 0; step < kSteps; ++step) run.stepper().Step(step);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "snapshots")) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"step_0.safetensors", "step_29.safetensors",
                                             "step_4.safetensors"}));
}

/// Two of them, due at the same step, with batches of different ages.
TEST(SnapshotProbe, FilesAreToldApartByTheLabel) {
  const TempFolder folder;
  const auto probe = [](const std::string& label, int64_t recent) {
    return Json{{"name", "snapshot"},
                {"label", label},
                {"steps", {6}},
                {"recent_lag", recent},
                {"long_ago_lag", 6}};
  };
  ShortRun run(
      ConfigOf({probe("snapshot", 1), probe("older", 5)}, Json::object(), folder.path().string()));
  for (int64_t step = 0; step < 7; ++step) run.stepper().Step(step);
  const auto recent = [&](const std::string& file) {
    return ReadTensorFile(folder / ("snapshots/" + file)).tensors.at("batch.recent");
  };
  EXPECT_TRUE(recent("step_6.safetensors").equal(run.experiment().sampler().At(5)));
  EXPECT_TRUE(recent("step_6.older.safetensors").equal(run.experiment().sampler().At(1)));
  for (const std::string& label : {std::string("a/b"), std::string(201, 'a')}) {
    ExpectError(ErrorKind::kConfig, {"probes[0].label", label, "slash"}, [&] {
      ShortRun(ConfigOf({probe(label, 1)}, Json::object(), folder.path().string()));
    });
  }
}

TEST(SnapshotProbe, KeepsTheTypeOfTheRun) {
  const TempFolder folder;
  Json probe = {{"name", "snapshot"}, {"steps", {1}}};
  ShortRun run(ConfigOf({probe}, {{"dtype", "float32"}}, folder.path().string()));
  for (int64_t step = 0; step < 2; ++step) run.stepper().Step(step);
  const TensorFile file = ReadTensorFile(folder / "snapshots/step_1.safetensors");
  EXPECT_EQ(file.tensors.at("theta").scalar_type(), at::kFloat);
  EXPECT_EQ(file.tensors.at("delta").scalar_type(), at::kFloat);
  EXPECT_EQ(file.tensors.at("batch.updating").scalar_type(), at::kLong);
}

/// penalty = delta_loss - dot in exact arithmetic: example by example in the program, in means
/// here.
TEST(TaylorIdentities, PenaltyAndRemainderAddUp) {
  for (const Values& row : Measure(ConfigOf({Taylor()}, Json::object()))) {
    for (const std::string batch : {"updating.", "recent.", "long_ago."}) {
      if (IsNotMeasured(row.at(batch + "dot"))) continue;
      EXPECT_NEAR(row.at(batch + "penalty"), row.at(batch + "delta_loss") - row.at(batch + "dot"),
                  1e-15);
      EXPECT_NEAR(row.at(batch + "remainder"),
                  row.at(batch + "penalty") + row.at(batch + "second_order"), 1e-15);
    }
  }
}

TEST(TaylorIdentities, DotOfTheUpdatingBatchIsRateTimesSquaredNormUnderSgd) {
  for (const std::string dtype : {"float64", "float32"}) {
    ShortRun run(ConfigOf({Taylor(), {{"name", "gradient_norm"}}}, {{"dtype", dtype}}));
    for (int64_t step = 0; step < kSteps; ++step) {
      const auto measured = run.stepper().Step(step).probes;
      const double norm = ByName(run.probe(1), measured[1]).at("g");
      const double dot = ByName(run.probe(0), measured[0]).at("updating.dot");
      // Forward mode and backward mode: sums of n + widths = 30 terms, as in tests/gradients.
      const double tolerance = 8 * 30 * Epsilon(dtype == "float64" ? at::kDouble : at::kFloat);
      EXPECT_NEAR(dot, 0.1 * norm * norm, tolerance * 0.1 * norm * norm) << dtype << " " << step;
    }
  }
}

/// The loss of a linear model under mean squared error is quadratic: nothing is left beyond second
/// order.
TEST(TaylorIdentities, RemainderOfAQuadraticLossIsRounding) {
  const Json changes = {{"model", {{"name", "mlp"}, {"hidden", Json::array()}}},
                        {"loss", "mean_squared_error"}};
  for (const Values& row : Measure(ConfigOf({Taylor()}, changes))) {
    for (const std::string& batch : kBatches) {
      if (IsNotMeasured(row.at(batch + ".dot"))) continue;
      EXPECT_NE(row.at(batch + ".penalty"), 0);
      EXPECT_NEAR(row.at(batch + ".remainder"), 0,
                  1e-14);  // losses of the order 1, some 10 eps each
    }
  }
}

/// And a piecewise linear network bends, while its loss also has the third order that tanh has.
TEST(TaylorIdentities, RemainderOfANetworkIsNot) {
  const Json changes = {{"model", {{"name", "mlp"}, {"hidden", {7}}, {"activation", "tanh"}}}};
  for (const Values& row : Measure(ConfigOf({Taylor()}, changes))) {
    EXPECT_GT(std::abs(row.at("updating.remainder")), 1e-12);
    EXPECT_LT(std::abs(row.at("updating.remainder")), std::abs(row.at("updating.second_order")));
  }
}

TEST(TaylorCumulative, AllSumsEveryStepLoggedOnlyTheLoggedOnes) {
  const auto every_step = Measure(ConfigOf({Taylor()}, Json::object()));
  const auto all = Measure(ConfigOf({Taylor({{"every", 7}})}, Json::object()));
  const auto logged =
      Measure(ConfigOf({Taylor({{"every", 7}, {"cumulative", "logged"}})}, Json::object()));
  const auto none =
      Measure(ConfigOf({Taylor({{"every", 7}, {"cumulative", "none"}})}, Json::object()));
  Values all_sums;
  Values logged_sums;
  for (int64_t step = 0; step < kSteps; ++step) {
    EXPECT_FALSE(all[step].empty()) << "measured at every step for the sums";
    EXPECT_EQ(logged[step].empty(), step % 7 != 0);
    EXPECT_EQ(none[step].empty(), step % 7 != 0);
    for (const std::string& batch : kBatches) {
      for (const std::string& term : kTerms) {
        const std::string name = batch + "." + term;
        const std::string cum = batch + ".cum_" + term;
        const double value = every_step[step].at(name);
        if (!IsNotMeasured(value)) all_sums[name] += value;
        if (step % 7 != 0) continue;
        EXPECT_FALSE(none[step].contains(cum)) << cum;
        if (IsNotMeasured(value)) {
          EXPECT_TRUE(IsNotMeasured(all[step].at(name)) && IsNotMeasured(all[step].at(cum))) << cum;
          EXPECT_TRUE(IsNotMeasured(logged[step].at(name)) && IsNotMeasured(logged[step].at(cum)))
              << cum;
          EXPECT_TRUE(IsNotMeasured(none[step].at(name))) << name;
          continue;
        }
        logged_sums[name] += value;
        EXPECT_EQ(all[step].at(name), value) << name;
        EXPECT_EQ(logged[step].at(name), value) << name;
        EXPECT_EQ(none[step].at(name), value) << name;
        // The same additions in the same order, so equal to the last bit.
        EXPECT_EQ(all[step].at(cum), all_sums[name]) << cum << " at " << step;
        EXPECT_EQ(every_step[step].at(cum), all_sums[name]) << cum << " at " << step;
        EXPECT_EQ(logged[step].at(cum), logged_sums[name]) << cum << " at " << step;
      }
    }
  }
  EXPECT_EQ(all_sums.size(), kBatches.size() * kTerms.size());
}

TEST(TaylorColumns, FollowTheFields) {
  const auto names = [](const Json& changes) {
    return ShortRun(ConfigOf({Taylor(changes)}, {})).probe(0).Values();
  };
  EXPECT_EQ(
      names({{"hessian", false}, {"cumulative", "none"}, {"batches", {"recent", "updating"}}}),
      (std::vector<std::string>{"recent.dot", "recent.delta_loss", "recent.penalty", "updating.dot",
                                "updating.delta_loss", "updating.penalty"}));
  EXPECT_EQ(names({{"batches", {"long_ago"}}}),
            (std::vector<std::string>{
                "long_ago.dot", "long_ago.delta_loss", "long_ago.penalty", "long_ago.second_order",
                "long_ago.remainder", "long_ago.cum_dot", "long_ago.cum_delta_loss",
                "long_ago.cum_penalty", "long_ago.cum_second_order", "long_ago.cum_remainder"}));
}

/// A value depends on its own batch only: not on which others are measured with it, nor on
/// `hessian`, except that rows of a product may be added up in another order when there are more of
/// them.
TEST(TaylorColumns, ValuesDoNotDependOnTheOtherBatches) {
  const auto together = Measure(ConfigOf({Taylor()}, Json::object()));
  for (const std::string& batch : kBatches) {
    const auto alone =
        Measure(ConfigOf({Taylor({{"batches", {batch}}, {"hessian", false}})}, Json::object()));
    for (int64_t step = 0; step < kSteps; ++step) {
      for (const auto& [name, value] : alone[step]) {
        const double other = together[step].at(name);
        if (IsNotMeasured(value)) {
          EXPECT_TRUE(IsNotMeasured(other)) << name;
        } else {
          EXPECT_NEAR(value, other, 1e-13) << name << " at " << step;
        }
      }
    }
  }
}

/// Under shuffle the updating batch of an epoch's end has 3 examples, the recent one 7: each mean
/// has its own n. That the values agree with the definition is tested above; here, that such steps
/// were among them.
TEST(TaylorAgainstSnapshots, MeetsShortBatches) {
  ShortRun run(ConfigOf({Taylor()}, Json::object()));
  Sampler& sampler = run.experiment().sampler();
  bool differ = false;
  for (int64_t step = kLongAgoLag; step < kSteps; ++step) {
    differ = differ || sampler.At(step).size(0) != sampler.At(step - kLongAgoLag).size(0);
  }
  EXPECT_TRUE(differ);
}

/// In float32, the terms are means over examples of differences of losses in double: what is left
/// is the rounding of the logits. A remainder is not promised to have a correct digit.
TEST(TaylorFloat32, DotAndDeltaLossAreCloseToFloat64) {
  const auto exact = Measure(ConfigOf({Taylor()}, Json::object()));
  const auto rounded = Measure(ConfigOf({Taylor()}, {{"dtype", "float32"}}));
  // One step only: later ones start from weights that differ by more and more roundings.
  for (const std::string name : {"updating.dot", "updating.delta_loss", "updating.second_order"}) {
    EXPECT_NEAR(rounded[0].at(name), exact[0].at(name), 8 * 30 * Epsilon(at::kFloat)) << name;
  }
}

}  // namespace
}  // namespace sgdscope
