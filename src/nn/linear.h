#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/layer.h"
#include "nn/parameter_table.h"

namespace sgdscope {

/// z = h W^T + b with W [out, in] row-major, then b [out] (if `bias`), declared in `table` under
/// `name`.
std::unique_ptr<DenseLayer> MakeLinear(ParameterTable& table, const std::string& name, int64_t in,
                                       int64_t out, bool bias);

}  // namespace sgdscope
