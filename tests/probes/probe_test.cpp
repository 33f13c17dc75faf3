#include "probes/probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/error.h"
#include "run/checkpoint.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

constexpr int64_t kSteps = 30;

/// A probe as it stands in a config. `every` counts in units of its own, if it has one: a probe that
/// costs much has.
Json InConfig(const LeafCase& probe, int64_t every) {
  Json config = probe.fields;
  config["name"] = probe.name;
  config["every"] = every * probe.fields.value("every", int64_t{1});
  return config;
}

/// Every registered probe, and its variants.
std::vector<Json> AllProbes(int64_t every) {
  std::vector<Json> probes;
  for (const LeafCase& probe : AllLeaves<Probe>()) probes.push_back(InConfig(probe, every));
  return probes;
}

/// One probe, changed.
Json ProbeConfig(const std::string& name, int64_t every, const Json& changes = Json::object()) {
  Json probe = InConfig({name, BaseFields<Probe>(name)}, every);
  probe.update(changes);
  return probe;
}

Json ConfigWith(const std::vector<Json>& probes, const TempFolder& folder, const Json& update,
                const std::string& dtype = "float32") {
  Json config =
      SyntheticConfig({{"update", update}, {"dtype", dtype}, {"output", folder.path().string()}});
  config["data"]["label_noise"] = {{"fraction", 0.5}};  // some probes need it
  config["probes"] = Json::array();
  for (size_t i = 0; i < probes.size(); ++i) {
    config["probes"].push_back(probes[i]);
    config["probes"][i]["label"] = "probe" + std::to_string(i);
  }
  return config;
}

const std::vector<Json> kUpdates = {
    {{"name", "sgd"}, {"learning_rate", 0.1}},
    {{"name", "sgd"}, {"learning_rate", 0.05}, {"momentum", 0.9}},
    {{"name", "adam"}, {"learning_rate", 0.01}},
};

/// All that a probe sees, copied.
std::vector<at::Tensor> Copies(const StepView& view, const UpdateRule& rule) {
  std::vector<at::Tensor> copies = {view.theta.clone(),
                                    view.g.clone(),
                                    view.update.direction.clone(),
                                    view.gradients.Mean().clone(),
                                    view.gradients.losses.clone(),
                                    view.batch.indices.clone(),
                                    view.batch.inputs.clone(),
                                    view.batch.labels.clone()};
  for (const auto& [name, tensor] : rule.State()) copies.push_back(tensor.clone());
  return copies;
}

/// Stepper::Step by hand, so that one can look before and after each probe.
void StepAndCheckProbes(ShortRun& run, at::Tensor& theta, int64_t step) {
  at::NoGradGuard no_grad;
  const RunConfig& config = run.config();
  const Oracle& oracle = run.experiment().train();
  const Batch batch = oracle.Load(run.experiment().sampler().At(step));
  const auto [gradients, g, extras] =
      config.gradient->EvaluateAndEstimate(step, batch, theta, oracle);
  const Update update = config.update->Next({step, batch, gradients, oracle, g, theta, {}});
  const auto estimate = [&](const Batch& on, int64_t draw) {
    return config.gradient->EvaluateAndEstimate(draw, on, theta, oracle).g;
  };
  const StepView view{step,
                      batch,
                      gradients,
                      theta,
                      g,
                      update,
                      oracle,
                      run.experiment().test(),
                      run.experiment().sampler(),
                      estimate,
                      extras};
  for (size_t i = 0; i < run.probe_count(); ++i) {
    Probe& probe = run.probe(i);
    if (!probe.MeasuresAt(step)) continue;
    const std::string what =
        config.probes.choices()[i]->selected() + " at step " + std::to_string(step);
    const auto before = Copies(view, *config.update);
    const at::Tensor values = probe.Measure(view);
    const auto after = Copies(view, *config.update);
    for (size_t k = 0; k < before.size(); ++k)
      EXPECT_TRUE(SameBits(before[k], after[k])) << what << ": " << k;
    ASSERT_TRUE(values.defined()) << what;
    EXPECT_EQ(values.sizes(), at::IntArrayRef({static_cast<int64_t>(probe.Values().size())}))
        << what;
    EXPECT_EQ(values.scalar_type(), at::kDouble) << what;
    EXPECT_FALSE(values.requires_grad()) << what;
  }
  theta.add_(update.direction, update.scale);
}

TEST(ProbeContract, MeasuresAsManyNumbersAsItNamesAndModifiesNothing) {
  for (const std::string dtype : {"float32", "float64"}) {
    for (const Json& update : kUpdates) {
      const TempFolder folder;
      ShortRun run(ConfigWith(AllProbes(1), folder, update, dtype));
      at::Tensor theta = run.stepper().theta().clone();
      for (int64_t step = 0; step < 15; ++step) StepAndCheckProbes(run, theta, step);
    }
  }
}

TEST(ProbeContract, NamesAreDistinctAndKnownBeforeTheFirstStep) {
  const TempFolder folder;
  ShortRun run(ConfigWith(AllProbes(1), folder, kUpdates[0]));
  std::vector<std::vector<std::string>> before;
  for (size_t i = 0; i < run.probe_count(); ++i) {
    before.push_back(run.probe(i).Values());
    const std::set<std::string> distinct(before.back().begin(), before.back().end());
    EXPECT_EQ(distinct.size(), before.back().size()) << i;
    for (const std::string& name : distinct) {
      EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_."), std::string::npos)
          << name;
    }
  }
  for (int64_t step = 0; step < 12; ++step) run.stepper().Step(step);
  for (size_t i = 0; i < run.probe_count(); ++i) EXPECT_EQ(run.probe(i).Values(), before[i]) << i;
}

TEST(ProbeContract, LogsAtItsCadence) {
  const TempFolder folder;
  const std::vector<Json> probes = AllProbes(7);
  ShortRun run(ConfigWith(probes, folder, kUpdates[0]));
  for (int64_t step = 0; step < kSteps; ++step) {
    const Stepper::Measured measured = run.stepper().Step(step);
    ASSERT_EQ(measured.probes.size(), run.probe_count());
    for (size_t i = 0; i < run.probe_count(); ++i) {
      const bool due = step % probes[i]["every"].get<int64_t>() == 0;
      EXPECT_EQ(run.probe(i).LogsAt(step), due) << i << " at " << step;
      EXPECT_EQ(measured.probes[i].defined(), run.probe(i).MeasuresAt(step)) << i << " at " << step;
      EXPECT_TRUE(!due || run.probe(i).MeasuresAt(step)) << i << " at " << step;
    }
  }
}

TEST(ProbeContract, LogsAtLogSpacedSteps) {
  std::vector<Json> probes = AllProbes(1);
  for (Json& probe : probes) {
    probe.erase("every");
    probe["at"] = "log";
    probe["per_decade"] = 2;
  }
  const TempFolder folder;
  ShortRun run(ConfigWith(probes, folder, kUpdates[0]));
  const std::set<int64_t> due = {0, 1, 3, 10};  // the next one is 32
  for (int64_t step = 0; step < kSteps; ++step) {
    const Stepper::Measured measured = run.stepper().Step(step);
    for (size_t i = 0; i < run.probe_count(); ++i) {
      EXPECT_EQ(run.probe(i).LogsAt(step), due.contains(step)) << i << " at " << step;
      EXPECT_EQ(measured.probes[i].defined(), run.probe(i).MeasuresAt(step)) << i << " at " << step;
    }
  }
}

/// What a resume does, at every step: a fresh run with the saved state measures the same bits.
TEST(ProbeContract, StateIsAllThatARestartNeeds) {
  for (const int64_t every : {1, 4}) {
    const TempFolder folder;
    const Json config = ConfigWith(AllProbes(every), folder, kUpdates[1]);
    ShortRun run(config);
    for (int64_t step = 0; step < 14; ++step) {
      std::map<std::string, at::Tensor> saved;
      for (const auto& [name, tensor] : run.stepper().State()) saved[name] = tensor.clone();
      ShortRun resumed(config);
      RestoreState(saved, resumed.stepper().State(), "checkpoint");
      const Stepper::Measured expected = run.stepper().Step(step);
      const Stepper::Measured actual = resumed.stepper().Step(step);
      for (size_t i = 0; i < run.probe_count(); ++i) {
        EXPECT_TRUE(SameBits(actual.probes[i], expected.probes[i]))
            << config["probes"][i]["name"] << " resumed at step " << step;
      }
      EXPECT_TRUE(SameBits(resumed.stepper().theta(), run.stepper().theta()));
    }
  }
}

/// Theta before each step, and the loss of each step.
struct Path {
  Path(const std::vector<Json>& probes, const Json& update, const std::string& dtype,
       const Json& data = Json::object()) {
    const TempFolder folder;
    Json config = ConfigWith(probes, folder, update, dtype);
    for (const auto& [key, value] : data.items()) config["data"][key] = value;
    ShortRun run(config);
    for (int64_t step = 0; step < kSteps; ++step) {
      thetas.push_back(run.stepper().theta().clone());
      losses.push_back(run.stepper().Step(step).loss);
    }
    thetas.push_back(run.stepper().theta().clone());
  }
  /// The first step whose theta or loss has other bits; -1: none.
  int64_t FirstDifference(const Path& other) const {
    for (int64_t step = 0; step < kSteps; ++step) {
      if (!SameBits(thetas[step], other.thetas[step])) return step;
      if (!SameBits(losses[step], other.losses[step])) return step;
    }
    return SameBits(thetas.back(), other.thetas.back()) ? -1 : kSteps;
  }

  std::vector<at::Tensor> thetas;
  std::vector<at::Tensor> losses;
};

/// Which of `probes` change the run without probes, each alone.
void ExpectEachAlone(const std::vector<Json>& probes, const Path& plain, const Json& update,
                     const std::string& dtype) {
  for (const Json& probe : probes) {
    EXPECT_EQ(Path({probe}, update, dtype).FirstDifference(plain), -1)
        << probe << " " << update << " " << dtype;
  }
}

TEST(ProbesDontDisturb, EachAloneOrAllTogether) {
  for (const std::string dtype : {"float32", "float64"}) {
    for (const Json& update : kUpdates) {
      const Path plain({}, update, dtype);
      ASSERT_FALSE(SameBits(plain.thetas.front(), plain.thetas.back()));
      ExpectEachAlone(AllProbes(1), plain, update, dtype);
      EXPECT_EQ(Path(AllProbes(1), update, dtype).FirstDifference(plain), -1)
          << "all, " << update << " " << dtype;
    }
  }
}

TEST(ProbesDontDisturb, WhereMostStepsAreNotMeasured) {
  const Path plain({}, kUpdates[0], "float32");
  ExpectEachAlone(AllProbes(7), plain, kUpdates[0], "float32");
  EXPECT_EQ(Path(AllProbes(7), kUpdates[0], "float32").FirstDifference(plain), -1) << "all";
}

TEST(ProbesDontDisturb, AugmentedRuns) {
  const Json images = {{"shape", {1, 4, 3}}, {"augment", {{"pad", 2}}}};
  const Path plain({}, kUpdates[0], "float32", images);
  EXPECT_NE(Path({}, kUpdates[0], "float32", {{"shape", {1, 4, 3}}}).FirstDifference(plain), -1);
  for (const Json& probe : AllProbes(1)) {
    EXPECT_EQ(Path({probe}, kUpdates[0], "float32", images).FirstDifference(plain), -1) << probe;
  }
}

TEST(ProbeLabels, DefaultToTheNameAndAreUnique) {
  const auto read = [](const std::vector<Json>& probes) {
    Json config = SyntheticConfig();
    config["probes"] = Json(probes);
    return ReadRunConfig(config);
  };
  const Json norm = {{"name", "gradient_norm"}};
  const Json labelled = {{"name", "gradient_norm"}, {"label", "norm"}};
  EXPECT_EQ((*read({norm})->probes.choices()[0])->label(), "gradient_norm");
  EXPECT_EQ((*read({norm, labelled})->probes.choices()[1])->label(), "norm");
  ExpectError(ErrorKind::kConfig, {"probes[1].label", "gradient_norm"},
              [&] { read({norm, norm}); });
  Json with_comma = norm;
  with_comma["label"] = "a,b";
  ExpectError(ErrorKind::kConfig, {"probes[0].label", "comma"}, [&] { read({with_comma}); });
}

TEST(GradientNorm, IsTheEuclideanNormOfGAndDelta) {
  for (const Json& update : kUpdates) {
    for (const std::string dtype : {"float32", "float64"}) {
      const TempFolder folder;
      ShortRun run(ConfigWith({{{"name", "gradient_norm"}}}, folder, update, dtype));
      for (int64_t step = 0; step < 5; ++step) {
        const at::Tensor before = run.stepper().theta().clone();
        const Oracle& oracle = run.experiment().train();
        const at::Tensor g =
            oracle.Evaluate(oracle.Load(run.experiment().sampler().At(step)), before).Mean();
        const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
        ASSERT_EQ(values.size(), 2u);
        // p squares of the same sign, added in double: p/2 eps at most, also from float32 numbers.
        const double p = static_cast<double>(before.numel());
        const double norm = oracle::Norm(ToVector(g));
        EXPECT_NEAR(values.at("g"), norm, p * Epsilon(at::kDouble) * norm);
        // theta + delta - theta has lost what rounding theta lost: eps/2 |theta| for each number.
        const at::Tensor delta = run.stepper().theta().to(at::kDouble) - before.to(at::kDouble);
        const double lost = Epsilon(before.scalar_type()) * oracle::Norm(ToVector(before));
        EXPECT_NEAR(values.at("delta"), oracle::Norm(ToVector(delta)), lost) << update;
        if (update["name"] == "sgd" && !update.contains("momentum")) {
          EXPECT_NEAR(values.at("delta"), 0.1 * norm, 1e-14 * norm);
        }
      }
    }
  }
}

Json Lagged(const std::string& name, int64_t recent, int64_t long_ago) {
  return ProbeConfig(name, 1, {{"recent_lag", recent}, {"long_ago_lag", long_ago}});
}

void Refused(const Json& probe, const std::vector<std::string>& parts,
             const Json& changes = Json::object()) {
  const TempFolder folder;
  Json config = ConfigWith({probe}, folder, kUpdates[0]);
  for (const auto& [key, value] : changes.items()) config[key] = value;
  ExpectError(ErrorKind::kConfig, parts, [&] {
    const auto read = ReadRunConfig(config);
    const Experiment experiment(*read);  // before any data is read
  });
}

void Accepted(const Json& probe) {
  const TempFolder folder;
  const auto read = ReadRunConfig(ConfigWith({probe}, folder, kUpdates[0]));
  const Experiment experiment(*read);
}

TEST(ProbeLags, AreRefusedBeforeTheRunWhereNoStepHasThem) {
  Accepted(Lagged("taylor", 1, kSteps - 1));
  Refused(Lagged("taylor", 1, kSteps), {"probes[0].long_ago_lag", "30"});
  Refused(Lagged("taylor", 5, 5), {"probes[0].recent_lag", "5"});
  Refused(Lagged("taylor", 6, 5), {"probes[0].recent_lag", "6", "5"});
  Refused(Lagged("taylor", 0, 5), {"probes[0].recent_lag", "0"});
  Refused(Lagged("snapshot", 6, 5), {"probes[0].recent_lag", "6", "5"});
}

TEST(ProbeLags, NeedASamplerWhoseBatchesDiffer) {
  Json full = ConfigWith({}, TempFolder(), kUpdates[0]);
  const auto try_with = [&](const Json& probe) {
    Json config = full;
    config.erase("batch_size");
    config["sampler"] = {{"name", "full"}};
    config["probes"] = Json::array({probe});
    const auto read = ReadRunConfig(config);
    const Experiment experiment(*read);
  };
  ExpectError(ErrorKind::kConfig, {"probes[0]", "same batch"},
              [&] { try_with(Lagged("taylor", 1, 2)); });
  try_with(ProbeConfig("taylor", 1, {{"batches", {"updating"}}}));
}

TEST(ProbeFields, ContradictionsAreRefused) {
  Refused(ProbeConfig("taylor", 1, {{"batches", Json::array()}}), {"probes[0].batches", "empty"});
  Refused(ProbeConfig("taylor", 1, {{"batches", {"recent", "recent"}}}),
          {"probes[0].batches", "twice"});
  Refused(ProbeConfig("taylor", 1, {{"batches", {"future"}}}), {"probes[0].batches[0]", "future"});
  Refused(ProbeConfig("taylor", 1, {{"cumulative", "some"}}), {"probes[0].cumulative", "some"});
  Refused(ProbeConfig("taylor", 0), {"probes[0].every", "0"});
  Refused(ProbeConfig("taylor", 1, {{"every_epochs", 1}}), {"probes[0]", "every_epochs"});
  Refused(ProbeConfig("snapshot", 1, {{"steps", {3}}}), {"probes[0]", "steps", "cadence"});
  Json never = ProbeConfig("snapshot", 1);
  never.erase("every");
  Refused(never, {"probes[0]", "steps", "cadence"});
  never["steps"] = {0, kSteps};
  Refused(never, {"probes[0].steps[1]", "30", "29"});
}

}  // namespace
}  // namespace sgdscope
