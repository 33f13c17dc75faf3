#include "nn/reduce.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace sgdscope {
namespace {

using Kind = kernels::Reduction::Kind;

/// The same by sorting, for devices without a kernel. Sorting would hide what is not finite.
at::Tensor BySorting(const at::Tensor& values, const kernels::Reduction& how) {
  const int64_t n = values.size(0);
  if (how.kind == Kind::kSigns) return values.sign().sum(0);
  const at::Tensor sorted = std::get<0>(values.sort(0));
  const at::Tensor finite = values.mul(0).sum(0);  // 0 or NaN
  if (how.kind == Kind::kTrim) {
    const int64_t kept = how.high - how.low + 1;
    const double scale = static_cast<double>(n) / static_cast<double>(kept);
    return sorted.narrow(0, how.low, kept).sum(0).mul(scale).add(finite);
  }
  const auto threshold = [&](int64_t position, float part) {
    const at::Tensor here = sorted.select(0, position);
    return part == 0 ? here : at::lerp(here, sorted.select(0, position + 1), part);
  };
  const at::Tensor low = threshold(how.low, how.low_part);
  const at::Tensor high = threshold(how.high, how.high_part);
  return at::min(at::max(values, low), high).sum(0).add(finite);
}

template <class T>
void Columns(const at::Tensor& values, const kernels::Reduction& how, const at::Tensor& out) {
  constexpr int64_t kGrain = 1024;  // columns worth a thread
  const int64_t n = values.size(0);
  const int64_t m = values.size(1);
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
  at::parallel_for(0, (inputs + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
    kernels::ReduceOuter(values, how, begin * kColumns, std::min(end * kColumns, inputs),
                         out.data_ptr<T>());
  });
}

}  // namespace

void ReduceColumns(const at::Tensor& values, const kernels::Reduction& how, const at::Tensor& out) {
  const at::Tensor rows = values.contiguous();
  if (!rows.is_cpu()) {
    out.copy_(BySorting(rows, how));
  } else if (rows.scalar_type() == at::kDouble) {
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
