#pragma once

#include <cstdint>
#include <memory>

#include "nn/layer.h"

namespace sgdscope {

/// The mean of each window of kernel x kernel pixels that lies in the image: [n, c, height, width]
/// to [n, c, (height - kernel) / stride + 1, (width - kernel) / stride + 1].
std::unique_ptr<Layer> MakeAveragePool2d(int64_t kernel, int64_t stride);

}  // namespace sgdscope
