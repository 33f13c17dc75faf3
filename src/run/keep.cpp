#include "run/keep.h"

#include <algorithm>

#include "core/error.h"

namespace sgdscope {

void KeptCheckpoints::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "last",
                 .help = "so many of the latest stay; where the last one is damaged, resuming goes "
                         "back to the one before",
                 .min = 1,
                 .max = 1e9},
                last_);
  visitor.Visit({.name = "all", .help = "all stay"}, all_);
  visitor.Visit({.name = "steps",
                 .help = "steps that have a checkpoint which stays, whatever every_steps is",
                 .unit = "steps",
                 .min = 0},
                steps_);
  cadence_.Fields(visitor);
}

void KeptCheckpoints::Prepare(const std::string& path, int64_t steps_per_epoch, int64_t steps) {
  cadence_.Prepare(path, steps_per_epoch);
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i] <= steps) continue;
    throw Error(ErrorKind::kConfig, path + ".steps[" + std::to_string(i) + "]",
                std::to_string(steps_[i]) + ", but the run ends at step " + std::to_string(steps),
                "Leave it out, or make the run longer.");
  }
}

bool KeptCheckpoints::At(int64_t step) const {
  return std::ranges::find(steps_, step) != steps_.end() || (cadence_.given() && cadence_.At(step));
}

}  // namespace sgdscope
