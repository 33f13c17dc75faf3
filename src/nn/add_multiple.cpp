#include "nn/add_multiple.h"

#include <ATen/Parallel.h>

#include "kernels/product.h"

namespace sgdscope {
namespace {

template <class T>
void ByKernel(const at::Tensor& x, double scale, const at::Tensor& to) {
  constexpr int64_t kGrain = 1 << 15;  // numbers worth a thread
  const T* const from = x.data_ptr<T>();
  T* const there = to.data_ptr<T>();
  at::parallel_for(0, to.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels::AddMultiple(from + begin, static_cast<T>(scale), end - begin, there + begin);
  });
}

}  // namespace

void AddMultiple(const at::Tensor& x, double scale, const at::Tensor& to) {
  at::NoGradGuard no_grad;
  if (!to.is_cpu()) {
    to.add_(x, scale);
  } else if (to.scalar_type() == at::kDouble) {
    ByKernel<double>(x, scale, to);
  } else {
    ByKernel<float>(x, scale, to);
  }
}

}  // namespace sgdscope
