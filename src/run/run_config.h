#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/cadence.h"
#include "config/fields.h"
#include "config/json.h"
#include "config/registry.h"
#include "data/dataset.h"
#include "data/sampler.h"
#include "estimators/estimator.h"
#include "models/model.h"
#include "probes/probe.h"
#include "run/keep.h"
#include "updates/update_rule.h"

namespace sgdscope {

/// How `train_loss` may have the training loss measured that thresholds are compared with.
inline constexpr const char* kByEvaluation = "evaluation";
inline constexpr const char* kByEpochMean = "epoch_mean";

/// What ends a run before its full length: the first measurement that reaches one of these.
struct Stop {
  std::optional<double> train_loss;      // reached at or below it
  std::optional<double> train_accuracy;  // reached at or above it, at an evaluation

  void Fields(FieldVisitor& visitor);
};

/// A file that a run reads.
struct InputFile {
  std::filesystem::path path;
  std::string what;  // as in "is what init.from names"
};

/// Everything that a config can say; the leaves inside are the ones that the run uses.
struct RunConfig {
  std::string name;
  int64_t seed = 0;
  std::string device = "cpu";
  std::string dtype = "float32";
  int64_t threads = 1;
  std::optional<int64_t> steps;
  std::optional<int64_t> epochs;
  bool stops = false;  // whether the config has `stop`
  Stop stop;
  std::string train_loss = kByEvaluation;
  std::optional<int64_t> batch_size;
  std::optional<int64_t> piece_size;
  Choice<Dataset> data;
  Choice<Sampler> sampler{"shuffle"};
  Choice<Model> model;
  bool initialized = false;  // whether the config has `init`
  std::string init_from;     // init.from
  std::string loss = "cross_entropy";
  Choice<Estimator> gradient{"mean"};
  Choice<UpdateRule> update;
  ChoiceList<Probe> probes;
  Cadence log = Cadence::EverySteps(1);
  Cadence eval = Cadence::EveryEpochs(1);
  bool learned = false;  // eval.learned
  int64_t checkpoint_every = 1000;
  bool keeps = false;    // whether the config has `checkpoint.keep`
  KeptCheckpoints keep;  // its defaults hold without it
  std::string output;

  void Fields(FieldVisitor& visitor);
  at::ScalarType scalar_type() const { return dtype == "float64" ? at::kDouble : at::kFloat; }
};

/// Reads and checks a config: every key known, every value in range and held by its dtype, exactly
/// one of steps and epochs, probe labels unique. What a config may leave open (`output`, labels) is
/// settled, so that ResolvedConfig is complete. Error kConfig.
std::unique_ptr<RunConfig> ReadRunConfig(const Json& config);

/// All files that a config names, once the data set has settled its folder.
std::vector<InputFile> InputFilesOf(const RunConfig& config);

/// The config with every default written out; itself a valid config that gives the same run.
Json ResolvedConfig(RunConfig& config);

}  // namespace sgdscope
