#include "run/describe.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "run/console.h"
#include "run/evaluation.h"
#include "run/manifest.h"
#include "run/memory.h"
#include "run/stepper.h"

namespace sgdscope {
namespace {

std::string BytesText(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit < 4; ++unit) bytes /= 1024;
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %s", bytes, units[unit]);
  return text;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : " x ") + std::to_string(extent);
  return text;
}

/// Random inputs of the data's kind and size: enough examples that batches don't all come from the
/// cache. A test set of unknown size is as large as the training set.
LoadedData RandomData(const DataShape& shape, const Dataset& data) {
  const auto split = [&](int64_t size) {
    std::vector<int64_t> sizes = {size};
    sizes.insert(sizes.end(), shape.shape.begin(), shape.shape.end());
    Split random;
    random.inputs = data.InputType() == at::kByte ? at::randint(256, sizes, at::kByte)
                                                  : at::randn(sizes, data.InputType());
    random.labels = shape.has_targets ? at::randn({size, shape.classes}, data.LabelType())
                                      : at::randint(shape.classes, {size}, at::kLong);
    return random;
  };
  return {
      split(shape.train_size), split(shape.test_size > 0 ? shape.test_size : shape.train_size), {}};
}

struct Speed {
  double seconds_per_step;
  int64_t steps;  // that were timed
};

/// Mean time of a step, probes included, over two seconds or, where a step takes longer, one step.
/// Then a part of an evaluation is made, which may take more memory than the steps.
Speed TimeSteps(Experiment& experiment) {
  using Clock = std::chrono::steady_clock;
  constexpr double kBudget = 2.0;  // seconds
  constexpr size_t kWarmUp = 3;    // steps that are not counted, if there are others
  Stepper stepper(experiment);
  std::vector<double> seconds;
  const auto begin = Clock::now();
  // Steps of the second half: by then every lag is filled.
  for (int64_t step = experiment.steps() / 2; step < experiment.steps(); ++step) {
    const auto start = Clock::now();
    // Reading the loss back makes a GPU's work part of the time.
    stepper.Step(step).loss.item<double>();
    const auto end = Clock::now();
    seconds.push_back(std::chrono::duration<double>(end - start).count());
    if (std::chrono::duration<double>(end - begin).count() > kBudget) break;
  }
  EvaluateChunk(experiment.train(), stepper.theta(), stepper.running());
  if (seconds.size() > kWarmUp) seconds.erase(seconds.begin(), seconds.begin() + kWarmUp);
  double sum = 0;
  for (const double s : seconds) sum += s;
  return {sum / static_cast<double>(seconds.size()), static_cast<int64_t>(seconds.size())};
}

/// A folder name for probes that write files; they make the folder.
struct ScratchFolder {
  std::filesystem::path path = Temporary() / ("sgdscope_describe_" + std::to_string(getpid()));
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }

  static std::filesystem::path Temporary() {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
    if (!error) return folder;
    const char* const name = std::getenv("TMPDIR");
    throw Error(
        ErrorKind::kResource, "TMPDIR",
        std::string("'").append(name == nullptr ? "/tmp" : name).append("' is not a folder"),
        "describe keeps there what probes write: set TMPDIR to a folder, or unset it.");
  }
};

std::string ParameterLines(const Network& network) {
  std::string text;
  for (const Parameter& parameter : network.table.parameters()) {
    text += "  " + parameter.name + " [" + ShapeText(parameter.shape) + "] from " +
            std::to_string(parameter.offset) + "\n";
  }
  return text;
}

std::string MemoryText(RunConfig& config, const Network& network) {
  const double element = config.scalar_type() == at::kDouble ? 8 : 4;
  std::string text = "\nmemory\n  theta " +
                     BytesText(static_cast<double>(network.table.size()) * element) +
                     ", process now at most " + BytesText(static_cast<double>(PeakMemory())) +
                     " with data of this size\n";
  for (const std::string& limit :
       MemoryLimits([&](FieldVisitor& visitor) { config.Fields(visitor); })) {
    text += "  " + limit + "\n";
  }
  return text;
}

}  // namespace

void Describe(RunConfig& config, const std::function<void(const std::string& text)>& show) {
  const ScratchFolder scratch;
  config.output = scratch.path.string();
  Experiment experiment(config);
  const Network& network = experiment.network();
  const DataShape& shape = experiment.shape();
  show(config.name + "\n\nlayers\n" + network.root->Describe() +
       "\n\nparameters (their places in theta)\n" + ParameterLines(network) + "  " +
       std::to_string(network.table.size()) + " in all\n\nlength\n");
  if (!experiment.sized()) {
    return show("  known only after the data is read: its files are named in the config\n");
  }
  const Sampler& sampler = experiment.sampler();
  show("  " + std::to_string(experiment.steps()) + " steps of " +
       std::to_string(sampler.batch_size()) + " examples, " +
       std::to_string(sampler.steps_per_epoch()) + " steps an epoch of " +
       std::to_string(shape.train_size) + " examples\n");
  const std::string estimates = config.gradient->Describe(sampler.batch_size());
  if (!estimates.empty()) show("\ngradient\n  " + estimates + "\n");

  show("\ntime here, on random inputs\n");
  CheckMemory(experiment);
  experiment.UseData(RandomData(shape, *config.data));
  const Speed speed = TimeSteps(experiment);
  char line[160];
  std::snprintf(line, sizeof(line), "  %.3g ms a step, probes included (mean of %lld steps)\n",
                speed.seconds_per_step * 1e3, static_cast<long long>(speed.steps));
  show(line +
       ("  about " +
        DurationText(speed.seconds_per_step * static_cast<double>(experiment.steps()))) +
       " for all steps; evaluations come on top\n");
  show(MemoryText(config, network));
}

}  // namespace sgdscope
