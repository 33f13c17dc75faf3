#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/layer.h"
#include "nn/parameter_table.h"

namespace sgdscope {

/// Convolution of images [n, in, height, width] with W [out, in, kernel, kernel] row-major, then b
/// [out] (if `bias`), declared in `table` under `name`. Zeros surround the image, `padding` wide.
std::unique_ptr<ExampleLayer> MakeConv2d(ParameterTable& table, const std::string& name,
                                         int64_t in_channels, int64_t out_channels, int64_t kernel,
                                         int64_t stride, int64_t padding, bool bias);

}  // namespace sgdscope
