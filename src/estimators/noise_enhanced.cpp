// Noise-enhanced SGD: noise_enhancement, equation 6,
//   g = alpha grad L_B + (1 - alpha) grad L_B',
// where B' has as many examples as B, all distinct, drawn from the whole training set independently
// of B; or, with `second` = "full", equation 5,
//   g = alpha grad L_B + (1 - alpha) grad L,
// with the gradient of the whole training set, for small problems. Both have the mean of plain SGD
// and its covariance times alpha^2 + (1 - alpha)^2, or times alpha^2. (Equation 10 prints
// 1 - alpha^2 in its first line; its second line has what follows from equation 9.)
//
// With l = svag in place of alpha it is SVAG of Li, Malladi and Arora 2021 ("On the validity of
// modeling SGD with stochastic differential equations", algorithm 1): alpha = (1 + sqrt(2 l - 1)) /
// 2, which makes the covariance l times as large. With 1 / l of the learning rate, l steps then
// move theta as far as one of plain SGD, with as much noise; as l grows they tend to the SDE. Its
// noise is that of two batches: it goes with equation 6 alone.
//
// B' and its augmentation have random streams of their own: B's sequence does not depend on the
// estimator. Batch normalization takes each batch's own statistics.

#include <cmath>
#include <cstdio>
#include <optional>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "estimators/estimator.h"
#include "gradients/pieces.h"

namespace sgdscope {
namespace {

constexpr const char* kBatch = "batch";
constexpr const char* kFull = "full";

/// Examples of a batch up to which one pass over both is the faster way: small matrix products gain
/// by being joined, large activations leave the cache. On a CPU, for the paper's F1: 9 % faster at
/// 100 examples, equal at 400, 7 % slower at 1000.
constexpr int64_t kMostJoined = 256;

class NoiseEnhanced : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "alpha",
                   .help = "weight of the batch's gradient, that of the second one is 1 - alpha: "
                           "above 1 the noise is enhanced, 1 is plain SGD; or give svag",
                   .paper = "noise_enhancement, equation 6"},
                  given_alpha_);
    visitor.Visit({.name = "svag",
                   .help = "l, in place of alpha: alpha = (1 + sqrt(2 l - 1)) / 2. For learning "
                           "rates and numbers of steps of plain SGD, give the update rule 1 / l of "
                           "the rate and the run l times as many steps",
                   .paper = "Li, Malladi and Arora 2021, algorithm 1",
                   .min = 1,
                   .max = 1e9},
                  svag_);
    visitor.Visit({.name = "second",
                   .help = "the second gradient: of a second batch, or of the full training set, "
                           "which costs a pass over it at every step",
                   .paper = "noise_enhancement, equations 6 and 5",
                   .allowed = {kBatch, kFull}},
                  second_);
  }

  void Check(const std::string& path) const override {
    if (given_alpha_.has_value() == svag_.has_value()) {
      throw Error(ErrorKind::kConfig, path + ".alpha",
                  svag_ ? "given beside svag, which stands for an alpha of its own"
                        : "missing, and so is svag",
                  "Give one of the two.");
    }
    if (!svag_ || second_ == kBatch) return;
    throw Error(ErrorKind::kConfig, path + ".svag",
                "found " + std::to_string(*svag_) +
                    ", but second is full: its alpha makes the covariance l times as large where "
                    "both gradients are of batches",
                "Set " + path + ".second to batch, or give alpha in place of svag.");
  }

  void Prepare(const EstimatorContext& context) override {
    alpha_ =
        given_alpha_ ? *given_alpha_ : (1 + std::sqrt(2 * static_cast<double>(*svag_) - 1)) / 2;
    if (second_ == kBatch) {
      CheckBatchSize(context);
    } else {
      CheckBatchesDiffer(context);
    }
    seed_ = context.seed;
    augment_seed_ = Stream(context.seed, "second_batch.augment").Bits64();
    examples_ = context.examples;
    sampler_ = &context.sampler;
  }

  /// The mean loss of the whole set is one of single examples.
  bool NeedsSingleExamples() const override { return second_ == kFull; }

  at::Tensor Estimate(const EstimatorView& view) override {
    const at::Tensor& first = view.gradients.Mean();
    if (alpha_ == 1) return first;
    const at::Tensor second = second_ == kFull ? FullGradient(view) : SecondGradient(view);
    return second.lerp(first, alpha_);
  }

  /// With the extra `batch.second`: the indices [n] int64, CPU, of B'.
  Estimated EvaluateAndEstimate(int64_t draw, const Batch& batch, const at::Tensor& theta,
                                const Oracle& oracle) override {
    if (alpha_ == 1 || second_ == kFull) {
      return Estimator::EvaluateAndEstimate(draw, batch, theta, oracle);
    }
    const int64_t n = batch.size();
    Estimated estimated = Joins(n, oracle)
                              ? Joint(draw, batch, theta, oracle)
                              : Estimator::EvaluateAndEstimate(draw, batch, theta, oracle);
    estimated.extras["batch.second"] = [this, draw, n] { return SecondBatch(draw, n); };
    return estimated;
  }

  std::string Describe(int64_t n) const override {
    const double rest = second_ == kFull ? 0 : 1 - alpha_;
    const double factor = alpha_ * alpha_ + rest * rest;
    if (factor == 0) return "without noise: the gradient of the full training set";
    char text[160];
    std::snprintf(text, sizeof(text), "as noisy as plain SGD with batches of %.6g examples%s",
                  static_cast<double>(n) / factor,
                  second_ == kFull ? "" : " (B_eff of noise_enhancement, equation 11)");
    return text;
  }

 private:
  void CheckBatchSize(const EstimatorContext& context) const {
    if (context.sampler.batch_size() < context.examples) return;
    throw Error(ErrorKind::kConfig, context.path + ".second",
                "a second batch of " + std::to_string(context.sampler.batch_size()) +
                    " distinct examples would be no random part of the " +
                    std::to_string(context.examples) + " training examples",
                "Lower batch_size, with a sampler other than full.");
  }

  void CheckBatchesDiffer(const EstimatorContext& context) const {
    if (!context.sampler.SameEveryStep()) return;
    throw Error(ErrorKind::kConfig, context.path,
                "the sampler uses the same batch at every step: there is no noise to enhance",
                "Choose another sampler, or the estimator mean.");
  }

  /// The indices [n] of B'.
  at::Tensor SecondBatch(int64_t draw, int64_t n) const {
    Stream stream(seed_, "second_batch", static_cast<uint64_t>(draw));
    return DrawDistinct(stream, n, examples_);
  }

  /// B', of n examples.
  Batch LoadSecond(int64_t draw, int64_t n, const Oracle& oracle) const {
    return oracle.Load(sampler_->Augmented(SecondBatch(draw, n), augment_seed_, draw));
  }

  /// Whether two batches of n examples are evaluated in one pass: nothing mixes them, they are
  /// small, and they fit into a piece. In pieces they would leave nothing of what the layers saw of
  /// the first, which others may need.
  static bool Joins(int64_t n, const Oracle& oracle) {
    return !oracle.MixesExamples() && n <= kMostJoined && AtOnce(oracle, 2 * n) == 2 * n;
  }

  /// In one pass over both batches.
  Estimated Joint(int64_t draw, const Batch& batch, const at::Tensor& theta,
                  const Oracle& oracle) const {
    const int64_t n = batch.size();
    const Gradients both = oracle.Evaluate(Joined(batch, LoadSecond(draw, n, oracle)), theta);
    const at::Tensor weights = at::full({2 * n}, 1 - alpha_, both.losses.options());
    weights.narrow(0, 0, n).fill_(alpha_);
    return {both.OfPart(0, n), both.Weighted(weights)};
  }

  at::Tensor SecondGradient(const EstimatorView& view) const {
    const Batch second = LoadSecond(view.draw, view.batch.size(), view.oracle);
    return view.oracle.Evaluate(second, view.theta).Mean();
  }

  /// grad L [p], by pieces of the batches' size: it needs no more memory than they do.
  at::Tensor FullGradient(const EstimatorView& view) const {
    const Examples all =
        sampler_->Augmented(AllExamples(view.oracle).indices, augment_seed_, view.draw);
    return MeanGradient(view.oracle, all, view.theta, sampler_->batch_size())
        .to(view.theta.scalar_type());
  }

  std::optional<double> given_alpha_;
  std::optional<int64_t> svag_;
  double alpha_ = 1;
  std::string second_ = kBatch;
  uint64_t seed_ = 0;
  uint64_t augment_seed_ = 0;
  int64_t examples_ = 0;  // in the training set
  const Sampler* sampler_ = nullptr;
};

const Registration<Estimator, NoiseEnhanced> kRegistration(
    "noise_enhanced",
    "alpha times the batch's mean gradient and 1 - alpha times that of a second one",
    {.base = R"({"alpha": 1.5})"});

}  // namespace
}  // namespace sgdscope
