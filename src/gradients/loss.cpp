#include "gradients/loss.h"

namespace sgdscope {

at::Tensor Loss::MeanChanges(const at::Tensor& z, const at::Tensor& labels, const at::Tensor& shift,
                             const at::Tensor& direction) const {
  const at::Tensor moved =
      shift.unsqueeze(2).mul(direction.unsqueeze(1)).add(z);  // [m, n, classes]
  const at::Tensor losses = Losses(moved.flatten(0, 1), labels.repeat({shift.size(0)}));
  return losses.view(shift.sizes()).sub(Losses(z, labels)).mean(1);
}

}  // namespace sgdscope
