#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/fields.h"

namespace sgdscope {

/// The steps at which something happens: every so many steps, or epochs, from step 0 on.
class Cadence {
 public:
  /// Without a default: every step, unless the config names a cadence.
  Cadence() = default;
  /// With what it is when the config names none.
  static Cadence EverySteps(int64_t steps);
  static Cadence EveryEpochs(int64_t epochs);

  void Fields(FieldVisitor& visitor);
  /// Whether the config names one.
  bool given() const { return every_ || every_epochs_; }
  /// Settles the cadence in steps. Error kConfig at `path` if both are given.
  void Prepare(const std::string& path, int64_t steps_per_epoch);
  bool At(int64_t step) const { return step % period_ == 0; }
  int64_t period() const { return period_; }  // in steps

 private:
  std::optional<int64_t> every_;
  std::optional<int64_t> every_epochs_;
  std::optional<int64_t> default_every_;
  std::optional<int64_t> default_every_epochs_;
  int64_t period_ = 1;
};

}  // namespace sgdscope
