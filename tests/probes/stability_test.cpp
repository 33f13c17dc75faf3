#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/csv.h"
#include "core/rng.h"
#include "core/tensor_file.h"
#include "data/distinct.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/probes/lone_probe.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr int64_t kSteps = 12;

/// A float64 run with these probes; `changes` to the rest of the config.
Json ConfigOf(const std::vector<Json>& probes, const Json& changes,
              const std::string& output = "unused") {
  Json config = SyntheticConfig(changes);
  if (!config.contains("dtype")) config["dtype"] = "float64";
  config["output"] = output;
  config["probes"] = Json(probes);
  return config;
}

Json StabilityWith(const Json& fields) {
  Json probe = {{"name", "stability"}};
  for (const auto& [key, value] : fields.items()) probe[key] = value;
  return probe;
}

const Json kSgd = {{"name", "sgd"}, {"learning_rate", 0.1}};
const Json kMomentum = {{"name", "sgd"}, {"learning_rate", 0.05}, {"momentum", 0.9}};
const Json kNesterov = {{"name", "sgd"},
                        {"learning_rate", 0.05},
                        {"momentum", 0.8},
                        {"nesterov", true},
                        {"weight_decay", 0.01}};
const Json kAdam = {{"name", "adam"}, {"learning_rate", 0.02}};
const oracle::Mlp kMlp{{6, 8, 5, 4}, "relu", true, "cross_entropy"};

Vector Times(const Vector& a, const Vector& b) {
  Vector product;
  for (size_t i = 0; i < a.size(); ++i) product.push_back(a[i] * b[i]);
  return product;
}

/// The diagonal of P after a step, from the rule's state.
Vector MetricOf(const ShortRun& run, const Json& update, int64_t step) {
  if (update["name"] == "sgd") return Vector(kMlp.size(), 1);
  Vector metric = ToVector(run.config().update->State().at("square"));
  for (double& m : metric) {
    m = std::sqrt(m / (1 - std::pow(0.999, static_cast<double>(step + 1)))) + 1e-8;
  }
  return metric;
}

double ThresholdOf(const Json& update, int64_t step) {
  const double eta = update["learning_rate"];
  if (update["name"] == "sgd") {
    const double beta = update.value("momentum", 0.0);
    const double most =
        update.contains("nesterov") ? 2 * (1 + beta) / (1 + 2 * beta) : 2 + 2 * beta;
    return most / eta - update.value("weight_decay", 0.0);
  }
  return (2 + 2 * 0.9) * (1 - std::pow(0.9, static_cast<double>(step + 1))) / ((1 - 0.9) * eta);
}

/// Products and norms of fresh batches by plain loops.
struct FreshBatches {
  /// `updating`: the first of them, if it has examples.
  FreshBatches(const ShortRun& run, const Vector& theta, const Vector& metric, int64_t step,
               int64_t count, const std::vector<oracle::Example>& updating) {
    Stream stream(3, "stability", static_cast<uint64_t>(step));
    for (int64_t i = 0; i < count; ++i) {
      const bool fresh = i > 0 || updating.empty();
      const auto batch = fresh ? ExamplesOf(run, DrawDistinct(stream, 7, 45)) : updating;
      const Vector g = oracle::MeanGradient(kMlp, theta, batch);
      Vector d;
      for (size_t j = 0; j < g.size(); ++j) d.push_back(g[j] / metric[j]);
      curvatures.push_back(oracle::Dot(d, oracle::MeanHessianVector(kMlp, theta, batch, d)));
      norms.push_back(oracle::Dot(d, g));
    }
  }
  static double Mean(const Vector& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  }
  static double StandardError(const Vector& values) {
    double squares = 0;
    for (const double value : values) squares += std::pow(value - Mean(values), 2);
    const auto k = static_cast<double>(values.size());
    return std::sqrt(squares / (k * (k - 1)));
  }

  Vector curvatures, norms;
};

/// Values of `count` batches at a step of the run, by their definitions.
std::map<std::string, double> ExpectedAt(const ShortRun& run, const Json& update, int64_t step,
                                         const std::map<std::string, at::Tensor>& tensors,
                                         int64_t count, bool with_updating) {
  const Vector theta = ToVector(tensors.at("theta"));
  const Vector delta = ToVector(tensors.at("delta"));
  const Vector metric = MetricOf(run, update, step);
  const auto batch = ExamplesOf(run, tensors.at("batch.updating"));
  std::map<std::string, double> expected;
  expected["step_sharpness"] =
      oracle::Dot(delta, oracle::MeanHessianVector(kMlp, theta, batch, delta)) /
      oracle::Dot(delta, Times(metric, delta));
  expected["threshold"] = ThresholdOf(update, step);
  const FreshBatches fresh(run, theta, metric, step, count,
                           with_updating ? batch : std::vector<oracle::Example>());
  Vector quotients, residuals;
  const double pooled = FreshBatches::Mean(fresh.curvatures) / FreshBatches::Mean(fresh.norms);
  for (size_t i = 0; i < fresh.norms.size(); ++i) {
    quotients.push_back(fresh.curvatures[i] / fresh.norms[i]);
    residuals.push_back(fresh.curvatures[i] - pooled * fresh.norms[i]);
  }
  expected["batch_sharpness"] = FreshBatches::Mean(quotients);
  expected["pooled_sharpness"] = pooled;
  if (count > 1) {
    expected["batch_sharpness_error"] = FreshBatches::StandardError(quotients);
    expected["pooled_sharpness_error"] =
        FreshBatches::StandardError(residuals) / FreshBatches::Mean(fresh.norms);
  }
  expected["step_ratio"] = expected["step_sharpness"] / expected["threshold"];
  expected["batch_ratio"] = expected["batch_sharpness"] / expected["threshold"];
  return expected;
}

/// The first steps of a run with this probe.
void ExpectDefinitions(const Json& update, int64_t count, bool with_updating, const Json& changes) {
  const TempFolder folder;
  Json all = {{"update", update}};
  all.update(changes);
  ShortRun run(
      ConfigOf({StabilityWith({{"batches", count}, {"with_updating", with_updating}}),
                {{"name", "snapshot"}, {"every", 1}, {"recent_lag", 1}, {"long_ago_lag", 2}}},
               all, folder.path().string()));
  for (int64_t step = 0; step < kSteps; ++step) {
    const auto measured = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    const auto tensors =
        ReadTensorFile(folder / ("snapshots/step_" + std::to_string(step) + ".safetensors"))
            .tensors;
    const auto expected = ExpectedAt(run, update, step, tensors, count, with_updating);
    ASSERT_EQ(measured.size(), expected.size());
    // Sums of n + widths = 30 terms, quotients of the order of |H|, up to 10 here.
    for (const auto& [name, value] : expected) {
      EXPECT_NEAR(measured.at(name), value, 1e-12 * (10 + std::abs(value)))
          << all << ", step " << step << ", " << name;
    }
  }
}

TEST(StabilityProbe, EveryValueAgreesWithItsDefinition) {
  for (const Json& update : {kSgd, kMomentum, kNesterov, kAdam}) {
    for (const bool with_updating : {false, true}) {
      ExpectDefinitions(update, 3, with_updating, Json::object());
    }
  }
}

/// Fresh batches share sweeps as far as they fit into a piece; a batch of 7 may be in pieces itself.
TEST(StabilityProbe, PiecesChangeNothing) {
  for (const int64_t size : {15, 4}) ExpectDefinitions(kSgd, 3, true, {{"piece_size", size}});
}

/// More batches than share one sweep.
TEST(StabilityProbe, TakesAsManyBatchesAsAsked) {
  ExpectDefinitions({{"name", "sgd"}, {"learning_rate", 0.1}}, 80, false, {{"steps", kSteps}});
}

/// Under plain SGD the updating batch alone is what step_sharpness is of.
TEST(StabilityProbe, TheUpdatingBatchsSharpnessIsThatOfTheStep) {
  ShortRun run(
      ConfigOf({StabilityWith({{"batches", 1}, {"with_updating", true}})}, {{"update", kSgd}}));
  for (int64_t step = 0; step < kSteps; ++step) {
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    EXPECT_NEAR(values.at("batch_sharpness"), values.at("step_sharpness"),
                1e-15 * std::abs(values.at("step_sharpness")));
  }
}

/// Under plain SGD delta is -eta g, and both are the same Rayleigh quotient.
TEST(StabilityProbe, IsTwiceTaylorsSecondOrderOverEtaTimesItsFirst) {
  const Json taylor = {{"name", "taylor"}, {"hessian", true}, {"batches", {"updating"}}};
  for (const std::string first : {"stability", "taylor"}) {
    std::vector<Json> probes = {StabilityWith({{"batches", 0}}), taylor};
    if (first == "taylor") std::swap(probes[0], probes[1]);
    ShortRun run(ConfigOf(probes, Json::object()));
    for (int64_t step = 0; step < kSteps; ++step) {
      std::map<std::string, double> values;
      const auto measured = run.stepper().Step(step).probes;
      for (size_t i = 0; i < 2; ++i) {
        for (const auto& [name, value] : ByName(run.probe(i), measured[i])) values[name] = value;
      }
      const double expected =
          2 * values.at("updating.second_order") / (0.1 * values.at("updating.dot"));
      EXPECT_NEAR(values.at("step_sharpness"), expected, 1e-13 * std::abs(expected)) << step;
    }
  }
}

/// The Euclidean metric is that of the definition without P, whatever the rule.
TEST(StabilityProbe, WithoutThresholdIsEuclidean) {
  ShortRun run(ConfigOf({StabilityWith({{"batches", 0}, {"threshold", false}}),
                         {{"name", "taylor"}, {"hessian", true}, {"batches", {"updating"}}},
                         {{"name", "gradient_norm"}}},
                        {{"update", kAdam}}));
  EXPECT_EQ(run.probe(0).Values(), std::vector<std::string>{"step_sharpness"});
  for (int64_t step = 0; step < kSteps; ++step) {
    const auto measured = run.stepper().Step(step).probes;
    const double norm = ByName(run.probe(2), measured[2]).at("delta");
    const double curved = 2 * ByName(run.probe(1), measured[1]).at("updating.second_order");
    EXPECT_NEAR(measured[0].item<double>(), curved / (norm * norm),
                1e-12 * std::abs(curved) / (norm * norm));
  }
}

/// A quadratic loss L(theta) - s dot + s^2 second_order comes back at s = dot / second_order.
TEST(StabilityProbe, CriticalStepOfAQuadraticLossIsWhereItComesBack) {
  constexpr int kPasses = 20;
  const Json model = {{"name", "mlp"}, {"hidden", Json::array()}};
  for (const double rate : {0.01, 0.3, 5.0}) {  // the critical steps are above, around, below 1
    ShortRun run(ConfigOf({StabilityWith({{"batches", 0}, {"critical_passes", kPasses}})},
                          {{"model", model},
                           {"loss", "mean_squared_error"},
                           {"update", {{"name", "sgd"}, {"learning_rate", rate}}}}));
    for (int64_t step = 0; step < 4; ++step) {
      const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
      const double octaves =
          std::log2(values.at("critical_step") * rate * values.at("step_sharpness") / 2);
      EXPECT_NEAR(octaves, 0, std::exp2(2 - kPasses)) << rate << " " << step;
    }
  }
}

TEST(StabilityProbe, CriticalStepStaysWithinItsRange) {
  for (const double rate : {1e-6, 1e4}) {
    ShortRun run(ConfigOf({StabilityWith({{"batches", 0}, {"critical_passes", 30}})},
                          {{"update", {{"name", "sgd"}, {"learning_rate", rate}}}}));
    const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
    EXPECT_NEAR(std::log2(values.at("critical_step")), rate < 1 ? 8 : -8, 1e-6);
  }
}

TEST(StabilityProbe, MeasuresNothingOfAStepThatDoesNotMove) {
  const OracleUnderTest it(MakeRandomMlp(3), at::kDouble);
  LoneProbe probe("stability", {{"batches", 0}, {"critical_passes", 3}}, it);
  const auto values = probe.Measure(0, it.batch.indices);
  EXPECT_TRUE(IsNotMeasured(values.at("step_sharpness")));
  EXPECT_TRUE(IsNotMeasured(values.at("critical_step")));
}

TEST(StabilityProbe, RefusesWhatHasNoMeaning) {
  const auto refuse = [](const Json& probe, const Json& changes,
                         const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { ShortRun run(ConfigOf({probe}, changes)); });
  };
  const Json sequential = {{"name", "sequential"}, {"learning_rate", 0.1}, {"block", "tensor"}};
  refuse(StabilityWith({}), {{"update", sequential}}, {"probes[0].threshold", "false"});
  ShortRun(ConfigOf({StabilityWith({{"threshold", false}})}, {{"update", sequential}}));
  Json full = SyntheticConfig({{"sampler", {{"name", "full"}}}});
  full.erase("batch_size");
  full["probes"] = Json::array({StabilityWith({{"batches", 1}})});
  ExpectError(ErrorKind::kConfig, {"probes[0].batches", "1", "same batch"},
              [&] { ShortRun run(full); });
  full["probes"][0]["batches"] = 0;
  ShortRun run(full);
  refuse(StabilityWith({{"batches", 0}, {"with_updating", true}}), Json::object(),
         {"probes[0].with_updating", "batches"});
  // With replacement a batch may be larger than the training set, but not of distinct examples.
  const Json large = {{"batch_size", 46}, {"sampler", {{"name", "replacement"}}}};
  refuse(StabilityWith({}), large, {"probes[0].batches", "46 distinct", "45 training examples"});
  refuse(StabilityWith({{"batches", 2}, {"with_updating", true}}), large, {"probes[0].batches"});
  for (const Json& fields : {Json{{"batches", 0}}, Json{{"batches", 1}, {"with_updating", true}}}) {
    ShortRun allowed(ConfigOf({StabilityWith(fields)}, large));
    allowed.stepper().Step(0);
  }
}

/// Help and errors name all rules that a threshold is known of.
TEST(StabilityProbe, NamesTheRulesThatKnowStability) {
  std::string known;
  for (const auto& [name, entry] : Registry<UpdateRule>::entries()) {
    if (!entry.make()->KnowsStability()) continue;
    known += (known.empty() ? "" : ", ") + name;
  }
  EXPECT_EQ(kRulesThatKnowStability, known);
  const Json sign = {{"name", "sign_sgd"}, {"learning_rate", 0.1}};
  for (const Json& probe :
       {StabilityWith({}), Json{{"name", "hessian"}, {"preconditioned", true}}}) {
    ExpectError(ErrorKind::kConfig, {known},
                [&] { ShortRun run(ConfigOf({probe}, {{"update", sign}})); });
  }
}

TEST(StabilityProbe, OneBatchHasNoError) {
  ShortRun run(ConfigOf({StabilityWith({{"batches", 1}})}, Json::object()));
  EXPECT_EQ(run.probe(0).Values(),
            (std::vector<std::string>{"step_sharpness", "threshold", "step_ratio",
                                      "batch_sharpness", "pooled_sharpness", "batch_ratio"}));
  const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  EXPECT_EQ(values.at("batch_sharpness"), values.at("pooled_sharpness"));
}

}  // namespace
}  // namespace sgdscope
