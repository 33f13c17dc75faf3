#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/cadence.h"
#include "config/fields.h"

namespace sgdscope {

/// Which checkpoints stay when later ones are written. Resuming needs the last; a fork begins at
/// any.
class KeptCheckpoints {
 public:
  void Fields(FieldVisitor& visitor);
  /// Settles the steps; `steps`: of the run. Error kConfig below `path`.
  void Prepare(const std::string& path, int64_t steps_per_epoch, int64_t steps);

  /// Whether `step` has a checkpoint that stays, also where no other rule makes one there.
  bool At(int64_t step) const;
  /// Whether a checkpoint stays with so many later ones behind it.
  bool Stays(int64_t step, int64_t later) const { return all_ || later < last_ || At(step); }

 private:
  int64_t last_ = 2;
  bool all_ = false;
  std::vector<int64_t> steps_;
  Cadence cadence_;  // none unless it is given
};

}  // namespace sgdscope
