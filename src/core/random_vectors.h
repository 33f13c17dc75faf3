#pragma once

#include <cstdint>

#include "core/rng.h"
#include "core/torch.h"

namespace sgdscope {

/// What so many calls of stream.Normal() would return, but for rounding: [size], double, CPU; a
/// tenth of their time, and the same bits on every processor. They come in pairs: of an odd number,
/// one more is drawn and left out.
at::Tensor Normals(Stream& stream, int64_t size);

/// Independent signs, 1 or -1, as many and of the type and device of `like` [p].
at::Tensor RandomSigns(Stream& stream, const at::Tensor& like);

/// Normals, likewise: drawn in double, so that they are the same on every device.
at::Tensor RandomNormals(Stream& stream, const at::Tensor& like);

}  // namespace sgdscope
