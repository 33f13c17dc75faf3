#include "core/cadence.h"

#include "core/error.h"

namespace sgdscope {

Cadence Cadence::EverySteps(int64_t steps) {
  Cadence cadence;
  cadence.default_every_ = steps;
  return cadence;
}

Cadence Cadence::EveryEpochs(int64_t epochs) {
  Cadence cadence;
  cadence.default_every_epochs_ = epochs;
  return cadence;
}

void Cadence::Fields(FieldVisitor& visitor) {
  const auto help = [](const std::string& unit, const std::optional<int64_t>& by_default) {
    std::string text = "once in so many " + unit + ", from step 0 on";
    if (by_default) text += " (default " + std::to_string(*by_default) + ")";
    return text;
  };
  constexpr double kLongest = 1e12;  // so that a product with the steps of an epoch can't overflow
  visitor.Visit({.name = "every",
                 .help = help("steps", default_every_),
                 .unit = "steps",
                 .min = 1,
                 .max = kLongest},
                every_);
  visitor.Visit({.name = "every_epochs",
                 .help = help("epochs", default_every_epochs_),
                 .unit = "epochs",
                 .min = 1,
                 .max = kLongest / 1e6},
                every_epochs_);
}

void Cadence::Prepare(const std::string& path, int64_t steps_per_epoch) {
  if (every_ && every_epochs_) {
    throw Error(ErrorKind::kConfig, path, "both every and every_epochs are given",
                "Keep one of them.");
  }
  const auto every = given() ? every_ : default_every_;
  const auto every_epochs = given() ? every_epochs_ : default_every_epochs_;
  period_ = every_epochs ? *every_epochs * steps_per_epoch : every.value_or(1);
}

}  // namespace sgdscope
