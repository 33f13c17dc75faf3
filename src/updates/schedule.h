#pragma once

#include <cstdint>
#include <string>

#include "core/fields.h"
#include "core/registry.h"

namespace sgdscope {

/// How long a run is, at most.
struct RunLength {
  int64_t steps;
  int64_t steps_per_epoch;
};

/// A number as a function of the step; leaves register by name.
class Schedule : public Configurable {
 public:
  /// Settles what depends on the length of the run; called before At. Error kConfig at `path`, the
  /// JSON path of the schedule, if they don't fit together.
  virtual void Prepare(const RunLength& length, const std::string& path) {
    (void)length, (void)path;
  }
  /// The value at `step` >= 0.
  virtual double At(int64_t step) const = 0;
};

/// A config value that is a number (a constant) or a schedule object.
inline Choice<Schedule> NumberOrSchedule() {
  return Choice<Schedule>(AnyChoice::Shorthand{"constant", "value"});
}

}  // namespace sgdscope
