#include "gradients/loss.h"

#include <torch/csrc/autograd/autograd.h>

#include <vector>

namespace sgdscope {

at::Tensor Repeated(const at::Tensor& labels, int64_t times) {
  std::vector<int64_t> repeats(static_cast<size_t>(labels.dim()), 1);
  repeats[0] = times;
  return labels.repeat(repeats);
}

std::pair<at::Tensor, at::Tensor> Loss::WithGradient(const at::Tensor& z, const at::Tensor& labels,
                                                     const at::Tensor& weights) const {
  at::AutoGradMode enable(true);
  const at::Tensor leaf = z.detach().requires_grad_();
  const at::Tensor losses = Losses(leaf, labels);
  return {losses.detach(), torch::autograd::grad({losses}, {leaf}, {weights})[0]};
}

at::Tensor Loss::MeanChanges(const at::Tensor& z, const at::Tensor& labels, const at::Tensor& shift,
                             const at::Tensor& direction) const {
  const at::Tensor moved =
      shift.unsqueeze(2).mul(direction.unsqueeze(1)).add(z);  // [m, n, classes]
  const at::Tensor losses = Losses(moved.flatten(0, 1), Repeated(labels, shift.size(0)));
  return losses.view(shift.sizes()).sub(Losses(z, labels)).mean(1);
}

}  // namespace sgdscope
