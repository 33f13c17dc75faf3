#pragma once

#include <cstdint>

#include "core/fields.h"
#include "core/registry.h"

namespace sgdscope {

/// A number as a function of the step; leaves register by name.
class Schedule : public Configurable {
 public:
  virtual double At(int64_t step) const = 0;
};

/// A config value that is a number (a constant) or a schedule object.
inline Choice<Schedule> NumberOrSchedule() {
  return Choice<Schedule>(AnyChoice::Shorthand{"constant", "value"});
}

}  // namespace sgdscope
