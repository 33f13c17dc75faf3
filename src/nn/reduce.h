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

/// d [n, ...] with row i times weights[i].
at::Tensor WeightedRows(const at::Tensor& d, const at::Tensor& weights);

/// <a_i, b_i> [n] of a and b [n, ...], in double.
at::Tensor ExampleDots(const at::Tensor& a, const at::Tensor& b);

/// <a, b> of a and b [p], a scalar in double.
at::Tensor Dot(const at::Tensor& a, const at::Tensor& b);

}  // namespace sgdscope
