#include "gradients/pieces.h"

#include <algorithm>

namespace sgdscope {

Examples AllExamples(const Oracle& oracle) { return {at::arange(oracle.size(), at::kLong)}; }

int64_t AtOnce(const Oracle& oracle, int64_t n) {
  const at::Tensor examples = at::arange(n, at::kLong);  // in place of inputs and labels, too
  int64_t most = 0;
  oracle.ForEachPiece(Batch{examples, examples, examples, {}},
                      [&](int64_t, const Batch& piece) { most = std::max(most, piece.size()); });
  return most;
}

void ForEachPiece(const Oracle& oracle, const Examples& examples, const at::Tensor& theta,
                  int64_t size, const std::function<void(const Batch&, const Gradients&)>& visit) {
  const auto& [indices, moves] = examples;
  const int64_t count = indices.size(0);
  for (int64_t begin = 0; begin < count; begin += size) {
    const int64_t n = std::min(size, count - begin);
    const Batch batch = oracle.Load(
        Examples{indices.narrow(0, begin, n), moves.defined() ? moves.narrow(0, begin, n) : moves});
    visit(batch, oracle.Evaluate(batch, theta));
  }
}

at::Tensor MeanGradient(const Oracle& oracle, const Examples& examples, const at::Tensor& theta,
                        int64_t size) {
  const at::Tensor sum = at::zeros_like(theta, theta.options().dtype(at::kDouble));
  ForEachPiece(oracle, examples, theta, size, [&](const Batch& batch, const Gradients& gradients) {
    sum.add_(gradients.Mean(), static_cast<double>(batch.size()));
  });
  return sum.div_(static_cast<double>(examples.indices.size(0)));
}

int64_t PieceSize(const Sampler& sampler) {
  constexpr int64_t kLeast = 100;
  return std::max(kLeast, sampler.batch_size());
}

}  // namespace sgdscope
