#pragma once

#include <cstdint>
#include <memory>

#include "nn/layer.h"

namespace sgdscope {

/// The maximum of each window of kernel x kernel pixels that lies in the image: [n, c, height,
/// width] to [n, c, (height - kernel) / stride + 1, (width - kernel) / stride + 1]. Of equal maxima
/// the first one counts.
std::unique_ptr<Layer> MakeMaxPool2d(int64_t kernel, int64_t stride);
/// The mean of each channel: [n, c, height, width] to [n, c].
std::unique_ptr<Layer> MakeGlobalAveragePool();

}  // namespace sgdscope
