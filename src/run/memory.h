#pragma once

#include "run/experiment.h"

namespace sgdscope {

/// Error kResource if the run needs, at the least, more memory than this process can have: for the
/// data, for theta, for a batch. Allocates nothing. Sizes that are not yet known count as 0.
void CheckMemory(const Experiment& experiment);

}  // namespace sgdscope
