#pragma once

#include <cstdint>

#include "core/error.h"
#include "data/sampler.h"

namespace sgdscope {

/// Prepares a sampler for batches of `wanted` examples or, where it has a size of its own and
/// refuses others, for that. Returns the size.
inline int64_t PrepareForBatches(Sampler& sampler, uint64_t seed, int64_t examples,
                                 int64_t wanted) {
  try {
    sampler.Prepare(seed, examples, wanted, "sampler");
    return wanted;
  } catch (const Error&) {
    sampler.Prepare(seed, examples, 0, "sampler");
    return sampler.batch_size();
  }
}

}  // namespace sgdscope
