#include "nn/reduce.h"

namespace sgdscope {

void ReduceColumns(const at::Tensor& values, const kernels::Reduction& how, const at::Tensor& out) {
  const at::Tensor rows = values.contiguous();
  if (rows.scalar_type() == at::kDouble) {
    kernels::ReduceColumns(rows.data_ptr<double>(), rows.size(0), rows.size(1), how,
                           out.data_ptr<double>());
  } else {
    kernels::ReduceColumns(rows.data_ptr<float>(), rows.size(0), rows.size(1), how,
                           out.data_ptr<float>());
  }
}

}  // namespace sgdscope
