// Gradients with Gaussian noise of a known covariance. From m examples with the gradients g_i and
// their mean, with Sigma_m their covariance (unbiased) and v a variance factor, below:
//   gaussian_noise   g = mean + sqrt(v / (m - 1)) sum_i (z_i - mean z) g_i,  z_i ~ N(0, 1)
//   isotropic_noise  g = mean + sqrt(v tr Sigma_m / p) z,                    z ~ N(0, I)
// Given the examples g is Gaussian, with the covariance v Sigma_m, or with v tr Sigma_m / p in every
// direction: the same trace. sum_i (z_i - mean z) g_i is one weighted sum of gradients, made
// together with the mean in place of it.
//
// With s = scale, B = noise_batch_size, N training examples of covariance Sigma (unbiased):
//   around = batch      the m examples are those of the step, and v = s^2 / B. Over batches of m
//                       distinct examples the covariance of g is
//                         (1/m - 1/N) Sigma + v Sigma
//   around = reference  m = reference_size distinct examples, drawn from the training set for every
//                       step by themselves, and v = s^2 (1/B - 1/N) - (1/m - 1/N). The covariance of
//                       g is s^2 (1/B - 1/N) Sigma, that of s^2 times plain SGD's with batches of B
//                       distinct examples, and its mean the gradient of the whole set's loss; the
//                       step's own batch only gives losses and what probes see. What is not Gaussian
//                       about g vanishes with 1/m; m = N leaves nothing of it.
// So the effect of the noise's covariance can be told from that of what is not Gaussian about it,
// which noise_enhancement, section 4, leaves open.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/registry.h"
#include "core/error.h"
#include "core/random_vectors.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"
#include "gradients/pieces.h"
#include "nn/reduce.h"

namespace sgdscope {
namespace {

constexpr const char* kBatch = "batch";
constexpr const char* kReference = "reference";

class NoiseAround : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "scale", .help = "s: factor of the noise's standard deviation", .min = 0}, scale_);
    visitor.Visit({.name = "noise_batch_size",
                   .help = "B: the noise has the covariance of the mean of so many examples' "
                           "gradients; left out: of as many as the run's batches have",
                   .unit = "examples",
                   .min = 1,
                   .max = 1e9},
                  noise_batch_size_);
    visitor.Visit({.name = "around",
                   .help = "batch: noise is added to the mean of the step's batch, which has its "
                           "own; reference: to that of a larger one, which replaces it, and "
                           "together the two have the covariance of plain SGD",
                   .allowed = {kBatch, kReference}},
                  around_);
    visitor.Visit({.name = "reference_size",
                   .help = "for reference: distinct examples drawn for every step, each of which "
                           "costs as much as one of the batch; the whole training set: no draw",
                   .unit = "examples",
                   .min = 2,
                   .max = 1e12},
                  reference_size_);
  }

  void Check(const std::string& path) const override {
    if (Reference() == reference_size_.has_value()) return;
    throw Error(ErrorKind::kConfig, path + ".reference_size",
                Reference() ? "missing, and around is reference" : "given, but around is batch",
                Reference() ? "Say how many examples the reference has."
                            : "Leave it out, or set " + path + ".around to reference.");
  }

  void Prepare(const EstimatorContext& context) override {
    seed_ = context.seed;
    augment_seed_ = Stream(context.seed, "noise.augment").Bits64();
    examples_ = context.examples;
    sampler_ = &context.sampler;
    if (Reference()) {
      CheckReference(context);
    } else if (context.sampler.smallest_batch() < 2) {
      throw Error(ErrorKind::kConfig, context.path,
                  "needs the covariance of the gradients of a batch's examples, but there are "
                  "batches of a single one",
                  "Give a larger batch_size, or set sampler.drop_last where only the last batch "
                  "of an epoch is that small.");
    }
  }

  bool NeedsSingleExamples() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    Stream stream(seed_, "noise", static_cast<uint64_t>(view.draw));
    if (!Reference()) {
      const int64_t n = view.batch.size();
      const double variance = n < 2 ? 0 : scale_ * scale_ / static_cast<double>(NoiseBatch());
      return WithNoise(stream, n, variance, view.theta,
                       [&](const Visit& visit) { visit(view.gradients); });
    }
    const int64_t m = *reference_size_;
    const at::Tensor indices =
        m == examples_ ? AllExamples(view.oracle).indices : DrawDistinct(stream, m, examples_);
    const Examples examples = sampler_->Augmented(indices, augment_seed_, view.draw);
    return WithNoise(stream, m, Variance(), view.theta, [&](const Visit& visit) {
      ForEachPiece(view.oracle, examples, view.theta, PieceSize(*sampler_),
                   [&](const Batch&, const Gradients& gradients) { visit(gradients); });
    });
  }

  std::string Describe(int64_t n) const override {
    // 1/b, where the covariance is that over batches of b distinct examples, (1/b - 1/N) Sigma.
    const double inverse = Reference() ? Asked() + 1 / static_cast<double>(examples_)
                                       : scale_ * scale_ / static_cast<double>(NoiseBatch()) +
                                             1 / static_cast<double>(n);
    char text[120];
    std::snprintf(text, sizeof(text), "as noisy as plain SGD with batches of %.6g examples",
                  1 / inverse);
    return text;
  }

 protected:
  using Visit = std::function<void(const Gradients&)>;
  /// Shows the gradients of all m examples, a part after the other.
  using ForEachPart = std::function<void(const Visit&)>;

 private:
  /// g [p] from m examples, with the variance factor v.
  virtual at::Tensor WithNoise(Stream& stream, int64_t m, double variance, const at::Tensor& theta,
                               const ForEachPart& for_each) const = 0;

  bool Reference() const { return around_ == kReference; }
  int64_t NoiseBatch() const { return noise_batch_size_.value_or(sampler_->batch_size()); }

  /// s^2 (1/B - 1/N).
  double Asked() const {
    return scale_ * scale_ *
           (1 / static_cast<double>(NoiseBatch()) - 1 / static_cast<double>(examples_));
  }
  /// v of the reference.
  double Variance() const {
    return Asked() -
           (1 / static_cast<double>(*reference_size_) - 1 / static_cast<double>(examples_));
  }

  void CheckReference(const EstimatorContext& context) const {
    if (NoiseBatch() > context.examples) {
      throw Error(ErrorKind::kConfig, context.path + ".noise_batch_size",
                  (noise_batch_size_ ? "found " + std::to_string(NoiseBatch())
                                     : "left out, which stands for the run's batch_size of " +
                                           std::to_string(NoiseBatch())) +
                      ", but no more than the " + std::to_string(context.examples) +
                      " training examples can be distinct",
                  "Give at most that many.");
    }
    if (*reference_size_ > context.examples) {
      throw Error(ErrorKind::kConfig, context.path + ".reference_size",
                  "found " + std::to_string(*reference_size_) + ", but there are only " +
                      std::to_string(context.examples) + " training examples",
                  "Give at most that many.");
    }
    if (Variance() >= 0) return;
    // All examples are enough, whatever rounding makes of it.
    const auto all = static_cast<double>(examples_);
    const double least = std::min(std::ceil(1 / (Asked() + 1 / all)), all);
    throw Error(
        ErrorKind::kConfig, context.path + ".reference_size",
        "the mean of " + std::to_string(*reference_size_) +
            " examples' gradients is noisier by itself than what is asked for",
        "Give at least " + std::to_string(std::llround(least)) + " examples, and best many more.");
  }

  double scale_ = 1;
  std::optional<int64_t> noise_batch_size_;
  std::string around_ = kBatch;
  std::optional<int64_t> reference_size_;
  uint64_t seed_ = 0;
  uint64_t augment_seed_ = 0;
  int64_t examples_ = 0;  // in the training set
  const Sampler* sampler_ = nullptr;
};

class GaussianNoise final : public NoiseAround {
  at::Tensor WithNoise(Stream& stream, int64_t m, double variance, const at::Tensor& theta,
                       const ForEachPart& for_each) const override {
    const at::Tensor z = Normals(stream, m);
    const double others = std::max(static_cast<double>(m - 1), 1.);
    const at::Tensor weights = z.sub(z.mean())
                                   .mul(std::sqrt(variance / others))
                                   .add(1 / static_cast<double>(m))
                                   .to(theta.device());
    at::Tensor sum;
    int64_t begin = 0;
    for_each([&](const Gradients& part) {
      const int64_t size = part.losses.size(0);
      const at::Tensor of_part =
          PerExample(part, TileMemory()).WeightedSum(weights.narrow(0, begin, size));
      if (begin > 0) {
        sum.add_(of_part);
      } else {
        sum = size == m ? of_part : of_part.to(at::kDouble);
      }
      begin += size;
    });
    return sum.to(theta.scalar_type());
  }
};

class IsotropicNoise final : public NoiseAround {
  at::Tensor WithNoise(Stream& stream, int64_t m, double variance, const at::Tensor& theta,
                       const ForEachPart& for_each) const override {
    at::Tensor mean;
    std::vector<at::Tensor> squared_norms;
    for_each([&](const Gradients& part) {
      const int64_t size = part.losses.size(0);
      squared_norms.push_back(PerExample(part, TileMemory()).SquaredNorms());
      if (size == m) {
        mean = part.Mean();
        return;
      }
      if (!mean.defined()) mean = at::zeros_like(theta, at::kDouble);
      mean.add_(part.Mean(), static_cast<double>(size) / static_cast<double>(m));
    });
    if (variance == 0) return mean.to(theta.scalar_type());
    const at::Tensor trace = CovarianceTrace(at::cat(squared_norms), Dot(mean, mean));
    const int64_t p = theta.size(0);
    const at::Tensor z = Normals(stream, p).to(theta.device());
    // Rounding can make the trace of gradients that are all the same negative.
    const at::Tensor deviation = trace.clamp_min(0).mul(variance / static_cast<double>(p)).sqrt();
    return z.mul(deviation).add_(mean).to(theta.scalar_type());
  }
};

const TestFields kTests = {
    .variants = {R"({"around": "reference", "reference_size": 3, "noise_batch_size": 2})"}};

const Registration<Estimator, GaussianNoise> kGaussianNoise(
    "gaussian_noise", "a Gaussian gradient with the mean and the covariance of a batch's", kTests);
const Registration<Estimator, IsotropicNoise> kIsotropicNoise(
    "isotropic_noise", "a batch's mean gradient with noise of the same size in every direction",
    kTests);

}  // namespace
}  // namespace sgdscope
