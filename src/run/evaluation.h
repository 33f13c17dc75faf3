#pragma once

#include <limits>
#include <string>
#include <vector>

#include "core/torch.h"
#include "run/experiment.h"

namespace sgdscope {

/// Loss and accuracy of a whole split.
struct SplitScore {
  double loss;      // mean over the examples
  double accuracy;  // share of examples whose largest logit is the label's
};

/// Before the first evaluation.
inline constexpr SplitScore kNotScored = {std::numeric_limits<double>::quiet_NaN(),
                                          std::numeric_limits<double>::quiet_NaN()};

/// Evaluates theta on all examples of an oracle's split, in chunks.
SplitScore Score(const Oracle& oracle, const at::Tensor& theta);

/// Columns of eval.csv.
std::vector<std::string> EvalColumns();

}  // namespace sgdscope
