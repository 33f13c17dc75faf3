#pragma once

#include "core/torch.h"
#include "kernels/kernels.h"

namespace sgdscope {

/// out [m] = what `how` makes of the columns of `values` [n, m], both contiguous.
void ReduceColumns(const at::Tensor& values, const kernels::Reduction& how, const at::Tensor& out);

}  // namespace sgdscope
