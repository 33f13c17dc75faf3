#include "models/model.h"

#include "core/error.h"

namespace sgdscope {

// Ghost batches that don't fill the run's batches would be normalized by fewer examples.
void Network::CheckTrainedBatches(int64_t batch_size, int64_t last_size) const {
  for (const auto& [ghost, fewest, path] : batch_norms) {
    for (const int64_t size : {batch_size, last_size}) {
      if (ghost == 0 || size % ghost == 0) continue;
      throw Error(ErrorKind::kConfig, path + ".ghost_batch_size",
                  std::to_string(ghost) + " does not divide the batches of " +
                      std::to_string(size) + " examples",
                  size == batch_size
                      ? "Choose a batch_size that is a multiple of it."
                      : "It is the last batch of an epoch: sampler.drop_last leaves it out.");
    }
  }
}

void Network::CheckPieces(int64_t size, const std::string& path) const {
  for (const auto& [ghost, fewest, field] : batch_norms) {
    if (ghost == 0) {
      throw Error(ErrorKind::kConfig, path,
                  "batch normalization takes each batch as a whole, which pieces would cut",
                  "Set " + field +
                      ".ghost_batch_size to the size of the pieces (a built-in model needs "
                      "\"norm\": \"ghost\" for it), or normalize otherwise, or leave this out.");
    }
    if (size % ghost == 0) continue;
    throw Error(ErrorKind::kConfig, path,
                "found " + std::to_string(size) + ", which would cut the ghost batches of " +
                    std::to_string(ghost) + " examples",
                "Choose a multiple of " + field + ".ghost_batch_size.");
  }
}

// Batch normalization of a single value would train on nothing: it is its own mean.
void Network::CheckNormalizes(int64_t size, const std::string& path,
                              const std::string& hint) const {
  for (const auto& [ghost, fewest, field] : batch_norms) {
    const int64_t smallest = ghost == 0 ? size : (size - 1) % ghost + 1;
    if (smallest >= fewest) continue;
    throw Error(ErrorKind::kConfig, path,
                "batch normalization of " + std::to_string(smallest) + " example (of a batch of " +
                    std::to_string(size) +
                    ") where a channel is left with a single pixel: a single value has no variance",
                hint + ", or use larger images or another model.norm.");
  }
}

}  // namespace sgdscope
