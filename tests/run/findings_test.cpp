#include "run/findings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/csv.h"
#include "run/diagnose.h"
#include "run/stepper.h"
#include "tests/run/in_process.h"

// A run made for each finding, and sound ones that get none.

namespace sgdscope {
namespace {

/// A small run that falls, with some of everything that is looked at.
Json SoundConfig() {
  Json config = SmallConfig();
  config["probes"] = Json::parse(
      R"([{"name": "taylor", "hessian": true, "recent_lag": 2, "long_ago_lag": 9},
          {"name": "stability", "batches": 8}, {"name": "gradient_norm"}])");
  return config;
}

/// Where `changes` replaces whole keys.
RunRecord RunOf(Json config, const Json& changes, const std::string& status = "done") {
  const TempFolder folder;
  for (const auto& [key, value] : changes.items()) config[key] = value;
  TrainInto(folder / "run", config, {}, status);
  RunRecord run = ReadRun(folder / "run");
  EXPECT_TRUE(run.network) << run.no_network;
  return run;
}

/// As if everything after the start had taken so many seconds in all.
void Stretch(RunRecord& run, double seconds) {
  const double factor = seconds / SecondsAfterStart(run);
  const auto stretch = [factor](Json& parts) {
    for (auto& part : parts) {
      if (part.is_number()) part = part.get<double>() * factor;
    }
  };
  stretch(run.manifest["seconds"]);
  stretch(run.manifest["seconds"]["probes"]);
}

std::vector<std::string> NamesOf(const std::vector<Finding>& findings) {
  std::vector<std::string> names;
  for (const Finding& finding : findings) names.push_back(finding.name);
  return names;
}

/// The one finding of that name; that the config takes what it proposes is checked.
Finding Only(const RunRecord& run, const std::string& name) {
  const auto all = FindingsOf(run);
  const auto found = std::ranges::find(all, name, &Finding::name);
  if (found == all.end()) {
    ADD_FAILURE() << "no " << name << " in\n" << DiagnosisText(run);
    return {};
  }
  Json config = run.config;
  for (const Setting& setting : found->settings) {
    ApplyOverride(config, setting.path + "=" + setting.value.dump());
    EXPECT_NE(setting.is, setting.value) << setting.path;
  }
  const auto read = ReadRunConfig(config);
  const Experiment experiment(*read);
  return *found;
}

void ExpectNone(const RunRecord& run) {
  EXPECT_EQ(NamesOf(FindingsOf(run)), std::vector<std::string>()) << DiagnosisText(run);
}

bool Says(const Finding& finding, const std::string& part) {
  return finding.says.find(part) != std::string::npos;
}

TEST(Findings, ASoundRunHasNone) {
  const RunRecord run = RunOf(SoundConfig(), {});
  ExpectNone(run);
  const std::string text = DiagnosisText(run);
  EXPECT_NE(text.find(": done, 60 steps"), std::string::npos) << text;
  EXPECT_NE(text.find("nothing remarkable"), std::string::npos) << text;
  EXPECT_NE(text.find("steps "), std::string::npos) << text;
  EXPECT_EQ(text.find("not looked at"), std::string::npos) << text;
}

TEST(Findings, EvaluationsThatTakeMostOfTheTime) {
  Json data = SmallConfig()["data"];
  data["train_size"] = 20000;
  RunRecord run = RunOf(SmallConfig(), {{"eval", {{"every", 1}}}, {"data", data}});
  Stretch(run, 0.9);
  EXPECT_EQ(NamesOf(FindingsOf(run)), std::vector<std::string>()) << "nothing is to be gained";
  Stretch(run, 100);
  const Finding finding = Only(run, "evaluations");
  EXPECT_TRUE(Says(finding, "100 s")) << finding.says;
  EXPECT_TRUE(Says(finding, "61 times")) << finding.says;
  ASSERT_EQ(finding.settings.size(), 1u);
  EXPECT_EQ(finding.settings[0].path, "eval.every");
  EXPECT_EQ(finding.settings[0].is, 1);
  EXPECT_GE(finding.settings[0].value, 10);
  EXPECT_LE(finding.settings[0].value, 100);

  const auto proposed = [&](const Json& eval) {
    run.config["eval"] = eval;
    return Only(run, "evaluations").settings[0].path;
  };
  EXPECT_EQ(proposed(Json::object()), "eval.every");
  EXPECT_EQ(proposed({{"every_epochs", 1}}), "eval.every_epochs");
  EXPECT_EQ(proposed({{"at", "log"}, {"per_decade", 30}}), "eval.per_decade");
  run.config["eval"] = {{"at", "log"}, {"per_decade", 1}};
  EXPECT_TRUE(Only(run, "evaluations").settings.empty()) << "it can't be rarer";
}

/// The value that is proposed brings the part to a tenth of the time, or a bit less.
TEST(Findings, ProposeHowRare) {
  RunRecord run = RunOf(SmallConfig(), {{"eval", {{"every", 1}}}});
  run.manifest["seconds"] = {{"start", 50}, {"steps", 20}, {"evaluations", 80}};
  EXPECT_EQ(Only(run, "evaluations").settings[0].value, 50);  // 36, rounded up
  EXPECT_TRUE(Says(Only(run, "evaluations"), "80 % of the 100 s"));
  run.manifest["seconds"]["steps"] = 80;
  ExpectNone(run);
}

TEST(Findings, AProbeThatTakesMostOfTheTime) {
  Json config = SmallConfig();
  config["probes"] =
      Json::parse(R"([{"name": "gradient_noise", "label": "n", "every": 1, "draws": 60}])");
  RunRecord run = RunOf(config, {});
  Stretch(run, 10);
  const Finding finding = Only(run, "probe_time");
  EXPECT_TRUE(Says(finding, "'n'")) << finding.says;
  EXPECT_TRUE(Says(finding, "60 times")) << finding.says;
  EXPECT_EQ(finding.settings[0].path, "probes[0].every");
  // What is summed at every step is measured at every step.
  config["probes"] = Json::parse(R"([{"name": "taylor", "every": 20, "recent_lag": 2,
                                      "long_ago_lag": 9}])");
  run = RunOf(config, {});
  run.manifest["seconds"] = {{"steps", 1}, {"probes", {{"taylor", 9}}}};
  const Finding summed = Only(run, "probe_time");
  EXPECT_TRUE(Says(summed, "60 times")) << summed.says;
  EXPECT_EQ(summed.settings.back().path, "probes[0].cumulative");
}

TEST(Findings, WritingThatTakesMuchOfTheTime) {
  Json config = SmallConfig();
  config["checkpoint"]["every_steps"] = 1;
  RunRecord run = RunOf(config, {});
  Stretch(run, 10);
  const Finding finding = Only(run, "checkpoints");
  EXPECT_EQ(finding.settings[0].path, "checkpoint.every_steps");
  EXPECT_EQ(finding.settings[0].is, 1);
  EXPECT_TRUE(Says(finding, "61 times")) << finding.says;
  // A fork counts the steps of its parent, but made none of their checkpoints.
  run.manifest["fork"] = {{"step", 40}};
  run.manifest["seconds"] = {{"steps", 7}, {"checkpoints", 3}};
  EXPECT_TRUE(Says(Only(run, "checkpoints"), "21 times")) << Only(run, "checkpoints").says;
  run.config["checkpoint"]["every_steps"] = 20;
  ExpectNone(run);
  run.manifest.erase("fork");
  run.manifest["seconds"] = {{"steps", 7}, {"rows", 3}};
  EXPECT_EQ(Only(run, "rows").settings[0].path, "log.every");
  run.manifest["seconds"]["clock"] = "host";  // where rows wait for the device
  ExpectNone(run);
}

TEST(Findings, CheckpointsThatAreKeptOften) {
  Json config = SmallConfig();
  config["checkpoint"] = {{"every_steps", 20}, {"keep", {{"every", 1}}}};
  RunRecord run = RunOf(config, {});
  Stretch(run, 10);
  const Finding kept = Only(run, "checkpoints");
  EXPECT_FALSE(Says(kept, " times ")) << kept.says;  // not known, with two cadences
  ASSERT_EQ(kept.settings.size(), 1u);
  EXPECT_EQ(kept.settings[0].path, "checkpoint.keep.every");
  EXPECT_EQ(kept.settings[0].is, 1);
  run.config["checkpoint"] = {{"every_steps", 1}, {"keep", {{"every_epochs", 1}}}};
  const Finding both = Only(run, "checkpoints");
  ASSERT_EQ(both.settings.size(), 2u);
  EXPECT_EQ(both.settings[0].path, "checkpoint.keep.every_epochs");
  EXPECT_EQ(both.settings[1].path, "checkpoint.every_steps");
}

TEST(Findings, DifferencesBelowTheRounding) {
  Json config = SoundConfig();
  config["update"]["learning_rate"] = 3e-5;
  config["update"]["momentum"] = 0;
  const RunRecord run = RunOf(config, {});
  EXPECT_EQ(Only(run, "rounding").settings[0].path, "dtype");
  // Penalty and remainder of three batches, but not the changes themselves, nor running sums.
  const auto names = NamesOf(FindingsOf(run));
  EXPECT_EQ(std::ranges::count(names, "rounding"), 6) << DiagnosisText(run);
  config["dtype"] = "float64";
  const auto in_double = NamesOf(FindingsOf(RunOf(config, {})));
  EXPECT_EQ(std::ranges::count(in_double, "rounding"), 0);
}

TEST(Findings, ErrorsTooWideToSayAnything) {
  Json config = SmallConfig();
  config["probes"] =
      Json::parse(R"([{"name": "gradient_noise", "every": 5, "draws": 5, "projections": 4}])");
  const RunRecord run = RunOf(config, {});
  const Finding finding = Only(run, "wide_errors");
  EXPECT_TRUE(Says(finding, "kurtosis")) << finding.says;
  EXPECT_NE((finding.advice + (finding.settings.empty() ? "" : finding.settings[0].path))
                .find("probes[0].draws"),
            std::string::npos);
}

/// The share, the field and how many draws, on made-up rows: 4 times as many make 4 errors of 1.
TEST(Findings, WideErrorsNameTheFieldThatNarrowsThem) {
  RunRecord run = RunOf(SoundConfig(), {});
  for (size_t i = 0; i < run.metrics.names.size(); ++i) {
    auto& values = run.metrics.values[i];
    if (run.metrics.names[i] == "stability.batch_sharpness") std::ranges::fill(values, -1);
    if (run.metrics.names[i] == "stability.batch_sharpness_error") {
      std::ranges::fill(values, 1);
      values[0] = kNotMeasured;
      values[1] = 0.1;
    }
  }
  const Finding finding = Only(run, "wide_errors");
  EXPECT_TRUE(Says(finding, "98 % of the rows")) << finding.says;
  EXPECT_EQ(finding.settings[0].path, "probes[1].batches");
  EXPECT_EQ(finding.settings[0].value, 50);  // 4 * 8, rounded up
}

TEST(Findings, StepsBeyondTheThreshold) {
  const RunRecord sound = RunOf(SoundConfig(), {});
  RunRecord run = sound;
  Json config = SoundConfig();
  config["update"] = {{"name", "sgd"}, {"learning_rate", 8}};
  config["data"]["label_noise"] = {{"fraction", 0.5}};
  run = RunOf(config, {});
  const Finding finding = Only(run, "unstable");
  EXPECT_TRUE(Says(finding, "step_ratio")) << finding.says;
  EXPECT_EQ(finding.settings[0].path, "update.learning_rate");
  EXPECT_LT(finding.settings[0].value, 8);
}

TEST(Findings, ADivergenceAndWhereItBegan) {
  Json config = SoundConfig();
  config["update"] = {{"name", "sgd"}, {"learning_rate", 1e4}};
  config["steps"] = 3000;
  config["loss"] = "mean_squared_error";
  const RunRecord run = RunOf(config, {}, "diverged");
  const Finding finding = Only(run, "divergence");
  EXPECT_TRUE(Says(finding, "left its range at step 1, from ")) << finding.says;
  EXPECT_TRUE(Says(finding, "stability.step_ratio")) << finding.says;
  EXPECT_EQ(finding.settings[0].path, "update.learning_rate");
}

/// On made-up losses: the first row that is above the 20 before it and stays there.
TEST(Findings, ADivergenceBeginsWhereTheLossLeavesItsRange) {
  RunRecord run = RunOf(SmallConfig(), {});
  run.manifest["status"] = "diverged";
  auto& loss = run.metrics.values[2];
  for (size_t i = 0; i < loss.size(); ++i) {
    const double noise = i % 3 == 0 ? 0.1 : 0;
    loss[i] = i < 40 ? 1 + noise : 2.0 * static_cast<double>(i) + noise;
  }
  loss[30] = 100;  // a spike, from which it comes back
  EXPECT_TRUE(Says(Only(run, "divergence"), "left its range at step 51, from 100 to 102"))
      << Only(run, "divergence").says;
  loss[30] = 1;
  loss[10] = 1000;
  EXPECT_TRUE(Says(Only(run, "divergence"), "left its range at step 40, from 1.1 to 80"))
      << Only(run, "divergence").says;
}

TEST(Findings, ALossThatDoesNotFall) {
  Json config = SmallConfig();
  config["update"]["learning_rate"] = 1e-7;
  const RunRecord still = RunOf(config, {});
  EXPECT_TRUE(Says(Only(still, "not_falling"), "does not fall"));
  EXPECT_GT(Only(still, "not_falling").settings[0].value, 1e-7);
  RunRecord fork = still;
  fork.manifest["fork"] = {{"step", 10}};
  ExpectNone(fork);
  RunRecord steep = still;  // as rows that lie evenly on a logarithmic axis show it
  for (size_t i = 0; i < 60; ++i) steep.metrics.values[2][i] = 1 / (1e-3 + static_cast<double>(i));
  ExpectNone(steep);
  RunRecord rising = still;
  for (size_t i = 0; i < 60; ++i) rising.metrics.values[2][i] = static_cast<double>(i);
  EXPECT_TRUE(Says(Only(rising, "not_falling"), "rises"));
  EXPECT_LT(Only(rising, "not_falling").settings[0].value, 1e-7);
  RunRecord begun = still;
  begun.manifest["status"] = "running";
  begun.at_work = true;
  ExpectNone(begun);
}

TEST(Findings, ARunThatIsNotFinished) {
  const TempFolder folder;
  TrainInto(folder / "run", SmallConfig());
  Json manifest = ReadJson(folder / "run" / "manifest.json");
  const auto with_status = [&](const std::string& status) {
    manifest["status"] = status;
    manifest["reason"] = "why not";
    WriteFileAtomically(folder / "run" / "manifest.json", manifest.dump(2));
    return ReadRun(folder / "run");
  };
  for (const std::string status : {"interrupted", "failed"}) {
    const Finding finding = Only(with_status(status), "unfinished");
    EXPECT_TRUE(Says(finding, status + " after 60 steps: why not")) << finding.says;
    EXPECT_NE(finding.advice.find("--resume"), std::string::npos);
  }
  EXPECT_TRUE(Says(Only(with_status("running"), "unfinished"), "process is gone"));
  const FolderLock at_work(folder / "run");
  ExpectNone(with_status("running"));
}

/// How many units of a first layer have no output above 0, by the definition.
int64_t SilentByDefinition(const std::filesystem::path& folder) {
  const auto config = ReadRunConfig(ReadJson(folder / "config.json"));
  Experiment experiment(*config);
  experiment.LoadData();
  const auto checkpoint = LoadLastCheckpoint(folder / "checkpoints", [](const std::string&) {});
  const at::Tensor theta = checkpoint->state.at("theta");
  const at::Tensor weight = theta.narrow(0, 0, 16 * 8).view({16, 8});
  const at::Tensor bias = theta.narrow(0, 16 * 8, 16);
  const at::Tensor inputs = experiment.train().Load(at::arange(200, at::kLong)).inputs;
  const at::Tensor above = at::linear(inputs.flatten(1), weight, bias).gt(0).any(0);
  return 16 - above.sum().item<int64_t>();
}

TEST(Findings, UnitsThatNeverFire) {
  const TempFolder folder;
  Json config = SmallConfig();
  config["update"]["learning_rate"] = 3;
  config["data"]["std"] = 0.3;
  config["model"]["hidden"] = {16, 8};
  TrainInto(folder / "run", config);
  const RunRecord run = ReadRun(folder / "run");
  ASSERT_TRUE(run.network) << run.no_network;
  EXPECT_EQ(run.network->examples, 200);
  ASSERT_EQ(run.network->relus.size(), 2u);
  EXPECT_EQ(run.network->relus[0].units, 16);
  EXPECT_EQ(run.network->relus[1].units, 8);
  const int64_t silent = SilentByDefinition(folder / "run");
  EXPECT_EQ(run.network->relus[0].silent, silent);
  ASSERT_GT(silent, 1);
  const Finding finding = Only(run, "dead_units");
  EXPECT_TRUE(Says(finding, "in linear1 " + std::to_string(silent) + " of 16")) << finding.says;
  EXPECT_TRUE(Says(finding, "on none of 200 ")) << finding.says;
  EXPECT_EQ(finding.settings[0].path, "update.learning_rate");
  RunRecord drawn = run;  // as if they had been so from the start
  for (ReluUnits& relu : drawn.network->relus) relu.silent_at_start = relu.silent;
  EXPECT_EQ(Only(drawn, "dead_units").settings[0].path, "model.init");
  // With no step that is worth the name, those of the start.
  config["update"]["learning_rate"] = 1e-12;
  TrainInto(folder / "still", config);
  const RunRecord still = ReadRun(folder / "still");
  EXPECT_EQ(still.network->relus[0].silent, SilentByDefinition(folder / "still"));
  for (const ReluUnits& relu : still.network->relus) {
    EXPECT_EQ(relu.silent_at_start, relu.silent);
  }
}

/// Channels, and layers inside of residuals: all of them, by the names of their parameters.
TEST(Findings, UnitsOfAllLayersBeforeARelu) {
  const TempFolder folder;
  Json config = SmallConfig();
  config["data"]["shape"] = {1, 4, 4};
  config["model"] = Json::parse(R"({"name": "layers", "layers": [
      {"name": "conv2d", "channels": 3}, {"name": "batch_norm"}, {"name": "relu"},
      {"name": "residual", "branch": [{"name": "conv2d", "channels": 3}, {"name": "relu"},
                                      {"name": "conv2d", "channels": 3}]},
      {"name": "relu"}, {"name": "flatten"}, {"name": "linear", "units": 6}, {"name": "relu"},
      {"name": "linear"}]})");
  TrainInto(folder / "run", config);
  // All outputs of what comes before a relu are made negative, but for one channel's.
  const auto checkpoints = folder / "run" / "checkpoints";
  Checkpoint checkpoint = *LoadLastCheckpoint(checkpoints, [](const std::string&) {});
  const auto read = ReadRunConfig(config);
  const Experiment experiment(*read);
  const std::vector<std::string> before = {"batch_norm1.beta", "residual1.conv2d1.bias",
                                           "linear1.bias"};
  for (const Parameter& parameter : experiment.network().table.parameters()) {
    if (std::ranges::find(before, parameter.name) == before.end()) continue;
    at::Tensor theta = checkpoint.state.at("theta");
    theta.narrow(0, parameter.offset, parameter.size).fill_(-1e20);
    if (parameter.name == before[1]) theta[parameter.offset + 1] = 1;
  }
  SaveCheckpoint(checkpoints, checkpoint);
  const RunRecord run = ReadRun(folder / "run");
  ASSERT_TRUE(run.network) << run.no_network;
  std::vector<std::string> found;
  for (const ReluUnits& relu : run.network->relus) {
    found.push_back(relu.layer + " " + std::to_string(relu.silent) + "/" +
                    std::to_string(relu.units));
  }
  EXPECT_EQ(found,
            (std::vector<std::string>{"batch_norm1 3/3", "residual1.conv2d1 2/3", "linear1 6/6"}));
}

TEST(Findings, BatchesTooSmallToBeNormalized) {
  Json config = SmallConfig();
  config["model"] = Json::parse(R"({"name": "layers", "layers": [
      {"name": "flatten"}, {"name": "linear", "units": 8}, {"name": "batch_norm"},
      {"name": "tanh"}, {"name": "linear"}]})");
  ExpectNone(RunOf(config, {}));
  config["batch_size"] = 30;
  config["sampler"] = {{"name", "shuffle"}, {"drop_last", true}};
  ExpectNone(RunOf(config, {}));
  config["batch_size"] = 32;
  config["sampler"]["drop_last"] = false;
  const Finding last = Only(RunOf(config, {}), "small_norm_batches");
  EXPECT_TRUE(Says(last, "only 8 examples")) << last.says;
  EXPECT_EQ(last.settings[0].path, "sampler.drop_last");
  config["batch_size"] = 8;
  const Finding small = Only(RunOf(config, {}), "small_norm_batches");
  ASSERT_EQ(small.settings.size(), 1u);
  EXPECT_EQ(small.settings[0].path, "batch_size");
  EXPECT_EQ(small.settings[0].value, 20);  // which divides the 200 examples
  config["data"]["train_size"] = 202;
  const Finding rest = Only(RunOf(config, {}), "small_norm_batches");
  ASSERT_EQ(rest.settings.size(), 2u);
  EXPECT_EQ(rest.settings[0].value, 32);
  EXPECT_EQ(rest.settings[1].path, "sampler.drop_last");
  config["sampler"] = {{"name", "replacement"}};
  EXPECT_EQ(Only(RunOf(config, {}), "small_norm_batches").settings.size(), 1u);
  config["sampler"] = {{"name", "shuffle"}};
  config["data"]["train_size"] = 200;
  config["batch_size"] = 32;
  config["model"]["layers"][2]["ghost_batch_size"] = 4;
  config["sampler"]["drop_last"] = true;
  const Finding ghost = Only(RunOf(config, {}), "small_norm_batches");
  EXPECT_TRUE(Says(ghost, "only 4 examples")) << ghost.says;
  EXPECT_EQ(ghost.settings[0].path, "model.layers[2].ghost_batch_size");
  EXPECT_EQ(ghost.settings[0].value, 16);
  config["batch_size"] = 44;
  EXPECT_EQ(Only(RunOf(config, {}), "small_norm_batches").settings[0].value, 22);
  config["batch_size"] = 14;
  config["model"]["layers"][2]["ghost_batch_size"] = 7;
  const Finding none = Only(RunOf(config, {}), "small_norm_batches");
  EXPECT_TRUE(none.settings.empty());
  EXPECT_NE(none.advice.find("larger batches"), std::string::npos) << none.advice;
}

/// Of earlier versions, without their data, or before the first checkpoint.
TEST(Findings, WhatIsMissingIsTold) {
  const TempFolder folder;
  TrainInto(folder / "run", SoundConfig());
  Json manifest = ReadJson(folder / "run" / "manifest.json");
  manifest.erase("seconds");
  WriteFileAtomically(folder / "run" / "manifest.json", manifest.dump());
  Json config = ReadJson(folder / "run" / "config.json");
  config["data"] = {{"name", "mnist"}, {"path", "/no/such/folder"}};
  WriteFileAtomically(folder / "run" / "config.json", config.dump());
  const RunRecord run = ReadRun(folder / "run");
  ExpectNone(run);
  const std::string text = DiagnosisText(run);
  EXPECT_NE(text.find("time: not known"), std::string::npos) << text;
  EXPECT_NE(text.find("not looked at: the network and its units: "), std::string::npos) << text;
  EXPECT_TRUE(DiagnosisJson(run)["seconds"].is_null());
  EXPECT_NE(DiagnosisJson(run)["not_looked_at"], "");

  std::filesystem::remove_all(folder / "run" / "checkpoints");
  config["data"] = SoundConfig()["data"];
  config["an old field"] = 3;
  WriteFileAtomically(folder / "run" / "config.json", config.dump());
  const RunRecord old = ReadRun(folder / "run");
  EXPECT_NE(old.no_network.find("an old field"), std::string::npos) << old.no_network;
  config.erase("an old field");
  WriteFileAtomically(folder / "run" / "config.json", config.dump());
  const RunRecord begun = ReadRun(folder / "run");
  ASSERT_TRUE(begun.network) << begun.no_network;
  EXPECT_EQ(begun.network->examples, 0);
}

}  // namespace
}  // namespace sgdscope
