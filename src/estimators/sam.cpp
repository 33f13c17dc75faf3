// Sharpness-aware minimization: the gradient at weights from which the loss is near its largest
// around theta. The batch of n examples is cut into micro-batches of m examples that follow one
// another (m-sharpness), with mean losses C_k and g_k = grad C_k(theta):
//   g = sum_k (m_k / n) grad C_k(theta + e_k)
//   sam   e_k = rho g_k / |g_k|: Foret et al. 2021, equations 2 and 3
//   asam  e_k = rho T^2 g_k / |T g_k|,  T = diag(|theta| + eta): Kwon et al. 2021, equation 3, which
//         scales with the weights
// or, not normalized, e_k = rho g_k and e_k = rho T^2 g_k (Andriushchenko and Flammarion 2022).
// Without normalization g is, to first order in rho, the gradient of the mean of
// C_k + (rho / 2) |grad C_k|^2: the estimator gradient_norm_penalty with lambda = 2 rho.
//
// A step costs two plain ones. Under batch normalization each micro-batch has its own statistics,
// and its gradient at theta has to be found once more; so it has where the batch is in pieces.

#include <algorithm>

#include "config/registry.h"
#include "core/error.h"
#include "estimators/estimator.h"
#include "nn/reduce.h"

namespace sgdscope {
namespace {

class Sam : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "rho",
                   .help = "how far from theta the gradient is taken; not normalized, times the "
                           "gradient",
                   .required = true,
                   .min = 0},
                  rho_);
    visitor.Visit({.name = "normalize",
                   .help = "whether the distance is rho, whatever the length of the gradient"},
                  normalize_);
    visitor.Visit({.name = "micro_batch_size",
                   .help = "m of m-sharpness: so many examples, cut from the batch, have a "
                           "perturbation of their own; left out: the whole batch has one",
                   .unit = "examples",
                   .min = 1,
                   .max = 1e9},
                  micro_batch_size_);
    OwnFields(visitor);
  }

  void Prepare(const EstimatorContext& context) override {
    if (micro_batch_size_.value_or(0) <= context.sampler.batch_size()) return;
    throw Error(ErrorKind::kConfig, context.path + ".micro_batch_size",
                "found " + std::to_string(*micro_batch_size_) + ", but the batches have only " +
                    std::to_string(context.sampler.batch_size()) + " examples",
                "Give at most the batch's size, or leave it out for the whole batch.");
  }

  std::vector<int64_t> Parts(int64_t n) const override {
    if (!micro_batch_size_) return {};
    return {std::min(*micro_batch_size_, n), (n - 1) % *micro_batch_size_ + 1};
  }

  at::Tensor Estimate(const EstimatorView& view) override {
    if (rho_ == 0) return view.gradients.Mean();
    const int64_t n = view.batch.size();
    const int64_t most = micro_batch_size_.value_or(n);
    if (most >= n) return At(view, view.batch, view.gradients.Mean());
    // Of a batch that was evaluated in pieces nothing is left of what the layers saw, either.
    const bool apart = view.oracle.MixesExamples() || view.gradients.taps.empty();
    const at::Tensor sum = at::zeros_like(view.theta, at::kDouble);
    for (int64_t begin = 0; begin < n; begin += most) {
      const int64_t size = std::min(most, n - begin);
      const double weight = static_cast<double>(size) / static_cast<double>(n);
      const Batch part = Part(view.batch, begin, size);
      const at::Tensor own = apart ? view.oracle.Evaluate(part, view.theta).Mean()
                                   : view.gradients.OfPart(begin, size).Mean().div(weight);
      sum.add_(At(view, part, own), weight);
    }
    return sum.to(view.theta.scalar_type());
  }

 protected:
  virtual void OwnFields(FieldVisitor& visitor) { (void)visitor; }
  /// T^2 g_k [p] of g_k = `own`.
  virtual at::Tensor Uphill(const at::Tensor& own, const at::Tensor& theta) const {
    (void)theta;
    return own;
  }

 private:
  /// grad C_k(theta + e_k) [p] of a micro-batch whose g_k is `own`.
  at::Tensor At(const EstimatorView& view, const Batch& batch, const at::Tensor& own) const {
    const at::Tensor& theta = view.theta;
    const at::Tensor uphill = Uphill(own, theta);
    const auto gradient_at = [&](const at::Tensor& moved) {
      return view.oracle.Evaluate(batch, moved).Mean();
    };
    if (!normalize_) return gradient_at(theta.add(uphill, rho_));
    const at::Tensor norm = Dot(own, uphill).sqrt();  // |T g_k|
    // Where the gradient is 0 there is nowhere to go.
    const at::Tensor factor = norm.reciprocal().mul(rho_).masked_fill(norm.eq(0), 0);
    return gradient_at(at::addcmul(theta, uphill, factor.to(theta.scalar_type())));
  }

  double rho_ = 0;
  bool normalize_ = true;
  std::optional<int64_t> micro_batch_size_;
};

class Asam final : public Sam {
 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "eta",
         .help = "added to the size of a weight where it scales the perturbation, so that "
                 "weights of 0 have one, too",
         .min = 0},
        eta_);
  }

  at::Tensor Uphill(const at::Tensor& own, const at::Tensor& theta) const override {
    return theta.abs().add_(eta_).square_().mul_(own);
  }

 private:
  double eta_ = 0.01;
};

const TestFields kTests = {.variants = {R"({"normalize": false})", R"({"micro_batch_size": 1})",
                                        R"({"normalize": false, "micro_batch_size": 2})"}};

const Registration<Estimator, Sam> kSam(
    "sam", "the gradient uphill of theta: sharpness-aware minimization (Foret et al. 2021)",
    kTests);
const Registration<Estimator, Asam> kAsam(
    "asam", "sam with perturbations in proportion to the weights (Kwon et al. 2021)", kTests);

}  // namespace
}  // namespace sgdscope
