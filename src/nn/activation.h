#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/layer.h"

namespace sgdscope {

/// Names that MakeActivation knows: "relu", "tanh", "gelu", "gelu_tanh", "identity".
std::vector<std::string> ActivationNames();
/// An elementwise nonlinearity; the derivative of relu at 0 is 0.
std::unique_ptr<ElementwiseLayer> MakeActivation(const std::string& name);

}  // namespace sgdscope
