// Constant until the training loss is small (noise_enhancement, section 3, with factor = 1/2 and
// train_loss = L*):
//   value,  and value * factor from the first step on before which the training loss, as the
//   config's `train_loss` has it measured, was at most train_loss

#include <limits>

#include "config/registry.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

class DropAtLoss final : public Schedule {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "value", .help = "value at first", .required = true, .min = 0, .above_min = true},
        value_);
    visitor.Visit({.name = "factor",
                   .help = "what the drop multiplies the value by",
                   .paper = "noise_enhancement section 3",
                   .min = 0,
                   .max = 1,
                   .above_min = true},
                  factor_);
    visitor.Visit({.name = "train_loss",
                   .help = "L*: the value drops once, when the training loss is at most this",
                   .paper = "noise_enhancement table 1",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  train_loss_);
  }

  double At(int64_t step) const override {
    return step < *dropped_at_.data_ptr<int64_t>() ? value_ : value_ * factor_;
  }

  std::optional<double> AwaitedLoss() const override { return train_loss_; }

  void Observe(int64_t step, double train_loss) override {
    int64_t& dropped_at = *dropped_at_.data_ptr<int64_t>();
    if (step < dropped_at && train_loss <= train_loss_) dropped_at = step;
  }

  std::map<std::string, at::Tensor> State() const override { return {{"dropped_at", dropped_at_}}; }

 private:
  double value_ = 0;
  double factor_ = 0.5;
  double train_loss_ = 0;
  at::Tensor dropped_at_ =  // scalar int64: the first step with the lower value
      at::full({}, std::numeric_limits<int64_t>::max(), at::kLong);
};

const Registration<Schedule, DropAtLoss> kRegistration(
    "drop_at_loss", "constant, and lower by a factor from when the training loss is small");

}  // namespace
}  // namespace sgdscope
