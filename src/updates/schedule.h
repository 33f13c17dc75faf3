#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "config/fields.h"
#include "config/registry.h"
#include "core/torch.h"

namespace sgdscope {

/// How long a run is, at most.
struct RunLength {
  int64_t steps;
  int64_t steps_per_epoch;
};

/// A number as a function of the step, and of the training losses that it was told of; leaves
/// register by name.
class Schedule : public Configurable {
 public:
  /// Settles what depends on the length of the run; called before At. Error kConfig at `path`, the
  /// JSON path of the schedule, if they don't fit together.
  virtual void Prepare(const RunLength& length, const std::string& path) {
    (void)length, (void)path;
  }
  /// The value at `step` >= 0.
  virtual double At(int64_t step) const = 0;
  /// The training loss at or below which the value changes; nothing: it depends on the step alone.
  virtual std::optional<double> AwaitedLoss() const { return std::nullopt; }
  /// Tells of the training loss measured before `step`, in the order of the steps. What At says of
  /// earlier steps stays.
  virtual void Observe(int64_t step, double train_loss) { (void)step, (void)train_loss; }
  /// State tensors by name, saved and copied back as an update rule's.
  virtual std::map<std::string, at::Tensor> State() const { return {}; }
};

/// A config value that is a number (a constant) or a schedule object.
inline Choice<Schedule> NumberOrSchedule() {
  return Choice<Schedule>(AnyChoice::Shorthand{"constant", "value"});
}

}  // namespace sgdscope
