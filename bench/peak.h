#pragma once

#include <cstdint>

namespace sgdscope::bench {

/// At least `operations` multiplications and additions of floats that stay in registers; returns
/// something that depends on all of them.
float MultiplyAndAdd(int64_t operations);

}  // namespace sgdscope::bench
