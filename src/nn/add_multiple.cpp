#include "nn/add_multiple.h"

#include <ATen/Parallel.h>

#include "kernels/product.h"

namespace sgdscope {
namespace {

constexpr int64_t kGrain = 1 << 15;  // numbers worth a thread

template <class T>
void ByKernel(const at::Tensor& x, double scale, const at::Tensor& to) {
  const T* const from = x.data_ptr<T>();
  T* const there = to.data_ptr<T>();
  at::parallel_for(0, to.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels::AddMultiple(from + begin, static_cast<T>(scale), end - begin, there + begin);
  });
}

template <class T>
void ByKernel(const Momentum& momentum, const at::Tensor& g, const at::Tensor& theta,
              const at::Tensor& velocity, const at::Tensor& ahead) {
  const kernels::Momentum<T> move = {
      .g = g.data_ptr<T>(),
      .theta = momentum.decay == 0 ? nullptr : theta.data_ptr<T>(),
      .decay = static_cast<T>(momentum.decay),
      .keep = static_cast<T>(momentum.keep),
      .fresh = static_cast<T>(momentum.fresh),
      .velocity = velocity.data_ptr<T>(),
      .ahead = momentum.ahead ? ahead.data_ptr<T>() : nullptr,
  };
  at::parallel_for(0, g.numel(), kGrain,
                   [&](int64_t begin, int64_t end) { kernels::Move(move, begin, end); });
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

at::Tensor MoveVelocity(const Momentum& momentum, const at::Tensor& g, const at::Tensor& theta,
                        const at::Tensor& velocity) {
  at::NoGradGuard no_grad;
  if (!g.is_cpu()) {
    const at::Tensor d = momentum.decay == 0 ? g : g.add(theta, momentum.decay);
    velocity.mul_(momentum.keep).add_(d, momentum.fresh);
    return momentum.ahead ? d.add(velocity, momentum.keep) : velocity;
  }
  const at::Tensor numbers = g.contiguous();
  const at::Tensor ahead = momentum.ahead ? at::empty_like(velocity) : velocity;
  if (velocity.scalar_type() == at::kDouble) {
    ByKernel<double>(momentum, numbers, theta, velocity, ahead);
  } else {
    ByKernel<float>(momentum, numbers, theta, velocity, ahead);
  }
  return ahead;
}

}  // namespace sgdscope
