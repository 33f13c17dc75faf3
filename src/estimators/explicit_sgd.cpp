// Gradient descent that emulates SGD by its regularizer, made explicit: generalization_gap,
// section 3. The batch of N examples is cut into m = `updates` parts, in its order, with mean
// losses l_k, gradients g_k and Hessians H_k; l, g and H are their means. With the learning rate
// eta of the SGD that is emulated,
//   modified loss = l + (eta / 4) (1/m) sum_k |g_k - g|^2
//   estimate      = g + (eta / 2) (1/m) sum_k H_k (g_k - g)
//
// Why. m steps of SGD, one on each part, and m steps of gradient descent on g + eta r move theta by
//   SGD:  -eta m g                + eta^2 sum_{j before k} H_k g_j  + O(eta^3)
//   GD:   -eta m g  - eta^2 m r   + eta^2 (m (m - 1) / 2) H g       + O(eta^3)
// Over all orders of the parts j comes before k half of the time, so that the mean of SGD's second
// term is (eta^2 / 2) (m^2 H g - sum_k H_k g_k). The means agree to second order where
//   r = (1/2) ((1/m) sum_k H_k g_k - H g) = (1/4) grad ((1/m) sum_k |g_k|^2 - |g|^2)
// - m = 2, parts B and C: the modified loss is l + (eta / 16) |g_B - g_C|^2, and its gradient
//   exceeds g by -1/2 of what equation 12 has for delta g over two updates, its first term; the
//   second one changes its sign with the order.
// - In the mean over the ways to cut the same N examples, (1/m) sum_k |g_k - g|^2 is (m - 1)
//   tr Sigma / N, exact for the unbiased Sigma of these examples: the modified loss is l +
//   ((m - 1) / 4) <delta eps> with the <delta eps> = eta tr Sigma / N of equation 9. The paper's
//   1/4 is that of m = 2.
// - implicit_regularization, equations 1 and 10: an epoch of SGD follows the flow of l + (eta /
//   4m) sum_k |g_k|^2, as many steps of gradient descent that of l + (eta / 4) |g|^2. The
//   difference of the two is what is added here.
//
// <delta eps> is estimated from this one cut, not averaged over the data. The run's own update rule
// must take the steps: sgd with the same learning rate, m of them for each m of SGD's. Under batch
// normalization each part is normalized by its own statistics, as in the SGD that is emulated, and
// g is the mean of the parts' gradients, which is not that of the batch. A step costs the batch's
// forward and backward pass, the parts' gradients, and one Hessian-vector product for each part.

#include <algorithm>
#include <vector>

#include "config/registry.h"
#include "core/error.h"
#include "estimators/estimator.h"

namespace sgdscope {
namespace {

class ExplicitSgd : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "updates",
         .help = "m: how many steps of SGD on equal parts of the batch a step stands for; "
                 "must divide the size of every batch",
         .paper = "generalization_gap, equations 12 and 13",
         .required = true,
         .min = 2,
         .max = 1e9},
        updates_);
    visitor.Visit({.name = "learning_rate",
                   .help = "eta in the regularizer: the learning rate of the SGD that is emulated; "
                           "the update rule has its own",
                   .paper = "generalization_gap, equations 12 and 13",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  learning_rate_);
  }

  void Prepare(const EstimatorContext& context) override {
    for (const int64_t size : {context.sampler.batch_size(), context.sampler.smallest_batch()}) {
      if (size % updates_ == 0) continue;
      throw Error(ErrorKind::kConfig, context.path + ".updates",
                  "a batch of " + std::to_string(size) + " examples cannot be cut into " +
                      std::to_string(updates_) + " equal parts",
                  "Change updates or batch_size, or set sampler.drop_last where only the last "
                  "batch of an epoch doesn't fit.");
    }
  }

  std::vector<int64_t> Parts(int64_t n) const override {
    const int64_t m = std::min(updates_, n);
    return {n / m, (n + m - 1) / m};
  }

  at::Tensor Estimate(const EstimatorView& view) override {
    // A batch that a probe brings need not divide: then the parts are as equal as they can be.
    const int64_t n = view.batch.size();
    const int64_t m = std::min(updates_, n);
    const double weight = 1 / static_cast<double>(m);
    std::vector<Gradients> parts;
    const at::Tensor sum = at::zeros_like(view.theta, at::kDouble);
    for (int64_t k = 0; k < m; ++k) {
      const int64_t begin = k * n / m;
      const Batch part = Part(view.batch, begin, (k + 1) * n / m - begin);
      parts.push_back(view.oracle.Evaluate(part, view.theta, /*keep_graph=*/true));
      sum.add_(parts.back().Mean(), weight);
    }
    const at::Tensor g = sum.to(view.theta.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
    for (const Gradients& part : parts) {
      sum.add_(view.oracle.HessianVectorProduct(part, part.Mean().sub(g)),
               weight * learning_rate_ / 2);
    }
    return sum.to(view.theta.scalar_type());
  }

 private:
  int64_t updates_ = 0;
  double learning_rate_ = 0;
};

const Registration<Estimator, ExplicitSgd> kRegistration(
    "explicit_sgd", "gradient of a large batch's loss plus the regularizer of SGD on its parts");

}  // namespace
}  // namespace sgdscope
