#pragma once

#include "core/rng.h"
#include "core/torch.h"

namespace sgdscope {

/// Independent signs, 1 or -1, as many and of the type and device of `like` [p].
at::Tensor RandomSigns(Stream& stream, const at::Tensor& like);

/// Independent standard normal numbers, likewise; drawn in double, so that they are the same on
/// every device.
at::Tensor RandomNormals(Stream& stream, const at::Tensor& like);

}  // namespace sgdscope
