#pragma once

#include <memory>

#include "nn/layer.h"

namespace sgdscope {

/// h Phi(h), with the distribution function Phi of a standard normal number (Hendrycks and Gimpel
/// 2016).
std::unique_ptr<ElementwiseLayer> MakeGelu();
/// Its approximation by tanh, h (1 + tanh(sqrt(2/pi) (h + 0.044715 h^3))) / 2.
std::unique_ptr<ElementwiseLayer> MakeGeluTanh();

}  // namespace sgdscope
