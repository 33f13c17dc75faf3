// The gradient of the modified loss with an explicit implicit regularizer: implicit_regularization,
// section 2.3,
//   C_mod = (1/m) sum_k ( C_k + (lambda/4) |grad C_k|^2 ),
//   g     = (1/m) sum_k ( grad C_k + (lambda/2) H_k grad C_k ),
// where the C_k are the mean losses of the batch's micro-batches (of penalty_batch_size examples
// that follow one another) and H_k their Hessians. With one micro-batch, the batch itself, this is
// the paper's. Where the last micro-batch is smaller, each counts by its examples.
//
// With lambda = 2 beta eta / (1 - beta) on full batches, gradient descent of the rate eta follows the
// heavy ball of the rate (1 - beta) eta and the momentum beta to second order (Ghosh et al. 2023);
// explicit_memory.cpp has other rules.
//
// The mean of the grad C_k is the batch's gradient, which is known, except under batch
// normalization: there each micro-batch is normalized by its own statistics, and both terms come
// from the micro-batches, also where lambda is 0. The step's loss, the gradient that probes compare
// g with, and the running statistics are those of the whole batch.

#include <algorithm>

#include "config/registry.h"
#include "core/error.h"
#include "estimators/estimator.h"

namespace sgdscope {
namespace {

constexpr const char* kExact = "exact";
constexpr const char* kFiniteDifference = "finite_difference";

class GradientNormPenalty : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "lambda",
                   .help = "strength of the penalty (lambda / 4) |gradient|^2",
                   .paper = "implicit_regularization, section 2.3",
                   .required = true,
                   .min = 0},
                  lambda_);
    visitor.Visit({.name = "penalty_batch_size",
                   .help = "the norms are those of micro-batches of this size, cut from the batch; "
                           "left out: of the whole batch. Under batch normalization g is wholly "
                           "made of the micro-batches, each with its own statistics; loss, probes "
                           "and running statistics see the whole batch",
                   .unit = "examples",
                   .paper = "implicit_regularization, section 3",
                   .min = 1,
                   .max = 1e9},
                  penalty_batch_size_);
    visitor.Visit({.name = "method",
                   .help = "the penalty's gradient by double backward, or from the difference of "
                           "two gradients, which is another quantity where the network has kinks",
                   .allowed = {kExact, kFiniteDifference}},
                  method_);
    visitor.Visit({.name = "difference",
                   .help = "for finite_difference: r in (grad C(theta + r g) - g) / r",
                   .min = 0,
                   .above_min = true},
                  difference_);
  }

  void Prepare(const EstimatorContext& context) override {
    if (penalty_batch_size_.value_or(0) <= context.sampler.batch_size()) return;
    throw Error(ErrorKind::kConfig, context.path + ".penalty_batch_size",
                "found " + std::to_string(*penalty_batch_size_) + ", but the batches have only " +
                    std::to_string(context.sampler.batch_size()) + " examples",
                "Give at most the batch's size, or leave it out for the whole batch.");
  }

  std::vector<int64_t> Parts(int64_t n) const override {
    if (WholeBatch()) return {};
    return {std::min(*penalty_batch_size_, n), (n - 1) % *penalty_batch_size_ + 1};
  }

  bool NeedsGraph() const override { return lambda_ > 0 && method_ == kExact && WholeBatch(); }

  at::Tensor Estimate(const EstimatorView& view) override {
    const bool apart = !WholeBatch() && view.oracle.MixesExamples();
    if (apart || (lambda_ > 0 && !WholeBatch())) return OfMicroBatches(view, apart);
    const at::Tensor& mean = view.gradients.Mean();
    if (lambda_ == 0) return mean;
    return mean.add(Product(view, view.batch, view.gradients), lambda_ / 2);
  }

 private:
  bool WholeBatch() const { return !penalty_batch_size_; }

  /// H_k grad C_k [p] of one micro-batch.
  at::Tensor Product(const EstimatorView& view, const Batch& batch,
                     const Gradients& gradients) const {
    if (method_ == kExact) return view.oracle.HessianVectorProduct(gradients, gradients.Mean());
    return view.oracle.GradientDifference(batch, view.theta, gradients, difference_);
  }

  /// g [p], with the mean of the micro-batches' gradients (`apart`) or that of the batch.
  at::Tensor OfMicroBatches(const EstimatorView& view, bool apart) const {
    const at::Tensor sum = at::zeros_like(view.theta, at::kDouble);
    const int64_t n = view.batch.size();
    for (int64_t begin = 0; begin < n; begin += *penalty_batch_size_) {
      const int64_t size = std::min(*penalty_batch_size_, n - begin);
      const double weight = static_cast<double>(size) / static_cast<double>(n);
      const Batch part = Part(view.batch, begin, size);
      const bool graph = lambda_ > 0 && method_ == kExact;
      const Gradients gradients = view.oracle.Evaluate(part, view.theta, graph);
      if (apart) sum.add_(gradients.Mean(), weight);
      if (lambda_ > 0) sum.add_(Product(view, part, gradients), weight * lambda_ / 2);
    }
    const at::Tensor of_parts = sum.to(view.theta.scalar_type());
    return apart ? of_parts : view.gradients.Mean().add(of_parts);
  }

  double lambda_ = 0;
  std::optional<int64_t> penalty_batch_size_;
  std::string method_ = kExact;
  double difference_ = 0.01;
};

const Registration<Estimator, GradientNormPenalty> kRegistration(
    "gradient_norm_penalty", "the mean gradient plus that of (lambda / 4) |mean gradient|^2",
    {.variants = {R"({"method": "finite_difference"})", R"({"penalty_batch_size": 1})"}});

}  // namespace
}  // namespace sgdscope
