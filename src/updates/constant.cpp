#include "config/registry.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

class Constant : public Schedule {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "value",
                   .help = "value at every step",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  value_);
  }
  double At(int64_t) const override { return value_; }

 private:
  double value_ = 0;
};

const Registration<Schedule, Constant> kRegistration("constant",
                                                     "the same at every step; a number means this");

}  // namespace
}  // namespace sgdscope
