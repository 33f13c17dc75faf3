#include "run/memory.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "core/error.h"
#include "core/machine.h"

namespace sgdscope {
namespace {

/// Something that needs memory: so many bytes at the least.
struct Need {
  std::string path;
  std::string what;
  double bytes;
  std::string hint;
};

/// theta in double, from which it is rounded, beside theta; later theta beside its gradient.
Need ParametersNeed(const Network& network, double element) {
  const auto p = static_cast<double>(network.table.size());
  return {"model", std::to_string(network.table.size()) + " parameters", p * (8 + element),
          "Use fewer or narrower layers."};
}

/// Each split's inputs and labels, as the data set keeps them.
Need DataNeed(const DataShape& shape, const Dataset& data) {
  auto example = static_cast<double>(at::elementSize(data.InputType()));
  for (const int64_t extent : shape.shape) example *= static_cast<double>(extent);
  const auto labels = static_cast<double>(at::elementSize(data.LabelType())) *
                      static_cast<double>(shape.has_targets ? shape.classes : 1);
  const auto size = static_cast<double>(shape.train_size) + static_cast<double>(shape.test_size);
  return {"data", "the examples of the training and the test set", size * (example + labels),
          "Use fewer or smaller examples (train_size, train_limit, shape)."};
}

/// What the gradient needs of a batch: its inputs, and each layer's outputs.
Need BatchNeed(const Network& network, const DataShape& shape, int64_t batch, double element) {
  double example = 1;
  for (const int64_t extent : shape.shape) example *= static_cast<double>(extent);
  for (const Parameter& parameter : network.table.parameters()) {
    if (!parameter.is_bias) example += static_cast<double>(parameter.shape.front());
  }
  return {"batch_size", "the " + std::to_string(batch) + " examples of a batch, in all layers,",
          static_cast<double>(batch) * example * element,
          "Use smaller batches, or set piece_size: larger ones are evaluated in pieces."};
}

std::string Gibibytes(double bytes) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.4g GiB", bytes / 0x1p30);
  return text;
}

}  // namespace

void CheckMemory(const Experiment& experiment) {
  const RunConfig& config = experiment.config();
  // Of a number here: on another device only the first theta, in double, is in this memory.
  double element = config.scalar_type() == at::kDouble ? 8 : 4;
  if (!experiment.device().is_cpu()) element = 0;
  int64_t batch = experiment.sized() ? experiment.sampler().batch_size() : 0;
  if (config.piece_size) batch = std::min(batch, *config.piece_size);
  const std::array<Need, 3> needs = {
      DataNeed(experiment.shape(), *config.data), ParametersNeed(experiment.network(), element),
      BatchNeed(experiment.network(), experiment.shape(), batch, element)};
  double sum = 0;
  for (const Need& need : needs) sum += need.bytes;
  const auto limit = static_cast<double>(MemoryLimit());
  if (sum <= limit) return;
  const Need& most = *std::ranges::max_element(needs, {}, &Need::bytes);
  throw Error(ErrorKind::kResource, most.path,
              most.what + " take at least " + Gibibytes(most.bytes) + " of the " + Gibibytes(sum) +
                  " that the run needs, but this process can have only " + Gibibytes(limit),
              most.hint + " Or run on a machine with more memory.");
}

}  // namespace sgdscope
