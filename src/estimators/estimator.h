#pragma once

#include <cstdint>
#include <string>

#include "core/fields.h"
#include "core/torch.h"
#include "data/sampler.h"
#include "gradients/oracle.h"

namespace sgdscope {

/// What an estimator sees of a step.
struct EstimatorView {
  int64_t step;
  const Batch& batch;
  const Gradients& gradients;  // of the batch at theta, with their graph if NeedsGraph()
  const at::Tensor& theta;     // [p]
  const Oracle& oracle;
};

/// Picks one g [p], mean-scaled, from what the oracle found on the batch; leaves register by name.
class Estimator : public Configurable {
 public:
  /// Throws an Error of kind kConfig at `path` if the estimator is undefined for the run's batches.
  virtual void CheckBatches(const Sampler& sampler, const std::string& path) const {
    (void)sampler, (void)path;
  }
  /// Whether Estimate uses the gradients of single examples, which not every network has.
  virtual bool NeedsSingleExamples() const { return false; }
  /// Whether Estimate differentiates the gradients again.
  virtual bool NeedsGraph() const { return false; }
  virtual at::Tensor Estimate(const EstimatorView& view) = 0;
};

}  // namespace sgdscope
