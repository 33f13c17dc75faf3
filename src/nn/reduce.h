#pragma once

#include "core/torch.h"
#include "kernels/kernels.h"

namespace sgdscope {

/// out [m] = what `how` makes of the columns of `values` [n, m]; out is contiguous.
void ReduceColumns(const at::Tensor& values, const kernels::Reduction& how, const at::Tensor& out);

/// out [units, inputs] = what `how`, kClip or kTrim, makes of the n outer products of the rows of
/// d [n, units] and h [n, inputs], which are never stored; out is contiguous.
void ReduceOuter(const at::Tensor& d, const at::Tensor& h, const kernels::Reduction& how,
                 const at::Tensor& out);

/// sum_j rows[i, j]^2 [n], in double. rows: [n, m].
at::Tensor SquaredRows(const at::Tensor& rows);

}  // namespace sgdscope
