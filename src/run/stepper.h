#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/torch.h"
#include "run/experiment.h"
#include "run/times.h"

namespace sgdscope {

/// The training loop's body, with everything that changes from step to step: theta, the update
/// rule's and the probes' state.
class Stepper {
 public:
  /// Starts from the initial weights. Keeps a reference to `experiment`, whose data is loaded.
  /// `times`: charged with batches and probes; null: nobody asks.
  explicit Stepper(Experiment& experiment, Times* times = nullptr);

  struct Measured {
    at::Tensor loss;                 // scalar, double: mean over the batch at theta before the step
    std::vector<at::Tensor> probes;  // one a probe; undefined where it did not measure
  };
  /// One step: batch, gradient, estimate, update, probes, and theta += delta: the only place that
  /// writes theta. Where nobody looks at g, and delta is a multiple of it, theta has the same bits, and
  /// g isn't kept.
  Measured Step(int64_t step);

  const at::Tensor& theta() const { return theta_; }
  /// What batch normalization uses in evaluations: the mean and variance of the steps' own batches,
  /// of which the later ones weigh more. Undefined without it.
  at::Tensor running() const {
    return experiment_.network().MixesExamples() ? running_ : at::Tensor();
  }
  /// All state by name: "theta", "running", "update.<name>", "learning_rate.<name>",
  /// "probe.<label>.<name>". The tensors are the live ones.
  std::map<std::string, at::Tensor> State() const;

 private:
  /// Whether delta is a multiple of the batch's mean gradient, at which no probe looks.
  bool OnlyScales(int64_t step) const;
  Measured ScaledStep(int64_t step, const Batch& batch);

  Experiment& experiment_;
  Times* times_;
  at::Tensor theta_;    // [p]
  at::Tensor running_;  // Network::statistics; empty without batch normalization
};

}  // namespace sgdscope
