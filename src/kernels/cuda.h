#pragma once

#include <cstdint>

#include "kernels/kernels.h"

// The reductions of kernels.h on arrays in the memory of the current CUDA device: put into the
// queue `stream`, a cudaStream_t, without waiting. Compiled from cuda.cu, or, where LibTorch has no
// CUDA, from no_cuda.cpp, which throws. Error kResource if the device refuses.

namespace sgdscope::kernels::cuda {

/// out[j] = what `how` makes of values[i * m + j], i = 0 ... n-1; NaN where one of them is not
/// finite.
void ReduceColumns(const float* values, int64_t n, int64_t m, const Reduction& how, float* out,
                   void* stream);
void ReduceColumns(const double* values, int64_t n, int64_t m, const Reduction& how, double* out,
                   void* stream);

/// out[o, j] = what `how`, kClip or kTrim, makes of d[o, i] * h[i, j], i = 0 ... n-1; NaN where one
/// of them is not finite. out: [units, inputs].
void ReduceOuter(const OuterProducts<float>& values, const Reduction& how, float* out,
                 void* stream);
void ReduceOuter(const OuterProducts<double>& values, const Reduction& how, double* out,
                 void* stream);

}  // namespace sgdscope::kernels::cuda
