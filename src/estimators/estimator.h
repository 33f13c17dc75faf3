#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "core/torch.h"
#include "data/sampler.h"
#include "gradients/extras.h"
#include "gradients/oracle.h"

namespace sgdscope {

/// What an estimator may check and keep before the run; everything outlives the estimator.
struct EstimatorContext {
  std::string path;  // JSON path of the estimator ("gradient")
  uint64_t seed;
  int64_t examples;  // size of the training set
  const Sampler& sampler;
};

/// What an estimator sees of a step.
struct EstimatorView {
  /// Numbers what the estimator draws itself: the step, or a negative number where a probe repeats
  /// the estimate with other draws.
  int64_t draw;
  const Batch& batch;
  const Gradients& gradients;  // of the batch at theta, with their graph if NeedsGraph()
  const at::Tensor& theta;     // [p]
  const Oracle& oracle;
};

/// What became of a batch.
struct Estimated {
  Gradients gradients;  // of the batch at theta
  at::Tensor g;         // [p], the estimate
  Extras extras = {};   // what else there is to show; of this step only
};

/// Picks one g [p], mean-scaled, from what the oracle found on the batch; leaves register by name.
class Estimator : public Configurable {
 public:
  /// Cross-checks against the run, before the first step. Error kConfig at context.path.
  virtual void Prepare(const EstimatorContext& context) { (void)context; }
  /// Whether Estimate uses the gradients of single examples, which not every network has.
  virtual bool NeedsSingleExamples() const { return false; }
  /// Whether Estimate uses the gradients of all examples of a batch at once, so that none can be
  /// evaluated in pieces.
  virtual bool NeedsWholeBatch() const { return false; }
  /// Whether Estimate differentiates the gradients again.
  virtual bool NeedsGraph() const { return false; }
  virtual at::Tensor Estimate(const EstimatorView& view) = 0;
  /// Evaluates a batch at theta [p] and estimates. Leaves that need other gradients too may find
  /// them in the same pass, where nothing mixes the examples; leaves with extras add them here.
  /// `draw`: as in EstimatorView.
  virtual Estimated EvaluateAndEstimate(int64_t draw, const Batch& batch, const at::Tensor& theta,
                                        const Oracle& oracle) {
    Gradients gradients = oracle.Evaluate(batch, theta, NeedsGraph());
    at::Tensor g = Estimate({draw, batch, gradients, theta, oracle});
    return {std::move(gradients), std::move(g)};
  }
  /// Sizes of the parts of a batch of n examples that Estimate evaluates by themselves.
  virtual std::vector<int64_t> Parts(int64_t n) const {
    (void)n;
    return {};
  }
  /// What `describe` tells of the estimates on batches of n examples; "": nothing.
  virtual std::string Describe(int64_t n) const {
    (void)n;
    return "";
  }
  /// Whether it evaluates the batch and takes Gradients::Mean, and nothing else.
  virtual bool TakesMean() const { return false; }
};

}  // namespace sgdscope
