#pragma once

#include <cstdint>

#include "core/rng.h"
#include "core/torch.h"

namespace sgdscope {

/// What so many calls of stream.Normal() would return, but for rounding: [size], double, CPU; a
/// quarter of their time. They come in pairs: of an odd number, one more is drawn and left out.
at::Tensor Normals(Stream& stream, int64_t size);

}  // namespace sgdscope
