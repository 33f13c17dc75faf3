#include "run/evaluation.h"

#include <algorithm>

namespace sgdscope {

SplitScore Score(const Oracle& oracle, const at::Tensor& theta) {
  constexpr int64_t kChunk = 1000;  // large enough for good products, small enough for any memory
  at::NoGradGuard no_grad;
  const int64_t examples = oracle.size();
  const auto options = theta.options().dtype(at::kDouble);
  at::Tensor loss = at::zeros({}, options);
  at::Tensor right = at::zeros({}, options);
  for (int64_t begin = 0; begin < examples; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, examples);
    const Batch batch = oracle.Load(at::arange(begin, end, at::kLong));
    const at::Tensor z = oracle.Logits(batch, theta);
    loss.add_(oracle.LossesOf(z, batch).sum(at::kDouble));
    right.add_(z.argmax(1).eq(batch.labels).sum(at::kDouble));
  }
  const auto n = static_cast<double>(examples);
  return {loss.item<double>() / n, right.item<double>() / n};
}

std::vector<std::string> EvalColumns() {
  return {"step", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"};
}

}  // namespace sgdscope
