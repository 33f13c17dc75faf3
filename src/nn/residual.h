#pragma once

#include <memory>

#include "nn/layer.h"

namespace sgdscope {

/// shortcut(h) + branch(h); no shortcut: h + branch(h).
std::unique_ptr<Layer> MakeResidual(std::unique_ptr<Layer> branch, std::unique_ptr<Layer> shortcut);

}  // namespace sgdscope
