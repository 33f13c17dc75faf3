#pragma once

#include <vector>

#include "nn/layer.h"

// Networks taken apart into layers that follow one another.

namespace sgdscope {

/// The layers that follow one another in `root`: itself, or those of sequences.
std::vector<const Layer*> ChainOf(const Layer& root);

/// The layer for which `root` is no chain of fully connected layers; null where it is one: they follow
/// one another, the last of which makes the logits, with nothing but elementwise layers between them,
/// and nothing with parameters in front of them.
const Layer* InTheWayOfDenseChain(const Layer& root);

}  // namespace sgdscope
