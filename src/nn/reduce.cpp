#include "nn/reduce.h"

#include <ATen/Parallel.h>

#include <algorithm>

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

at::Tensor SquaredRows(const at::Tensor& rows) {
  if (!rows.is_cpu() || rows.scalar_type() != at::kFloat) {
    return rows.mul(rows).sum(1, false, at::kDouble);
  }
  const at::Tensor packed = rows.contiguous();
  const at::Tensor out = at::empty({rows.size(0)}, rows.options().dtype(at::kDouble));
  kernels::SquaredRows(packed.data_ptr<float>(), rows.size(0), rows.size(1),
                       out.data_ptr<double>());
  return out;
}

}  // namespace sgdscope
