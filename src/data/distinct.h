#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "core/rng.h"

namespace sgdscope {

/// Indices [n] int64, CPU, of n distinct ones of `examples` examples, in random order: each of the
/// ordered choices is equally likely. Takes O(n) time, expected, however large the set is.
at::Tensor DrawDistinct(Stream& stream, int64_t n, int64_t examples);

}  // namespace sgdscope
