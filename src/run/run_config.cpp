#include "run/run_config.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "config/text.h"
#include "core/csv.h"
#include "core/error.h"
#include "gradients/loss.h"

namespace sgdscope {
namespace {

std::vector<std::string> LossNames() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : Registry<Loss>::entries()) names.push_back(name);
  return names;
}

void CheckLength(const RunConfig& config) {
  if (config.steps.has_value() != config.epochs.has_value()) return;
  const std::string hint = "Give exactly one of them: it says how long the run is.";
  if (!config.steps)
    throw Error(ErrorKind::kConfig, "steps", "neither steps nor epochs is given", hint);
  throw Error(ErrorKind::kConfig, "steps", "both steps and epochs are given",
              hint + " --set epochs=null takes out what a file has, and so does steps=null.");
}

void CheckStop(const RunConfig& config) {
  if (!config.stops || config.stop.train_loss || config.stop.train_accuracy) return;
  throw Error(ErrorKind::kConfig, "stop", "neither train_loss nor train_accuracy is given",
              "Give one of them or both, or leave stop out.");
}

/// The learning rate drops before the run ends; and `train_loss` is of use to one of them.
void CheckThresholds(const RunConfig& config) {
  const auto drop = config.update->learning_rate().AwaitedLoss();
  const auto& stop = config.stop.train_loss;
  if (config.train_loss != kByEvaluation && !drop && !stop) {
    throw Error(ErrorKind::kConfig, "train_loss", "nothing is compared with the training loss",
                "Give stop.train_loss or the learning rate drop_at_loss, or leave this out.");
  }
  if (!drop || !stop || *stop < *drop) return;
  char text[120];
  std::snprintf(text, sizeof(text),
                "%g is not below %g, where the learning rate drops, so that it never would", *stop,
                *drop);
  throw Error(ErrorKind::kConfig, "stop.train_loss", text,
              "Lower it, or raise the schedule's train_loss.");
}

/// That float32 holds the numbers in `value`, at `path` of the config, with all of its digits. A
/// learning rate of 1e-46 would be 0 there, one of 1e-40 be kept in 17 bits.
void CheckFloat32(const Json& value, const std::string& path) {
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) CheckFloat32(child, JoinPath(path, key));
  }
  for (size_t i = 0; value.is_array() && i < value.size(); ++i) {
    CheckFloat32(value[i], path + "[" + std::to_string(i) + "]");
  }
  if (!value.is_number_float()) return;
  const double magnitude = std::abs(value.get<double>());
  using Float = std::numeric_limits<float>;
  if (magnitude == 0 || (magnitude >= Float::min() && magnitude <= Float::max())) return;
  std::string number;
  AppendNumber(value.get<double>(), number);
  throw Error(ErrorKind::kConfig, path,
              "found " + number + ", but float32 holds 0 and magnitudes from 1.18e-38 to 3.4e38",
              "Choose a number within, or \"dtype\": \"float64\".");
}

void SettleLabels(RunConfig& config) {
  std::set<std::string> labels;
  for (size_t i = 0; i < config.probes.choices().size(); ++i) {
    const auto& probe = *config.probes.choices()[i];
    probe->SetDefaultLabel(probe.selected());
    const std::string path = "probes[" + std::to_string(i) + "].label";
    if (probe->label().find_first_of(",\"\n\r") != std::string::npos) {
      throw Error(ErrorKind::kConfig, path,
                  "'" + probe->label() + "' has a comma, quote or line break",
                  "A label is the first part of column names: leave those characters out.");
    }
    if (labels.insert(probe->label()).second) continue;
    throw Error(ErrorKind::kConfig, path, "'" + probe->label() + "' is used by an earlier probe",
                "Give one of the two another label: it is the first part of the column names.");
  }
}

}  // namespace

void Stop::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "train_loss",
                 .help = "a training loss of at most this, as train_loss has it measured, ends "
                         "the run",
                 .paper = "noise_enhancement table 1, L**",
                 .min = 0},
                train_loss);
  visitor.Visit({.name = "train_accuracy",
                 .help = "an evaluation with a training accuracy of at least this ends the run",
                 .min = 0,
                 .max = 1,
                 .above_min = true},
                train_accuracy);
}

void RunConfig::Fields(FieldVisitor& visitor) {
  constexpr double kMostSteps = 1e15;
  visitor.Visit({.name = "name", .help = "name of the experiment", .required = true}, name);
  visitor.Visit({.name = "seed", .help = "all randomness follows from it", .min = 0}, seed);
  visitor.Visit({.name = "device", .help = "where to compute", .allowed = {"cpu", "cuda"}}, device);
  visitor.Visit({.name = "dtype",
                 .help = "type of theta; float64 for verification",
                 .allowed = {"float32", "float64"}},
                dtype);
  visitor.Visit(
      {.name = "threads",
       .help = "CPU threads of this run, each with a core of its own or they wait for one another; "
               "results depend on it in the last bits",
       .min = 1,
       .max = 1024},
      threads);
  visitor.Visit({.name = "steps",
                 .help = "length of the run, at most; or give epochs",
                 .unit = "steps",
                 .min = 1,
                 .max = kMostSteps},
                steps);
  visitor.Visit({.name = "epochs",
                 .help = "length of the run, at most; or give steps",
                 .unit = "epochs",
                 .min = 1,
                 .max = 1e6},
                epochs);
  visitor.OptionalGroup({.name = "stop",
                         .help = "ends the run early, as done, when one of its values is first "
                                 "reached"},
                        stops, [this](FieldVisitor& v) { stop.Fields(v); });
  visitor.Visit({.name = "train_loss",
                 .help = "the training loss of stop.train_loss and drop_at_loss. evaluation: of "
                         "the whole training set, at each evaluation; epoch_mean: mean of the "
                         "batches' losses over each epoch, at its end, which costs nothing",
                 .allowed = {kByEvaluation, kByEpochMean}},
                train_loss);
  visitor.Visit({.name = "batch_size",
                 .help = "examples of a batch; left out for the sampler full",
                 .unit = "examples",
                 .min = 1,
                 .max = 1e9},
                batch_size);
  visitor.Visit({.name = "piece_size",
                 .help = "larger batches are evaluated in pieces of so many examples, which bounds "
                         "the memory; left out: each batch at once. Evaluations take the 1000 "
                         "examples that they load at a time in such pieces, too",
                 .unit = "examples",
                 .min = 1,
                 .max = 1e9},
                piece_size);
  visitor.Choose({.name = "data", .help = "the data set", .required = true}, data);
  visitor.Choose({.name = "sampler", .help = "which examples form a batch"}, sampler);
  visitor.Choose({.name = "model", .help = "the network", .required = true}, model);
  visitor.OptionalGroup(
      {.name = "init", .help = "weights for step 0 from a file, in place of model.init"},
      initialized, [this](FieldVisitor& v) {
        v.Visit({.name = "from",
                 .help = "a checkpoint or snapshot of the same network, or a safetensors file of a "
                         "PyTorch state_dict: with the names that describe shows, torchvision's of "
                         "a ResNet (layer1.0.conv1.weight) or nn.Sequential's (0.weight)",
                 .required = true},
                init_from);
      });
  visitor.Visit({.name = "loss", .help = "loss of one example", .allowed = LossNames()}, loss);
  visitor.Choose({.name = "gradient", .help = "estimator of the gradient g"}, gradient);
  visitor.Choose({.name = "update", .help = "turns g into the step delta", .required = true},
                 update);
  visitor.ChooseList({.name = "probes", .help = "what to measure"}, probes);
  visitor.Group({.name = "log", .help = "rows of metrics.csv"},
                [this](FieldVisitor& v) { log.Fields(v); });
  visitor.Group({.name = "eval", .help = "rows of eval.csv; there is one for the end in any case"},
                [this](FieldVisitor& v) {
                  eval.Fields(v);
                  v.Visit({.name = "learned",
                           .help = "write learned.csv: for each training example the first and the "
                                   "last evaluated step at which it was right"},
                          learned);
                });
  visitor.Group({.name = "checkpoint", .help = "resuming starts from the last checkpoint"},
                [this](FieldVisitor& v) {
                  v.Visit({.name = "every_steps",
                           .help = "distance of checkpoints; there is one for the end in any case",
                           .unit = "steps",
                           .min = 1,
                           .max = kMostSteps},
                          checkpoint_every);
                  v.OptionalGroup(
                      {.name = "keep",
                       .help = "which checkpoints stay, for fork: {\"last\": 5}, "
                               "{\"all\": true}; of {\"steps\": [300]} and of a cadence "
                               "there is one in any case. Left out: the last two"},
                      keeps, [this](FieldVisitor& w) { keep.Fields(w); });
                });
  visitor.Visit({.name = "output", .help = "run folder; runs/<name> if left out"}, output);
}

std::unique_ptr<RunConfig> ReadRunConfig(const Json& json) {
  auto config = std::make_unique<RunConfig>();
  ReadFields(json, "", [&](FieldVisitor& visitor) { config->Fields(visitor); });
  if (config->name.empty()) {
    throw Error(ErrorKind::kConfig, "name", "is empty", "The run folder is runs/NAME.");
  }
  CheckLength(*config);
  CheckStop(*config);
  CheckThresholds(*config);
  SettleLabels(*config);
  if (config->output.empty()) config->output = "runs/" + config->name;
  if (config->scalar_type() == at::kFloat) CheckFloat32(ResolvedConfig(*config), "");
  return config;
}

std::vector<InputFile> InputFilesOf(const RunConfig& config) {
  std::vector<InputFile> files;
  if (config.initialized) files.push_back({config.init_from, "what init.from names"});
  for (const auto& file : config.data->InputFiles()) files.push_back({file, "a file of data"});
  for (size_t i = 0; i < config.probes.choices().size(); ++i) {
    for (const auto& file : (*config.probes.choices()[i])->InputFiles()) {
      files.push_back({file, "what probes[" + std::to_string(i) + "] names"});
    }
  }
  return files;
}

Json ResolvedConfig(RunConfig& config) {
  return WriteFields([&](FieldVisitor& visitor) { config.Fields(visitor); });
}

}  // namespace sgdscope
