// n-step SGD (implicit_regularization, section 4): n moves of gradient descent on the same batch,
// each on the gradient at the weights that the moves before it have reached:
//   w_0 = theta,  w_k = w_{k-1} - learning_rate * d(w_{k-1}),  delta = w_n - theta,
//   d(w) = g(w) + weight_decay * w
// The effective learning rate is n * learning_rate: delta is that times the mean of the n d,
// with a minus, summed in double. A step costs n gradients.
// On a quadratic loss the moves stay bounded up to eigenvalues of 2 / learning_rate - weight_decay
// of the Hessian, as those of plain SGD do.
//
// Batch normalization's running statistics take one step for the n moves, towards those of the
// batch at theta: the batch is the same for all moves, and n does not change how many batches the
// statistics remember.

#include "config/registry.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

class NStep final : public UpdateRule {
 public:
  bool KnowsStability() const override { return true; }

 private:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "n",
                   .help = "moves on each batch; learning_rate is that of a single one. The "
                           "running statistics of batch normalization take one step for all of "
                           "them, with the batch's statistics before the first",
                   .paper = "implicit_regularization section 4",
                   .required = true,
                   .min = 1,
                   .max = 1e6},
                  n_);
    visitor.Visit({.name = "weight_decay",
                   .help = "L2 penalty: adds weight_decay times the weights that a move starts "
                           "from to its gradient",
                   .min = 0},
                  weight_decay_);
  }

  Update OwnNext(const StepGradient& gradient) override {
    const double rate = LearningRate(gradient.step);
    const Stability stability = {2 / rate - weight_decay_};
    const at::Tensor first = Decayed(gradient.g, gradient.theta);
    if (n_ == 1) return {first, -rate, stability};
    const at::Tensor sum = at::zeros_like(first, at::kDouble).add_(first);
    at::Tensor theta = gradient.theta.add(first, -rate);
    for (int64_t k = 1; k < n_; ++k) {
      const at::Tensor d = Decayed(gradient.at(theta), theta);
      sum.add_(d);
      if (k + 1 < n_) theta = theta.add(d, -rate);
    }
    const auto n = static_cast<double>(n_);
    return {sum.div_(n).to(first.scalar_type()), -n * rate, stability};
  }

  /// g + weight_decay w [p].
  at::Tensor Decayed(const at::Tensor& g, const at::Tensor& w) const {
    return weight_decay_ > 0 ? g.add(w, weight_decay_) : g;
  }

  int64_t n_ = 1;
  double weight_decay_ = 0;
};

const Registration<UpdateRule, NStep> kRegistration(
    "n_step", "n steps of gradient descent on the same batch, then the next batch",
    {.variants = {R"({"n": 1})", R"({"n": 5})",
                  R"({"n": 3, "weight_decay": 0.1, "clip_norm": 0.5})"}});

}  // namespace
}  // namespace sgdscope
