#pragma once

#include "core/torch.h"

namespace sgdscope {

/// to += scale x, of tensors of one shape and type without gaps; no graph. On a processor the same on
/// any number of threads.
void AddMultiple(const at::Tensor& x, double scale, const at::Tensor& to);

}  // namespace sgdscope
