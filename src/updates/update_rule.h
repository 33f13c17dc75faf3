#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "config/fields.h"
#include "core/torch.h"
#include "data/sampler.h"
#include "gradients/oracle.h"
#include "updates/schedule.h"

namespace sgdscope {

/// Where a rule becomes unstable: if the loss were quadratic with the Hessian H, and the step's
/// learning rate held for good, theta would stay bounded as long as no eigenvalue of P^-1 H is
/// above the threshold. That is of steps that are not clipped: near a minimum none is.
struct Stability {
  double threshold = kUnknown;
  at::Tensor metric = {};  // the diagonal of P [p], or undefined: P is the identity

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

/// delta = scale * direction, kept apart so that plain SGD need not write p numbers more. The
/// trainer adds it to theta, in one place.
struct Update {
  at::Tensor direction;  // [p]
  double scale;
  Stability stability = {};
  at::Tensor Delta() const { return direction.mul(scale); }
};

/// What an update rule sees of a step.
struct StepGradient {
  int64_t step;
  const Batch& batch;
  const Gradients& gradients;  // of the batch at theta
  const Oracle& oracle;
  const at::Tensor& g;      // [p], the estimator's choice at theta
  const at::Tensor& theta;  // [p]
  /// The estimator's choice on the same batch at another theta [p].
  std::function<at::Tensor(const at::Tensor&)> at;
};

/// Turns the gradient g into delta; leaves register by name. Hyper-parameters are fields; what
/// changes from step to step is state, saved in checkpoints.
class UpdateRule : public Configurable {
 public:
  /// `learning_rate` and `clip_norm`, then the leaf's own fields.
  void Fields(FieldVisitor& visitor) final;
  /// Settles the learning rate, before the first step. Error kConfig; `path`: the JSON path of the
  /// rule.
  void PrepareLearningRate(const RunLength& length, const std::string& path) {
    learning_rate_->Prepare(length, path + ".learning_rate");
  }
  double LearningRate(int64_t step) const { return learning_rate_->At(step); }
  /// The schedule itself, for training losses and checkpoints.
  Schedule& learning_rate() const { return *learning_rate_; }
  /// Whether it may differ from step to step.
  bool LearningRateVaries() const { return learning_rate_.selected() != "constant"; }

  /// Whether OwnNext uses the gradients of single examples, which not every network has.
  virtual bool NeedsSingleExamples() const { return false; }
  /// Whether OwnNext uses the gradients of all examples of a batch at once, so that none can be
  /// evaluated in pieces.
  virtual bool NeedsWholeBatch() const { return false; }
  /// Whether OwnNext says where the rule becomes unstable (Update::stability).
  virtual bool KnowsStability() const { return false; }
  /// Whether delta is always -LearningRate(step) g.
  bool OnlyScales() const { return !clip_norm_ && OwnOnlyScales(); }
  /// Cross-checks with the batches of the run, before the first step. Error kConfig; `path`: the
  /// JSON path of the rule.
  virtual void CheckBatches(const Sampler& sampler, const std::string& path) const {
    (void)sampler, (void)path;
  }
  /// Shows the layout of theta, once before Allocate. Error kConfig if the rule can't work on it.
  virtual void Prepare(const ParameterTable& table) { (void)table; }
  /// Makes the state for theta [p], on its device, once before the first step.
  virtual void Allocate(const at::Tensor& theta) { (void)theta; }
  /// The step at which the state begins, as Allocate makes it: 0, or where a fork takes to this
  /// rule.
  void BeginAt(int64_t step) { begin_ = step; }
  int64_t begin() const { return begin_; }
  /// The update of this step, on gradients that are no longer than `clip_norm`; modifies neither g
  /// nor theta.
  Update Next(const StepGradient& gradient);
  /// State tensors by name; the trainer saves them, and copies saved ones back into them.
  virtual std::map<std::string, at::Tensor> State() const { return {}; }

 protected:
  /// How many steps the state has seen before this one.
  int64_t Seen(int64_t step) const { return step - begin_; }

 private:
  virtual void OwnFields(FieldVisitor& visitor) { (void)visitor; }
  /// The update of this step, on `gradient` as it is.
  virtual Update OwnNext(const StepGradient& gradient) = 0;
  /// Whether what OwnNext returns is always {g, -LearningRate(step)}.
  virtual bool OwnOnlyScales() const { return false; }

  Choice<Schedule> learning_rate_ = NumberOrSchedule();
  std::optional<double> clip_norm_;
  int64_t begin_ = 0;
};

}  // namespace sgdscope
