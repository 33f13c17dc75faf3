// w steps of linear warm-up, then another schedule over the rest of the run, as if it began there:
//   then(0) (s + 1) / (w + 1) for s < w,  then(s - w) for s >= w

#include <optional>

#include "config/registry.h"
#include "core/error.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

class Warmup final : public Schedule {
 public:
  void Fields(FieldVisitor& visitor) override {
    constexpr double kMost = 1e9;  // so that a product with the steps of an epoch can't overflow
    visitor.Visit({.name = "steps",
                   .help = "length of the warm-up; or give epochs",
                   .unit = "steps",
                   .min = 1,
                   .max = kMost},
                  warm_steps_);
    visitor.Visit({.name = "epochs",
                   .help = "length of the warm-up; or give steps",
                   .unit = "epochs",
                   .min = 1,
                   .max = kMost / 1e3},
                  warm_epochs_);
    visitor.Choose({.name = "then",
                    .help = "what follows, over the rest of the run: a number or a schedule",
                    .required = true},
                   then_);
  }

  void Check(const std::string& path) const override {
    if (warm_steps_.has_value() != warm_epochs_.has_value()) return;
    throw Error(
        ErrorKind::kConfig, path,
        warm_steps_ ? "both steps and epochs are given" : "neither steps nor epochs is given",
        "Give exactly one of them: it says how long the warm-up is.");
  }

  void Prepare(const RunLength& length, const std::string& path) override {
    warm_ = warm_steps_ ? *warm_steps_ : *warm_epochs_ * length.steps_per_epoch;
    if (warm_ >= length.steps) {
      throw Error(ErrorKind::kConfig, path + (warm_steps_ ? ".steps" : ".epochs"),
                  "a warm-up of " + std::to_string(warm_) + " steps in a run of " +
                      std::to_string(length.steps) + " leaves nothing for what follows",
                  "Make the warm-up shorter or the run longer.");
    }
    then_->Prepare({length.steps - warm_, length.steps_per_epoch}, path + ".then");
    start_ = then_->At(0);
  }

  double At(int64_t step) const override {
    if (step >= warm_) return then_->At(step - warm_);
    return start_ * static_cast<double>(step + 1) / static_cast<double>(warm_ + 1);
  }

  std::optional<double> AwaitedLoss() const override { return then_->AwaitedLoss(); }

  /// What is measured during the warm-up changes nothing.
  void Observe(int64_t step, double train_loss) override {
    if (step >= warm_) then_->Observe(step - warm_, train_loss);
  }

  std::map<std::string, at::Tensor> State() const override { return then_->State(); }

 private:
  std::optional<int64_t> warm_steps_;
  std::optional<int64_t> warm_epochs_;
  Choice<Schedule> then_ = NumberOrSchedule();
  int64_t warm_ = 0;
  double start_ = 0;  // then(0), before any training loss is known
};

const Registration<Schedule, Warmup> kRegistration("warmup", "a linear rise, then another schedule",
                                                   {.base = R"({"steps": 20})"});

}  // namespace
}  // namespace sgdscope
