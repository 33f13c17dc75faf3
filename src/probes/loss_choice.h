#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "probes/probe.h"

namespace sgdscope {

/// Fields `over`, `examples` and `piece_size` of probes that look at a mean loss at other weights
/// or at its second derivatives: that of the training set, of a fixed part of it, or of the
/// updating batch. Under batch normalization each piece is normalized by its own statistics.
class LossChoice {
 public:
  void Fields(FieldVisitor& visitor);
  /// Throws an Error of kind kConfig at `path`, that of the probe, where fields contradict each
  /// other.
  void Check(const std::string& path) const;
  /// The same of a probe that takes no such loss: where a field is given. `why`, `remedy`: what makes
  /// it so, and how to change that.
  void CheckUnused(const std::string& path, const std::string& why,
                   const std::string& remedy) const;
  /// Cross-checks against the run. `stream`: name of the stream that draws the part.
  void Prepare(const ProbeContext& context, const std::string& stream);
  /// Sizes of the pieces that are not the updating batch.
  std::vector<int64_t> OwnBatches() const;

  /// Calls `visit` with one piece after another and the share that it has of the examples.
  void ForEachPiece(const StepView& view,
                    const std::function<void(const Batch& piece, double share)>& visit) const;

  /// The mean loss at theta [p], a scalar in double.
  at::Tensor LossAt(const StepView& view, const at::Tensor& theta) const;

  struct Slope {
    at::Tensor loss;      // a scalar in double
    at::Tensor gradient;  // [p]
  };
  /// The mean loss at theta [p] with its gradient.
  Slope SlopeAt(const StepView& view, const at::Tensor& theta) const;

 private:
  bool InSet() const;
  /// Refuses the fields that only say how the training set is taken.
  void CheckNoSizes(const std::string& path, const std::string& why,
                    const std::string& remedy) const;

  std::string over_ = "training_set";
  std::optional<int64_t> examples_;
  std::optional<int64_t> given_piece_size_;
  int64_t piece_size_ = 1;
  int64_t of_ = 1;   // examples whose mean loss it is
  at::Tensor part_;  // their indices, unless it is the whole set
};

/// Indices [count] of a part of the training set that stays the same throughout the run. Error kConfig
/// at the probe's `field` where that asks for more than there are.
at::Tensor FixedPart(const ProbeContext& context, const std::string& field, int64_t count,
                     const std::string& stream);

/// The mean of independent samples [m] and its standard error [2].
at::Tensor MeanWithError(const at::Tensor& samples);

}  // namespace sgdscope
