// How much a step on a batch B lowers the loss on a batch A that shares examples with it, from
// drawn pairs of training batches: generalization_gap, equation 7. For each number k = |A n B| in
// `overlap`, with the mean loss L_A and the gradients g_A, g_B at theta:
//   sharedK.measured     mean over the pairs of (L_A(theta) - L_A(theta - eta g_B)) / eta
//   sharedK.first_order  mean of <g_A, g_B>, to which it tends with eta to 0
//   sharedK.measured_error, sharedK.first_order_error  their standard errors
//   sharedK.predicted    |G|^2 + k / (|A| |B|) tr Sigma, equation 7
// where, exactly and from a pass over all N training examples with the mean gradient G_N,
//   covariance_trace     tr Sigma, unbiased (division by N - 1)
//   squared_norm         |G|^2 = |G_N|^2 - tr Sigma / N
//
// A pair is drawn uniformly from the training set: |A| + |B| - k distinct examples, of which k are
// in both. The mean of <g_A, g_B> over all such pairs is sharedK.predicted, exactly, in spite of
// the drawing without replacement: of the |A| |B| pairs of an example of A and one of B, k are an
// example with itself, whose mean is |G_N|^2 + (1 - 1/N) tr Sigma, and all others are two different
// examples, whose mean is
//   (N |G_N|^2 - |G_N|^2 - (1 - 1/N) tr Sigma) / (N - 1) = |G_N|^2 - tr Sigma / N.
// This is also the unbiased estimate of the |G|^2 of the distribution that equation 7 is about.
//
// Examples are as they are, without augmentation.

#include <algorithm>
#include <cmath>
#include <set>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "gradients/per_example.h"
#include "gradients/pieces.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

/// What the probe needs of the gradients of all training examples: scalars, in double.
struct Moments {
  at::Tensor squared_norm;  // |G_N|^2 - tr Sigma / N
  at::Tensor trace;         // tr Sigma
};

Moments MomentsOfTrainingSet(const StepView& view) {
  const at::Tensor sum = at::zeros_like(view.theta, at::kDouble);
  std::vector<at::Tensor> squared_norms;
  ForEachPiece(view.oracle, AllExamples(view.oracle), view.theta, PieceSize(view.sampler),
               [&](const Batch& batch, const Gradients& gradients) {
                 sum.add_(gradients.Mean(), static_cast<double>(batch.size()));
                 squared_norms.push_back(PerExample(gradients, TileMemory()).SquaredNorms());
               });
  const auto n = static_cast<double>(view.oracle.size());
  const at::Tensor norm = sum.dot(sum).div(n * n);
  const at::Tensor trace = CovarianceTrace(at::cat(squared_norms), norm);
  return {norm.sub(trace.div(n)), trace};
}

class Overlap : public Probe {
 public:
  Overlap() : Probe(Cadence::EveryEpochs(1)) {}

  void Check(const std::string& path) const override {
    if (overlap_.empty()) {
      throw Error(ErrorKind::kConfig, path + ".overlap", "empty",
                  "Give at least one number of shared examples, or remove the probe.");
    }
    if (std::set<int64_t>(overlap_.begin(), overlap_.end()).size() == overlap_.size()) return;
    throw Error(ErrorKind::kConfig, path + ".overlap", "a number comes twice",
                "Give each number of shared examples once.");
  }

  void CheckNetwork(const Network& network, const std::string& path) const override {
    CheckSingleExamples(network, path);
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"squared_norm", "covariance_trace"};
    for (const int64_t shared : overlap_) {
      for (const char* value :
           {"measured", "measured_error", "first_order", "first_order_error", "predicted"}) {
        values.push_back("shared" + std::to_string(shared) + "." + value);
      }
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const Moments moments = MomentsOfTrainingSet(view);
    std::vector<at::Tensor> values = {moments.squared_norm, moments.trace};
    Stream stream(seed_, "overlap", static_cast<uint64_t>(view.step));
    for (const int64_t shared : overlap_) {
      const at::Tensor pairs = MeasurePairs(view, shared, stream);  // [pairs, 2]
      const at::Tensor means = pairs.mean(0);
      const at::Tensor errors = pairs.std(0, /*unbiased=*/true).div(std::sqrt(pairs_));
      const double weight =
          static_cast<double>(shared) / (static_cast<double>(a_) * static_cast<double>(b_));
      values.insert(values.end(), {means[0], errors[0], means[1], errors[1],
                                   moments.squared_norm.add(moments.trace, weight)});
    }
    return at::stack(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "learning_rate",
                   .help = "eta of the steps that are tried, whatever the run's own",
                   .paper = "generalization_gap, equation 7",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  learning_rate_);
    visitor.Visit({.name = "overlap",
                   .help = "how many examples A and B share; each number has its own columns and "
                           "its own pairs",
                   .unit = "examples",
                   .paper = "generalization_gap, equation 7",
                   .required = true,
                   .min = 0,
                   .max = 1e9},
                  overlap_);
    visitor.Visit({.name = "loss_batch_size",
                   .help = "examples of A, whose loss is measured; as many as a training batch has "
                           "if left out",
                   .unit = "examples",
                   .min = 1,
                   .max = 1e9},
                  loss_batch_size_);
    visitor.Visit({.name = "update_batch_size",
                   .help = "examples of B, which the step is made on; as many as a training batch "
                           "has if left out",
                   .unit = "examples",
                   .min = 1,
                   .max = 1e9},
                  update_batch_size_);
    visitor.Visit({.name = "pairs",
                   .help = "pairs drawn for each overlap; each costs about 2.5 steps",
                   .min = 2,
                   .max = 1e6},
                  pairs_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    seed_ = context.seed;
    a_ = loss_batch_size_.value_or(context.sampler.batch_size());
    b_ = update_batch_size_.value_or(context.sampler.batch_size());
    for (size_t i = 0; i < overlap_.size(); ++i) {
      const std::string path = context.path + ".overlap[" + std::to_string(i) + "]";
      CheckOverlap(overlap_[i], context.examples, path);
    }
  }

 private:
  void CheckOverlap(int64_t shared, int64_t examples, const std::string& path) const {
    const std::string sizes = "batches of " + std::to_string(a_) + " and " + std::to_string(b_);
    if (shared > std::min(a_, b_)) {
      throw Error(ErrorKind::kConfig, path, sizes + " can't share " + std::to_string(shared),
                  "Give at most " + std::to_string(std::min(a_, b_)) + ", or larger batches.");
    }
    if (a_ + b_ - shared <= examples) return;
    throw Error(ErrorKind::kConfig, path,
                sizes + " that share " + std::to_string(shared) + " have " +
                    std::to_string(a_ + b_ - shared) + " examples, but the training set has " +
                    std::to_string(examples),
                "Give a larger overlap, or smaller loss_batch_size or update_batch_size.");
  }

  /// Of each pair, what the loss falls by for each 1 of the learning rate: measured and first
  /// order, [pairs, 2].
  at::Tensor MeasurePairs(const StepView& view, int64_t shared, Stream& stream) const {
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < pairs_; ++i) {
      const at::Tensor both = DrawDistinct(stream, a_ + b_ - shared, view.oracle.size());
      const Batch a = view.oracle.Load(both.narrow(0, 0, a_));
      const Batch b = view.oracle.Load(both.narrow(0, a_ - shared, b_));
      const at::Tensor g = view.oracle.Evaluate(b, view.theta).Mean();
      const LineLosses losses =
          view.oracle.AlongLine(a, view.theta, g, -learning_rate_, /*curvature=*/false);
      rows.push_back(at::stack({losses.value.sub(losses.moved), losses.slope.neg()}).mean(1));
    }
    return at::stack(rows).div(learning_rate_);
  }

  double learning_rate_ = 0;
  std::vector<int64_t> overlap_;
  std::optional<int64_t> loss_batch_size_;
  std::optional<int64_t> update_batch_size_;
  int64_t pairs_ = 100;
  uint64_t seed_ = 0;
  int64_t a_ = 0;  // |A|
  int64_t b_ = 0;  // |B|
};

const Registration<Probe, Overlap> kRegistration(
    "overlap", "how much a step lowers the loss on a batch that shares examples with its own",
    {.base = R"({"pairs": 2})"});

}  // namespace
}  // namespace sgdscope
