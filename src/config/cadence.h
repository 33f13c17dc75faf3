#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"

namespace sgdscope {

/// The steps at which something happens: every so many steps or epochs, from step 0 on, or at steps
/// that are evenly spaced on a logarithmic axis.
class Cadence {
 public:
  /// Without a default: every step, unless the config names a cadence.
  Cadence() = default;
  /// A cadence that is this one where the config names none.
  static Cadence EverySteps(int64_t steps);
  static Cadence EveryEpochs(int64_t epochs);

  void Fields(FieldVisitor& visitor);
  /// Whether the config names one.
  bool given() const { return every_ || every_epochs_ || at_; }
  /// Settles the cadence in steps. Error kConfig at `path` if the config names more than one.
  void Prepare(const std::string& path, int64_t steps_per_epoch);
  /// Whether `step` >= 0 is one of them; after Prepare, for runs of up to 10^15 steps.
  bool At(int64_t step) const;

 private:
  void Check(const std::string& path) const;

  std::optional<int64_t> every_;
  std::optional<int64_t> every_epochs_;
  std::optional<std::string> at_;
  std::optional<int64_t> per_decade_;
  std::optional<int64_t> default_every_;
  std::optional<int64_t> default_every_epochs_;
  int64_t period_ = 1;
  std::vector<int64_t> log_steps_;  // sorted; empty: every period_ steps
};

}  // namespace sgdscope
