#include "run/describe.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "run/console.h"
#include "run/manifest.h"
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

/// Random inputs of the data's kind: enough examples that batches don't all come from the cache.
LoadedData RandomData(const DataShape& shape, int64_t train_size, bool bytes) {
  const auto split = [&](int64_t size) {
    std::vector<int64_t> sizes = {size};
    sizes.insert(sizes.end(), shape.shape.begin(), shape.shape.end());
    Split random;
    random.inputs = bytes ? at::randint(256, sizes, at::kByte) : at::randn(sizes, at::kDouble);
    random.labels = at::randint(shape.classes, {size}, at::kLong);
    return random;
  };
  return {split(train_size), split(1), {}};
}

struct Speed {
  double seconds_per_step;
  int64_t steps;  // that were timed
};

/// Mean time of a step, probes included.
Speed TimeSteps(Experiment& experiment) {
  using Clock = std::chrono::steady_clock;
  constexpr double kBudget = 2.0;  // seconds
  constexpr int64_t kWarmUp = 3;
  Stepper stepper(experiment);
  std::vector<double> seconds;
  const auto begin = Clock::now();
  // Steps of the second half: by then every lag is filled.
  const int64_t first = experiment.steps() / 2;
  for (int64_t step = first; step < experiment.steps(); ++step) {
    const auto start = Clock::now();
    // Reading the loss back makes a GPU's work part of the time.
    stepper.Step(step).loss.item<double>();
    const auto end = Clock::now();
    if (step - first >= kWarmUp || experiment.steps() - first <= kWarmUp) {
      seconds.push_back(std::chrono::duration<double>(end - start).count());
    }
    if (std::chrono::duration<double>(end - begin).count() > kBudget && !seconds.empty()) break;
  }
  double sum = 0;
  for (const double s : seconds) sum += s;
  return {sum / static_cast<double>(seconds.size()), static_cast<int64_t>(seconds.size())};
}

struct ScratchFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("sgdscope_describe_" + std::to_string(getpid()));
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
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

}  // namespace

std::string Describe(RunConfig& config) {
  const ScratchFolder scratch;  // for probes that write files
  config.output = scratch.path.string();
  Experiment experiment(config);
  const Network& network = experiment.network();
  const DataShape& shape = experiment.shape();
  const auto p = static_cast<double>(network.table.size());
  std::string text = config.name + "\n\nlayers\n" + network.root->Describe() +
                     "\n\nparameters (their places in theta)\n" + ParameterLines(network) + "  " +
                     std::to_string(network.table.size()) + " in all\n\nlength\n";
  if (!experiment.sized()) {
    return text + "  known only after the data is read: its files are named in the config\n";
  }
  text += "  " + std::to_string(experiment.steps()) + " steps of " +
          std::to_string(experiment.sampler().batch_size()) + " examples, " +
          std::to_string(experiment.sampler().steps_per_epoch()) + " steps an epoch of " +
          std::to_string(shape.train_size) + " examples\n";
  const std::string estimates = config.gradient->Describe(experiment.sampler().batch_size());
  if (!estimates.empty()) text += "\ngradient\n  " + estimates + "\n";

  const bool bytes = config.data->InputType() == at::kByte;
  experiment.UseData(RandomData(shape, shape.train_size, bytes));
  const Speed speed = TimeSteps(experiment);
  const double element = config.scalar_type() == at::kDouble ? 8 : 4;
  text += "\nmemory\n  theta " + BytesText(p * element) + ", process now at most " +
          BytesText(static_cast<double>(PeakMemory())) + " with data of this size\n";
  for (const std::string& limit :
       MemoryLimits([&](FieldVisitor& visitor) { config.Fields(visitor); })) {
    text += "  " + limit + "\n";
  }
  char line[160];
  std::snprintf(
      line, sizeof(line),
      "\ntime here, on random inputs\n  %.3g ms a step, probes included (mean of %lld steps)\n",
      speed.seconds_per_step * 1e3, static_cast<long long>(speed.steps));
  return text + line + "  about " +
         DurationText(speed.seconds_per_step * static_cast<double>(experiment.steps())) +
         " for all steps; evaluations come on top\n";
}

}  // namespace sgdscope
