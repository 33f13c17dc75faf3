#pragma once

#include <memory>
#include <string>

#include "nn/layer.h"
#include "nn/parameter_table.h"

namespace sgdscope {

/// alpha h with one learnable number alpha, which starts at 0: the gain at the end of a residual
/// branch (SkipInit, De and Smith 2020).
std::unique_ptr<ExampleLayer> MakeScale(ParameterTable& table, const std::string& name);

}  // namespace sgdscope
