#pragma once

#include "core/torch.h"

// Convolutions of 3 x 3 pixels, with stride 1 or 2 and zeros around the images, of which one side has
// few channels, by kernels/convolution.h: 1.2 to 4 times as fast as oneDNN, which computes as if there
// were 16. Which convolutions these are depends on shapes only. None of this builds a graph.

namespace sgdscope {

/// Whether h * weight, or the derivative by the weight, is made here.
bool MakesFewChannels(const at::Tensor& h, const at::Tensor& weight, int64_t stride,
                      int64_t padding);

/// Whether the derivative by the input is made here, of d, that by the output.
bool TakesFewChannels(const at::Tensor& d, const at::Tensor& weight, int64_t stride,
                      int64_t padding);

/// h * weight + bias, which may be undefined. weight: [8, in, 3, 3].
at::Tensor ConvolveToFew(const at::Tensor& h, const at::Tensor& weight, const at::Tensor& bias);

/// The derivative of <d, h * weight> by h of these sizes.
at::Tensor ByFewInputs(const at::Tensor& d, const at::Tensor& weight, int64_t stride,
                       at::IntArrayRef sizes);

/// The derivative of <d, h * weight> by the weight [8, in, 3, 3]. d: [n, 8, ...].
at::Tensor ByWeightToFew(const at::Tensor& h, const at::Tensor& d);

}  // namespace sgdscope
