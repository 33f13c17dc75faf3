// Half a cosine over the S steps of the run (Loshchilov and Hutter 2017, without restarts):
//   final + (value - final) (1 + cos(pi s / S)) / 2

#include <algorithm>
#include <cmath>
#include <numbers>

#include "config/registry.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

class Cosine final : public Schedule {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "value", .help = "value at step 0", .required = true, .min = 0, .above_min = true},
        value_);
    visitor.Visit({.name = "final", .help = "value that the end of the run would have", .min = 0},
                  final_);
  }

  void Prepare(const RunLength& length, const std::string&) override {
    steps_ = static_cast<double>(length.steps);
  }

  double At(int64_t step) const override {
    const double done = std::min(static_cast<double>(step) / steps_, 1.0);
    return final_ + (value_ - final_) * (1 + std::cos(std::numbers::pi * done)) / 2;
  }

 private:
  double value_ = 0;
  double final_ = 0;
  double steps_ = 1;
};

const Registration<Schedule, Cosine> kRegistration("cosine",
                                                   "half a cosine from value down to final");

}  // namespace
}  // namespace sgdscope
