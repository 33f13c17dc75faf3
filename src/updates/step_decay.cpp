// Constant, then lower by a factor at even distances. With s of S steps done, at the middle of step
// s the share f = (s + 1/2) / S of the run is over, and
//   value * factor^k,  k = 0 for f < hold, else floor((f - hold) / every) + 1
// By the middle of a step, because hold * S, where a step begins, may be rounded to either side.

#include <cmath>

#include "config/registry.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

class StepDecay final : public Schedule {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "value", .help = "value at first", .required = true, .min = 0, .above_min = true},
        value_);
    visitor.Visit({.name = "hold",
                   .help = "share of the run before the first drop",
                   .paper = "implicit_regularization section 4",
                   .min = 0,
                   .max = 1},
                  hold_);
    visitor.Visit({.name = "factor",
                   .help = "what each drop multiplies the value by",
                   .paper = "implicit_regularization section 4",
                   .min = 0,
                   .max = 1,
                   .above_min = true},
                  factor_);
    visitor.Visit({.name = "every",
                   .help = "share of the run from drop to drop",
                   .paper = "implicit_regularization section 4",
                   .min = 0,
                   .max = 1,
                   .above_min = true},
                  every_);
  }

  void Prepare(const RunLength& length, const std::string&) override {
    steps_ = static_cast<double>(length.steps);
  }

  double At(int64_t step) const override {
    const double done = (static_cast<double>(step) + 0.5) / steps_;
    if (done < hold_) return value_;
    return value_ * std::pow(factor_, std::floor((done - hold_) / every_) + 1);
  }

 private:
  double value_ = 0;
  double hold_ = 0.5;
  double factor_ = 0.5;
  double every_ = 0.1;
  double steps_ = 1;
};

const Registration<Schedule, StepDecay> kRegistration(
    "step_decay", "constant for a share of the run, then multiplied by a factor again and again");

}  // namespace
}  // namespace sgdscope
