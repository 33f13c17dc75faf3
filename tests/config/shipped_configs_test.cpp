#include "tests/shipped_configs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/rng.h"
#include "run/experiment.h"
#include "run/manifest.h"
#include "run/run_config.h"
#include "tests/expect_error.h"
#include "tests/mutate.h"

// The configs that are shipped, whole and damaged.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

Json ReadConfig(const fs::path& path) { return ParseConfig(ReadFile(path), path.string()); }

TEST(ShippedConfigs, AreThere) {
  const auto paths = ShippedConfigs();
  EXPECT_NE(std::ranges::find(paths, fs::path(SGDSCOPE_SOURCE_DIR "/configs/quickstart.json")),
            paths.end());
}

TEST(ShippedConfigs, LoadAndBuild) {
  for (const fs::path& path : ShippedConfigs()) {
    SCOPED_TRACE(path.string());
    const auto config = ReadRunConfig(ReadConfig(path));
    const Experiment experiment(*config);
    EXPECT_GT(experiment.network().table.size(), 0);
    EXPECT_GT(experiment.shape().classes, 0);
  }
}

// Runs without an output of their own go to runs/<name>.
TEST(ShippedConfigs, HaveNamesOfTheirOwn) {
  std::map<std::string, fs::path> outputs;
  for (const fs::path& path : ShippedConfigs()) {
    const auto config = ReadRunConfig(ReadConfig(path));
    const auto [other, is_new] = outputs.emplace(config->output, path);
    EXPECT_TRUE(is_new) << path << " and " << other->second << " share " << config->output;
  }
}

TEST(ShippedConfigs, ResolveToWhatReadsBackTheSame) {
  for (const fs::path& path : ShippedConfigs()) {
    SCOPED_TRACE(path.string());
    const auto config = ReadRunConfig(ReadConfig(path));
    const Experiment experiment(*config);  // settles the folder of the data
    const Json resolved = ResolvedConfig(*config);
    const auto again = ReadRunConfig(ParseConfig(resolved.dump(), "RESOLVED"));
    const Experiment experiment_again(*again);
    EXPECT_EQ(ResolvedConfig(*again), resolved);
    EXPECT_EQ(experiment_again.steps(), experiment.steps());
  }
}

// ---- What only the whole config can check

const std::string kSmallest = R"({
  "name": "x", "steps": 20, "batch_size": 10, "data": {"name": "synthetic", "train_size": 100},
  "model": {"name": "mlp", "hidden": [4]}, "update": {"name": "sgd", "learning_rate": 0.1}})";

TEST(RunConfig, WhatIsLeftOutIsSettled) {
  const auto config = ReadRunConfig(ParseConfig(kSmallest, "FILE"));
  EXPECT_EQ(config->output, "runs/x");
  const Json resolved = ResolvedConfig(*config);
  EXPECT_EQ(resolved["sampler"]["name"], "shuffle");
  EXPECT_EQ(resolved["gradient"]["name"], "mean");
  EXPECT_EQ(resolved["loss"], "cross_entropy");
  EXPECT_EQ(resolved["dtype"], "float32");
  EXPECT_EQ(resolved["probes"], Json::array());
  EXPECT_FALSE(resolved.contains("epochs"));
}

/// Expects the smallest config with these changes to be refused with these words.
void ExpectRefused(const std::vector<std::string>& changes, const std::vector<std::string>& parts) {
  Json json = ParseConfig(kSmallest, "FILE");
  for (const std::string& change : changes) ApplyOverride(json, change);
  ExpectError(ErrorKind::kConfig, parts, [&] {
    const auto config = ReadRunConfig(json);
    const Experiment experiment(*config);
  });
}

TEST(RunConfig, LengthIsGivenOnce) {
  ExpectRefused({"epochs=2"}, {"steps", "both steps and epochs", "exactly one"});
  Json json = ParseConfig(kSmallest, "FILE");
  json.erase("steps");
  ExpectError(ErrorKind::kConfig, {"steps", "neither steps nor epochs"},
              [&] { ReadRunConfig(json); });
  json["epochs"] = 3;
  const auto config = ReadRunConfig(json);
  EXPECT_EQ(Experiment(*config).steps(), 30);
}

TEST(RunConfig, ProbesOfOneKindNeedLabels) {
  ExpectRefused({R"(probes=[{"name": "gradient_norm"}, {"name": "gradient_norm"}])"},
                {"probes[1].label", "'gradient_norm'", "another label"});
  ExpectRefused({R"(probes=[{"name": "gradient_norm", "label": "a,b"}])"},
                {"probes[0].label", "a,b"});
  Json json = ParseConfig(kSmallest, "FILE");
  json["probes"] =
      Json::parse(R"([{"name": "gradient_norm"}, {"name": "gradient_norm", "label": "second"}])");
  const auto config = ReadRunConfig(json);
  EXPECT_EQ(ResolvedConfig(*config)["probes"][0]["label"], "gradient_norm");
}

TEST(RunConfig, LabelsMakeColumnsOfTheirOwn) {
  // Both have a value "predicted", but the first in front of it the number of shared examples.
  const std::string overlap =
      R"({"name": "overlap", "label": "x", "learning_rate": 0.1, "overlap": [0, 5]})";
  const auto gap = [](const std::string& label) {
    return R"({"name": "generalization_gap", "label": ")" + label + "\"}";
  };
  ExpectRefused({"probes=[" + overlap + ", " + gap("x.shared5") + "]"},
                {"probes[1].label: 'x.shared5'", "the column 'x.shared5.predicted'",
                 "probes[0] ('x')", "another label"});
  Json json = ParseConfig(kSmallest, "FILE");
  ApplyOverride(json, "probes=[" + overlap + ", " + gap("x.shared6") + "]");
  const auto config = ReadRunConfig(json);
  EXPECT_NO_THROW(Experiment{*config});
}

TEST(RunConfig, NumbersThatTheDtypeCannotHoldAreRefused) {
  const std::vector<std::string> words = {"float32", "1.18e-38", "3.4e38",
                                          "\"dtype\": \"float64\""};
  const auto refuse = [&](const std::vector<std::string>& changes, const std::string& where) {
    std::vector<std::string> parts = words;
    parts.push_back(where);
    ExpectRefused(changes, parts);
    std::vector<std::string> in_double = changes;
    in_double.push_back("dtype=float64");
    Json json = ParseConfig(kSmallest, "FILE");
    for (const std::string& change : in_double) ApplyOverride(json, change);
    EXPECT_NO_THROW(ReadRunConfig(json)) << where;
  };
  refuse({"update.learning_rate=1e39"}, "update.learning_rate: found 1e+39, ");
  refuse({"update.learning_rate=1e-46"}, "update.learning_rate: found 1e-46, ");
  refuse({"update.learning_rate=1e-40"}, "update.learning_rate: found 1e-40, ");
  refuse({"update.momentum=1e-39"}, "update.momentum: ");
  refuse({"update.weight_decay=4e38"}, "update.weight_decay: ");
  refuse({R"(update={"name": "adam", "learning_rate": 1, "epsilon": 1e-50})"}, "update.epsilon: ");
  refuse({R"(update.learning_rate={"name": "step_decay", "value": 1e300})"},
         "update.learning_rate.value: ");
  refuse({R"(gradient={"name": "noise_enhanced", "alpha": 1e39})"}, "gradient.alpha: ");
  refuse({R"(gradient={"name": "gradient_norm_penalty", "lambda": 1e39})"}, "gradient.lambda: ");
  refuse({R"(probes=[{"name": "overlap", "overlap": [1], "learning_rate": 1e39}])"},
         "probes[0].learning_rate: ");
  refuse({"data.std=1e39"}, "data.std: ");
  Json json = ParseConfig(kSmallest, "FILE");
  for (const std::string rate : {"3.4e38", "1.18e-38"}) {
    ApplyOverride(json, "update.learning_rate=" + rate);
    EXPECT_NO_THROW(ReadRunConfig(json)) << rate;
  }
}

TEST(RunConfig, ANameIsNotEmpty) { ExpectRefused({"name=\"\""}, {"name: is empty"}); }

TEST(RunConfig, SizesBeyondAnyMachineAreRefused) {
  ExpectRefused({"model.hidden=[10000000, 10000000]"}, {"model", "10^12", "linear2.weight"});
  ExpectRefused({"model.hidden=[10000000]", "data.shape=[20, 5001]"}, {"model", "linear1.weight"});
}

TEST(RunConfig, WhatDoesNotFitTogetherIsRefused) {
  ExpectRefused({"batch_size=30"}, {"sampler.drop_last", "30", "100"});
  ExpectRefused({"batch_size=101"}, {"sampler", "100"});
  ExpectRefused({"sampler.name=full"}, {"sampler", "batch_size"});
  ExpectRefused({"log={\"every\": 1, \"every_epochs\": 1}"}, {"log", "both"});
  ExpectRefused({"eval={\"every\": 1, \"at\": \"log\"}"}, {"eval", "both every and at"});
  ExpectRefused({R"(probes=[{"name": "gradient_norm", "per_decade": 5}])"},
                {"probes[0].per_decade", "without at"});
  ExpectRefused({R"(probes=[{"name": "taylor"}])"}, {"probes[0].long_ago_lag", "300", "20"});
  ExpectRefused({R"(probes=[{"name": "taylor", "recent_lag": 9, "long_ago_lag": 9}])"},
                {"probes[0].recent_lag", "9"});
  ExpectRefused({R"(probes=[{"name": "snapshot", "steps": [20]}])"}, {"probes[0].steps[0]", "20"});
  ExpectRefused({"update.nesterov=true"}, {"update.nesterov", "momentum"});
  ExpectRefused({"data.shape=[]"}, {"data.shape"});
  ExpectRefused({"data.augment={}"}, {"data.augment", "1 dimensions"});
  ExpectRefused({"stop={}"}, {"stop", "neither train_loss nor train_accuracy"});
  ExpectRefused({"train_loss=epoch_mean"}, {"train_loss: ", "nothing is compared", "drop_at_loss"});
  ExpectRefused({"train_loss=running"}, {"train_loss", "running", "epoch_mean"});
  for (const std::string stop : {"0.01", "0.02"}) {
    const std::string drop =
        R"(update.learning_rate={"name": "drop_at_loss", "value": 1, "train_loss": 0.01})";
    ExpectRefused({"stop.train_loss=" + stop, drop},
                  {"stop.train_loss: ", stop, "0.01", "never", "train_loss"});
  }
  ExpectRefused({R"(update.learning_rate={"name": "warmup", "epochs": 2, "then": 0.1})"},
                {"update.learning_rate.epochs", "20", "leaves nothing"});
  ExpectRefused({"update={\"name\": \"n_step\", \"n\": 0, \"learning_rate\": 1}"},
                {"update.n", "0", ">= 1"});
  ExpectRefused({"data.normalize=unit"}, {"data.normalize", "unit", "none"});
}

TEST(RunConfig, HugeValuesAreRefusedOrCostNothing) {
  const int64_t before = PeakMemory();
  for (const std::string change :
       {"data.train_size=9223372036854775807", "data.shape=[1000000,1000000,1000000]",
        "data.classes=9223372036854775807", "model.hidden=[10000000,10000000,10000000]",
        "batch_size=1000000000", "steps=1000000000000000", "seed=9223372036854775807",
        "checkpoint.every_steps=1000000000000000", "log.every=1000000000000",
        "eval.every_epochs=1000000", "data.train_size=100000000000"}) {
    Json json = ParseConfig(kSmallest, "FILE");
    ApplyOverride(json, change);
    try {
      const auto config = ReadRunConfig(json);
      const Experiment experiment(*config);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig) << change << ": " << error.what();
    }
  }
  EXPECT_LT(PeakMemory() - before, 100'000'000);
}

// Where the files are absent, the limit stands for the size that they would have.
TEST(RunConfig, AHugeLimitDoesNotOverflowTheLengthOfTheRun) {
  Json json = ParseConfig(kSmallest, "FILE");
  json.erase("steps");
  json["epochs"] = 1'000'000;
  json["batch_size"] = 1;
  json["data"] =
      Json::parse(R"({"name": "mnist", "path": "/nowhere", "train_limit": 9223372036854775807})");
  try {
    const auto config = ReadRunConfig(json);
    EXPECT_GT(Experiment(*config).steps(), 0);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
  }
}

// ---- Damaged configs

/// Each key of an accepted config must have been read: it stands in the resolved one.
void ExpectKeysTaken(const Json& given, const Json& resolved, const std::string& path) {
  if (given.is_array()) {
    ASSERT_EQ(given.size(), resolved.size()) << path;
    for (size_t i = 0; i < given.size(); ++i) ExpectKeysTaken(given[i], resolved[i], path);
  }
  if (!given.is_object() || resolved.is_number()) return;  // a number stands for {"name", "value"}
  for (const auto& [key, value] : given.items()) {
    ASSERT_TRUE(resolved.contains(key)) << path << "." << key << " was silently accepted";
    ExpectKeysTaken(value, resolved[key], path + "." + key);
  }
}

struct Counts {
  int accepted = 0;
  int refused_text = 0;
  int refused_config = 0;
};

void CheckDamaged(const std::string& text, Counts& counts) {
  int* refused = &counts.refused_text;
  try {
    const Json given = ParseConfig(text, "FILE");
    refused = &counts.refused_config;
    const auto config = ReadRunConfig(given);
    ExpectKeysTaken(given, ResolvedConfig(*config), "");
    const Experiment experiment(*config);
    const Json resolved = ResolvedConfig(*config);
    const auto again = ReadRunConfig(ParseConfig(resolved.dump(), "RESOLVED"));
    EXPECT_EQ(ResolvedConfig(*again), resolved);
    ++counts.accepted;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
    ++*refused;
  }
}

TEST(RunConfigFuzzSlow, ADamagedConfigIsReadWhollyOrRefused) {
  std::vector<std::string> texts;
  for (const fs::path& path : ShippedConfigs()) texts.push_back(ReadFile(path));
  Counts counts;
  const int64_t before = PeakMemory();
  for (uint64_t i = 0; i < 10000 && !HasFailure(); ++i) {
    Stream stream(1, "run config fuzz", i);
    const std::string text = Mutate(texts[i % texts.size()], stream);
    CheckDamaged(text, counts);
    if (HasFailure()) std::fprintf(stderr, "mutation %d:\n%s\n", static_cast<int>(i), text.c_str());
  }
  // All three must happen often, or the test shows little.
  EXPECT_GT(counts.accepted, 500);
  EXPECT_GT(counts.refused_text, 1000);
  EXPECT_GT(counts.refused_config, 1000);
  EXPECT_LT(PeakMemory() - before, 500'000'000);
  std::printf("accepted %d, refused as text %d, as config %d\n", counts.accepted,
              counts.refused_text, counts.refused_config);
}

}  // namespace
}  // namespace sgdscope
