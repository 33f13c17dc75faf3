// One block of weights after another, each on the gradient at the weights that the blocks before it
// have reached already: the algorithm of section 2.1 of `inherent_noise`, in which no weight moves
// on a stale gradient. With b_1, b_2, ... the blocks in theta's order, on one batch:
//   theta[b_k] <- theta[b_k] - learning_rate * g(theta)[b_k]
// Gradient descent is the case of a single block. A step costs one gradient for each block.

#include "config/registry.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

class Sequential : public UpdateRule {
 public:
  void Prepare(const ParameterTable& table) override { blocks_ = table.Blocks(block_); }

  void Allocate(const at::Tensor& theta) override {
    for (at::Tensor& block : blocks_) block = block.to(theta.device());
  }

 private:
  Update OwnNext(const StepGradient& gradient) override {
    const double scale = -LearningRate(gradient.step);
    at::Tensor fresh = gradient.g;  // at `theta`
    at::Tensor theta = gradient.theta.clone();
    at::Tensor taken = at::empty_like(theta);  // of each block the gradient that moved it
    for (size_t k = 0; k < blocks_.size(); ++k) {
      if (k > 0) fresh = gradient.at(theta);
      const at::Tensor part = fresh.index_select(0, blocks_[k]);
      taken.index_copy_(0, blocks_[k], part);
      theta.index_add_(0, blocks_[k], part, scale);
    }
    return {taken, scale};
  }

  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "block",
                   .help = "what moves at a time: a single weight (the paper's algorithm), the "
                           "weights into one unit with its bias, or a weight matrix or bias; each "
                           "costs one gradient a step",
                   .paper = "inherent_noise section 2.1",
                   .required = true,
                   .allowed = BlockNames()},
                  block_);
  }

  std::string block_;
  std::vector<at::Tensor> blocks_;  // places in theta
};

const Registration<UpdateRule, Sequential> kRegistration(
    "sequential", "one block of weights after another, each on fresh gradients",
    {.variants = {R"({"block": "unit"})", R"({"block": "tensor"})"}});

}  // namespace
}  // namespace sgdscope
