#include "nn/dot.h"

#include "kernels/dot.h"

namespace sgdscope {

// In one pass over the memory: ATen's product and sum in double write three copies on the way.
at::Tensor Dot(const at::Tensor& a, const at::Tensor& b) {
  if (!a.is_cpu() || a.scalar_type() != at::kFloat) return a.mul(b).sum(at::kDouble);
  const at::Tensor x = a.contiguous();
  const at::Tensor y = b.contiguous();
  const double dot = kernels::Dot(x.data_ptr<float>(), y.data_ptr<float>(), x.numel());
  return at::full({}, dot, a.options().dtype(at::kDouble));
}

}  // namespace sgdscope
