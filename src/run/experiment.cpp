#include "run/experiment.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/allocator.h"
#include "core/error.h"
#include "core/machine.h"
#include "gradients/per_example.h"
#include "run/memory.h"

namespace sgdscope {
namespace {

void MoveTo(at::Device device, Split& split) {
  split.inputs = split.inputs.to(device);
  split.labels = split.labels.to(device);
  if (!split.corrupt.defined()) return;
  split.original_labels = split.original_labels.to(device);
  split.corrupt = split.corrupt.to(device);
}

void CheckDevice(at::Device device) {
  if (device.is_cpu() || at::hasCUDA()) return;
  throw Error(
      ErrorKind::kResource, "device", "cuda was asked for, but LibTorch sees no CUDA device",
      "Run on a machine with an NVIDIA GPU and a LibTorch built for CUDA, or use --device cpu.");
}

/// float32 as it is documented, and the same bits every time: no TF32, no order that depends on
/// timing.
void ConfigureDevice(const RunConfig& config) {
  UseHugePageAllocator();
  CheckThreads(config.threads);
  at::set_num_threads(static_cast<int>(config.threads));
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowTF32CuDNN(false);
  at::globalContext().setDeterministicCuDNN(true);
}

std::string ProbePath(size_t i) { return "probes[" + std::to_string(i) + "]"; }

/// That the network can normalize all batches that the run makes.
void CheckBatches(const Network& network, const RunConfig& config) {
  const Sampler& sampler = *config.sampler;
  network.CheckNormalizes(sampler.batch_size(), "batch_size", "Give a larger batch_size");
  network.CheckNormalizes(sampler.smallest_batch(), "sampler.drop_last",
                          "Set it to true, which leaves out the smaller last batch of an epoch");
  const auto check_parts = [&](int64_t n, const std::string& path, const std::string& hint) {
    for (const int64_t size : config.gradient->Parts(n)) network.CheckNormalizes(size, path, hint);
  };
  for (const int64_t n : {sampler.batch_size(), sampler.smallest_batch()}) {
    check_parts(n, "gradient", "Cut the batches into larger parts");
  }
  for (size_t i = 0; i < config.probes.choices().size(); ++i) {
    const Probe& probe = **config.probes.choices()[i];
    for (const int64_t size : probe.OwnBatches()) {
      network.CheckNormalizes(size, ProbePath(i), "Let the probe take larger batches");
    }
    for (const int64_t n : probe.EstimatedBatches()) {
      check_parts(n, ProbePath(i),
                  "Let the probe take batches that " + config.gradient.selected() +
                      " cuts into larger parts");
    }
  }
}

/// That whatever sees batches of more than config.piece_size examples can do without the whole.
void CheckPieces(const Network& network, const RunConfig& config) {
  if (!config.piece_size) return;
  const int64_t size = *config.piece_size;
  const int64_t largest = config.sampler->batch_size();
  const auto check = [&](bool needs_whole, int64_t n, const std::string& path,
                         const std::string& name) {
    if (!needs_whole || n <= size) return;
    throw Error(ErrorKind::kConfig, path,
                name + " looks at all " + std::to_string(n) +
                    " examples of a batch at once, but batches are evaluated in pieces of " +
                    std::to_string(size),
                "Raise piece_size or leave it out, or choose something else here.");
  };
  const bool estimator_needs_whole = config.gradient->NeedsWholeBatch();
  check(estimator_needs_whole, largest, "gradient", config.gradient.selected());
  check(config.update->NeedsWholeBatch(), largest, "update", config.update.selected());
  int64_t any = largest;
  for (size_t i = 0; i < config.probes.choices().size(); ++i) {
    const auto& probe = *config.probes.choices()[i];
    for (const int64_t own : probe->OwnBatches()) any = std::max(any, own);
    for (const int64_t n : probe->EstimatedBatches()) {
      check(estimator_needs_whole, n, ProbePath(i), config.gradient.selected());
    }
    check(probe->NeedsWholeBatch(), largest, ProbePath(i), probe.selected());
  }
  if (any > size) network.CheckPieces(size, "piece_size");
}

/// That no two probes have a column in common: "a" has one named "a.b.c" if it has a value "b.c",
/// "a.b" if it has a value "c".
void CheckColumns(const ChoiceList<Probe>& probes) {
  std::map<std::string, size_t> owners;
  for (size_t i = 0; i < probes.choices().size(); ++i) {
    const Probe& probe = **probes.choices()[i];
    for (const std::string& value : probe.Values()) {
      const std::string column = probe.label() + "." + value;
      const auto [owner, is_new] = owners.emplace(column, i);
      if (is_new) continue;
      throw Error(ErrorKind::kConfig, ProbePath(i) + ".label",
                  "'" + probe.label() + "' makes the column '" + column + "', which " +
                      ProbePath(owner->second) + " ('" +
                      (*probes.choices()[owner->second])->label() + "') has already",
                  "Give one of the two another label: it is the first part of the column names.");
    }
  }
}

/// That nothing asks for classes: the data have targets.
void CheckTargets(const RunConfig& config, const Loss& loss) {
  if (!loss.TakesTargets()) {
    throw Error(ErrorKind::kConfig, "loss",
                config.loss +
                    " takes classes, but the labels of the data are floating-point "
                    "numbers, which are targets",
                "Set it to mean_squared_error; or, if they are classes, write them as integers: "
                "y.astype(\"int64\").");
  }
  const std::pair<const char*, bool> of_classes[] = {
      {"data.label_noise", config.data->label_noise() != nullptr},
      {"stop.train_accuracy", config.stop.train_accuracy.has_value()},
      {"eval.learned", config.learned}};
  for (const auto& [path, given] : of_classes) {
    if (!given) continue;
    throw Error(ErrorKind::kConfig, path,
                "is of classes, but the labels of the data are floating-point numbers, which are "
                "targets",
                "Leave it out.");
  }
}

}  // namespace

Experiment::Experiment(RunConfig& config)
    : config_(config), shape_(config.data->Shape("data")), loss_(nullptr) {
  config_.data->Resolve();
  if (const Augment* augment = config_.data->augment()) {
    augment->Check(shape_.shape, "data.augment");
  }
  network_ = config_.model->Build(shape_.shape, shape_.classes, "model");
  if (config_.gradient->NeedsSingleExamples()) CheckSingleExamples(network_, "gradient");
  if (config_.update->NeedsSingleExamples()) CheckSingleExamples(network_, "update");
  loss_ = Registry<Loss>::entries().at(config_.loss).make();
  if (shape_.has_targets) CheckTargets(config_, *loss_);
  for (size_t i = 0; i < config_.probes.choices().size(); ++i) {
    (*config_.probes.choices()[i])->CheckNetwork(network_, ProbePath(i));
  }
  if (shape_.train_size > 0) Settle(shape_.train_size, shape_.test_size);
}

void Experiment::Settle(int64_t train_size, int64_t test_size) {
  Sampler& sampler = *config_.sampler;
  sampler.Prepare(static_cast<uint64_t>(config_.seed), train_size, config_.batch_size.value_or(0),
                  "sampler");
  if (const Augment* augment = config_.data->augment()) {
    sampler.AugmentBy(*augment, static_cast<uint64_t>(config_.seed));
  }
  network_.CheckTrainedBatches(sampler.batch_size(), sampler.smallest_batch());
  const int64_t per_epoch = sampler.steps_per_epoch();
  steps_ = config_.steps ? *config_.steps : *config_.epochs * per_epoch;
  config_.gradient->Prepare({"gradient", static_cast<uint64_t>(config_.seed), train_size, sampler});
  config_.update->PrepareLearningRate({steps_, per_epoch}, "update");
  config_.update->CheckBatches(sampler, "update");
  config_.log.Prepare("log", per_epoch);
  config_.eval.Prepare("eval", per_epoch);
  config_.keep.Prepare("checkpoint.keep", per_epoch, steps_);
  for (size_t i = 0; i < config_.probes.choices().size(); ++i) {
    (*config_.probes.choices()[i])
        ->Prepare({ProbePath(i), config_.output, static_cast<uint64_t>(config_.seed), steps_,
                   train_size, test_size, sampler, network_, config_.data->label_noise() != nullptr,
                   config_.update->KnowsStability()});
  }
  CheckColumns(config_.probes);
  CheckBatches(network_, config_);
  CheckPieces(network_, config_);
}

void Experiment::LoadData() {
  CheckMemory(*this);
  UseData(config_.data->Load(static_cast<uint64_t>(config_.seed)));
}

void Experiment::UseData(LoadedData data) {
  CheckDevice(device());
  ConfigureDevice(config_);
  data_ = std::move(data);
  Settle(data_.train.size(), data_.test.size());
  CheckMemory(*this);
  if (const LabelNoise* noise = config_.data->label_noise()) {
    AddLabelNoise(*noise, shape_.classes, static_cast<uint64_t>(config_.seed), data_.train);
  }
  MoveTo(device(), data_.train);
  MoveTo(device(), data_.test);
  normalizer_.emplace(config_.data->normalize(), data_.train, config_.scalar_type());
  normalizer_->CheckHolds(data_.train, "training");
  normalizer_->CheckHolds(data_.test, "test");
  const int64_t piece_size = config_.piece_size.value_or(Oracle::kWholeBatches);
  train_.emplace(network_, *loss_, data_.train, *normalizer_, piece_size);
  test_.emplace(network_, *loss_, data_.test, *normalizer_, piece_size);
}

}  // namespace sgdscope
