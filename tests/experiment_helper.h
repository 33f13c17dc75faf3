#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/json.h"
#include "core/torch.h"
#include "run/experiment.h"
#include "run/run_config.h"
#include "run/stepper.h"
#include "tests/tensors.h"

// Runs of a few steps on synthetic data, from a config to theta, without a run folder.

namespace sgdscope {

/// A run of 30 steps on 45 examples in batches of 7, so that the last batch of an epoch has 3 and
/// probes meet several epochs. `changes` replaces whole keys.
inline Json SyntheticConfig(const Json& changes = Json::object()) {
  Json config = ParseConfig(R"({
    "name": "small", "seed": 3, "steps": 30, "batch_size": 7,
    "data": {"name": "synthetic", "train_size": 45, "test_size": 5, "shape": [2, 3], "classes": 4},
    "sampler": {"name": "shuffle", "drop_last": false},
    "model": {"name": "mlp", "hidden": [8, 5]},
    "update": {"name": "sgd", "learning_rate": 0.1}})",
                            "test");
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

/// An experiment with its stepper, ready for step 0.
class ShortRun {
 public:
  explicit ShortRun(const Json& json) : config_(ReadRunConfig(json)), experiment_(*config_) {
    experiment_.LoadData();
    stepper_ = std::make_unique<Stepper>(experiment_);
  }

  Stepper& stepper() { return *stepper_; }
  const Experiment& experiment() const { return experiment_; }
  const RunConfig& config() const { return *config_; }
  size_t probe_count() const { return config_->probes.choices().size(); }
  Probe& probe(size_t i) const { return **config_->probes.choices()[i]; }

 private:
  std::unique_ptr<RunConfig> config_;
  Experiment experiment_;
  std::unique_ptr<Stepper> stepper_;
};

/// The training examples `indices` of a run, from the data set itself.
inline std::vector<oracle::Example> ExamplesOf(const ShortRun& run, const at::Tensor& indices) {
  std::vector<oracle::Example> examples;
  const Split& train = run.experiment().data().train;
  for (const double index : ToVector(indices)) {
    const auto i = static_cast<int64_t>(index);
    examples.push_back(
        {ToVector(train.inputs[i]), static_cast<size_t>(train.labels[i].item<int64_t>())});
  }
  return examples;
}

/// A probe's values by name; `measured` is what Measure returned.
inline std::map<std::string, double> ByName(const Probe& probe, const at::Tensor& measured) {
  const std::vector<std::string> names = probe.Values();
  const oracle::Vector values = ToVector(measured);
  EXPECT_EQ(names.size(), values.size());
  std::map<std::string, double> by_name;
  for (size_t i = 0; i < names.size() && i < values.size(); ++i) by_name[names[i]] = values[i];
  return by_name;
}

}  // namespace sgdscope
