#include "nn/reduce.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda.h"
#include "nn/cuda_stream.h"

namespace sgdscope {
namespace {

template <class T>
void Columns(const at::Tensor& values, const kernels::Reduction& how, const at::Tensor& out) {
  constexpr int64_t kGrain = 1024;  // columns worth a thread
  const int64_t n = values.size(0);
  const int64_t m = values.size(1);
  if (values.is_cuda()) {
    return kernels::cuda::ReduceColumns(values.data_ptr<T>(), n, m, how, out.data_ptr<T>(),
                                        CudaStream(values));
  }
  at::parallel_for(0, m, kGrain, [&](int64_t begin, int64_t end) {
    kernels::ReduceColumns(values.data_ptr<T>() + begin, n, end - begin, m, how,
                           out.data_ptr<T>() + begin);
  });
}

/// d: [units, n].
template <class T>
void Outer(const at::Tensor& d, const at::Tensor& h, const kernels::Reduction& how,
           const at::Tensor& out) {
  // A multiple of what the kernel looks at together: so the bits don't depend on the threads.
  constexpr int64_t kColumns = 128;
  const int64_t inputs = h.size(1);
  const kernels::OuterProducts<T> values = {d.data_ptr<T>(), h.data_ptr<T>(), h.size(0), d.size(0),
                                            inputs};
  if (h.is_cuda()) {
    return kernels::cuda::ReduceOuter(values, how, out.data_ptr<T>(), CudaStream(h));
  }
  at::parallel_for(0, (inputs + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
    kernels::ReduceOuter(values, how, begin * kColumns, std::min(end * kColumns, inputs),
                         out.data_ptr<T>());
  });
}

/// Whether each example's numbers lie together, in the same order in both.
bool LieAlike(const at::Tensor& a, const at::Tensor& b) {
  return a.strides() == b.strides() && a.is_non_overlapping_and_dense() &&
         a.stride(0) * a.size(0) == a.numel();
}

at::Tensor DotsOfFloats(const at::Tensor& a, const at::Tensor& b) {
  constexpr int64_t kGrain = 1 << 15;  // numbers worth a thread
  const bool alike = LieAlike(a, b);
  const at::Tensor x = alike ? a : a.contiguous();
  const at::Tensor y = alike ? b : b.contiguous();
  const int64_t m = a.numel() / a.size(0);
  const at::Tensor out = at::empty({a.size(0)}, a.options().dtype(at::kDouble));
  at::parallel_for(0, a.size(0), kGrain / m + 1, [&](int64_t begin, int64_t end) {
    kernels::RowDots(x.data_ptr<float>() + begin * m, y.data_ptr<float>() + begin * m, end - begin,
                     m, out.data_ptr<double>() + begin);
  });
  return out;
}

}  // namespace

void ReduceColumns(const at::Tensor& values, const kernels::Reduction& how, const at::Tensor& out) {
  const at::Tensor rows = values.contiguous();
  if (rows.scalar_type() == at::kDouble) {
    Columns<double>(rows, how, out);
  } else {
    Columns<float>(rows, how, out);
  }
}

void ReduceOuter(const at::Tensor& d, const at::Tensor& h, const kernels::Reduction& how,
                 const at::Tensor& out) {
  if (h.scalar_type() == at::kDouble) {
    Outer<double>(d.t().contiguous(), h.contiguous(), how, out);
  } else {
    Outer<float>(d.t().contiguous(), h.contiguous(), how, out);
  }
}

at::Tensor WeightedRows(const at::Tensor& d, const at::Tensor& weights) {
  std::vector<int64_t> one_each(static_cast<size_t>(d.dim()), 1);
  one_each[0] = d.size(0);
  return d.mul(weights.view(one_each));
}

at::Tensor ExampleDots(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_cpu() && a.scalar_type() == at::kFloat) return DotsOfFloats(a, b);
  constexpr int64_t kPart = 1 << 16;  // half a MiB of doubles stays in the cache
  const int64_t examples = std::max<int64_t>(1, kPart * a.size(0) / a.numel());
  std::vector<at::Tensor> dots;
  for (int64_t begin = 0; begin < a.size(0); begin += examples) {
    const int64_t size = std::min(examples, a.size(0) - begin);
    const at::Tensor products =
        a.narrow(0, begin, size).to(at::kDouble).mul(b.narrow(0, begin, size));
    dots.push_back(products.flatten(1).sum(1));
  }
  return at::cat(dots);
}

at::Tensor Dot(const at::Tensor& a, const at::Tensor& b) {
  return ExampleDots(a.unsqueeze(0), b.unsqueeze(0)).squeeze(0);
}

}  // namespace sgdscope
