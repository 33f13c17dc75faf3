#pragma once

#include <memory>

#include "nn/layer.h"

namespace sgdscope {

/// [n, ...] to [n, features].
std::unique_ptr<ElementwiseLayer> MakeFlatten();

}  // namespace sgdscope
