#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "data/dataset.h"
#include "data/normalize.h"
#include "gradients/loss.h"
#include "gradients/oracle.h"
#include "models/model.h"
#include "models/weights.h"
#include "run/run_config.h"

namespace sgdscope {

/// A config made real, in two stages: everything that can be built and checked without the data,
/// then the data on the device.
class Experiment {
 public:
  /// Builds the network and cross-checks all fields, with the data set's published size where it is
  /// known. Reads no data. Error kConfig. Keeps a reference to `config`.
  explicit Experiment(RunConfig& config);

  /// The weights that config().init_from names, on the CPU. Errors as of ReadWeights.
  Weights GivenWeights() const { return ReadWeights(config_.init_from, network_, "init.from"); }

  /// Reads the data, checks again with its real size, adds the config's label noise, and moves it
  /// to the device. Error kData; kResource if the device is not there, or if memory or threads are
  /// too few.
  void LoadData();
  /// Takes given data in place of the config's data set, for benchmarks and `describe`.
  void UseData(LoadedData data);

  const RunConfig& config() const { return config_; }
  const Network& network() const { return network_; }
  const DataShape& shape() const { return shape_; }
  const LoadedData& data() const { return data_; }  // after LoadData
  const Oracle& train() const { return *train_; }   // after LoadData
  const Oracle& test() const { return *test_; }     // after LoadData
  Sampler& sampler() const { return *config_.sampler; }
  at::Device device() const { return at::Device(config_.device == "cuda" ? at::kCUDA : at::kCPU); }
  /// Whether the size of the training set is known, so that steps() and the sampler are.
  bool sized() const { return steps_ > 0; }
  int64_t steps() const { return steps_; }

 private:
  void Settle(int64_t train_size, int64_t test_size);

  RunConfig& config_;
  DataShape shape_;
  Network network_;
  std::unique_ptr<Loss> loss_;
  int64_t steps_ = 0;
  LoadedData data_;
  std::optional<Normalizer> normalizer_;
  std::optional<Oracle> train_;
  std::optional<Oracle> test_;
};

}  // namespace sgdscope
