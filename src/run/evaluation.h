#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/csv.h"
#include "core/torch.h"
#include "run/experiment.h"

namespace sgdscope {

/// Loss and accuracy over some examples; kNotMeasured where there are none. Of examples with targets
/// there is no accuracy.
struct SplitScore {
  double loss = kNotMeasured;      // mean over the examples
  double accuracy = kNotMeasured;  // share of examples whose largest logit is the label's
};

/// What one sweep over a split finds.
struct Sweep {
  SplitScore all;
  SplitScore pristine;  // these two only in a split with label noise
  SplitScore corrupt;
  at::Tensor right;  // [N] bool: the largest logit is the label's; of targets: undefined
};

/// Evaluates theta on all examples of an oracle's split, in chunks. `running`: Stepper::running.
/// `corrupt` [N] bool: the split's, undefined without label noise.
Sweep SweepSplit(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& running,
                 const at::Tensor& corrupt);

/// Evaluates the first chunk only, for whoever asks what memory a sweep takes.
void EvaluateChunk(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& running);

/// Columns of eval.csv; six more with label noise, no accuracies with targets.
std::vector<std::string> EvalColumns(const Experiment& experiment);

/// The row of eval.csv before step `step`. With label noise of fraction eps and K classes
/// (coherent_gradients, sections 2.1 and 3.3, with K = 10):
///   proper_accuracy = share of pristine examples in the training set
///   overfit = ta - [eps / K + (1 - eps) va], with ta, va the accuracies on training and test set
std::vector<double> EvalRow(const Experiment& experiment, int64_t step, const Sweep& train,
                            const SplitScore& test);

}  // namespace sgdscope
