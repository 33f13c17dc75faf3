#pragma once

#include "core/torch.h"

namespace sgdscope {

/// <a, b> of a [m] and b [m]: a scalar, summed in double, on their device.
at::Tensor Dot(const at::Tensor& a, const at::Tensor& b);

}  // namespace sgdscope
