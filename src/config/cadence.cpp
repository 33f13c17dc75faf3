#include "config/cadence.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace sgdscope {
namespace {

constexpr int64_t kDecades = 15;  // no run is longer than 10^15 steps
constexpr int64_t kDefaultPerDecade = 10;

/// 0 and round(10^(k / per_decade)) for k = 0, 1, ..., without repetitions. In long double the
/// error of a power stays far below a step, also for the largest one.
std::vector<int64_t> LogSteps(int64_t per_decade) {
  std::vector<int64_t> steps = {0};
  for (int64_t k = 0; k <= kDecades * per_decade; ++k) {
    const long double exponent = static_cast<long double>(k) / static_cast<long double>(per_decade);
    const int64_t step = std::llround(std::pow(10.0L, exponent));
    if (step > steps.back()) steps.push_back(step);
  }
  return steps;
}

}  // namespace

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
  visitor.Visit({.name = "at",
                 .help = "in place of every and every_epochs; log: at step 0 and the steps "
                         "round(10^(k / per_decade)), k = 0, 1, ...",
                 .allowed = {"log"}},
                at_);
  visitor.Visit({.name = "per_decade",
                 .help = "steps from 10^j up to 10^(j + 1), with \"at\": \"log\" (default " +
                         std::to_string(kDefaultPerDecade) + ")",
                 .min = 1,
                 .max = 1000},
                per_decade_);
}

void Cadence::Check(const std::string& path) const {
  std::vector<std::string> names;
  if (every_) names.push_back("every");
  if (every_epochs_) names.push_back("every_epochs");
  if (at_) names.push_back("at");
  if (names.size() > 1) {
    throw Error(ErrorKind::kConfig, path, "both " + names[0] + " and " + names[1] + " are given",
                "Keep one of them.");
  }
  if (per_decade_ && !at_) {
    throw Error(ErrorKind::kConfig, path + ".per_decade", "it is given without at",
                "Add \"at\": \"log\", or leave per_decade out.");
  }
}

void Cadence::Prepare(const std::string& path, int64_t steps_per_epoch) {
  Check(path);
  if (at_) {
    log_steps_ = LogSteps(per_decade_.value_or(kDefaultPerDecade));
    return;
  }
  const auto every = given() ? every_ : default_every_;
  const auto every_epochs = given() ? every_epochs_ : default_every_epochs_;
  period_ = every_epochs ? *every_epochs * steps_per_epoch : every.value_or(1);
}

bool Cadence::At(int64_t step) const {
  if (log_steps_.empty()) return step % period_ == 0;
  return std::ranges::binary_search(log_steps_, step);
}

}  // namespace sgdscope
