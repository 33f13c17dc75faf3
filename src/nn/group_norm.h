#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nn/layer.h"
#include "nn/parameter_table.h"

namespace sgdscope {

/// Group normalization of [n, channels, ...] (Wu and He 2018): gamma (h - mean) / sqrt(var + 1e-5) +
/// beta, where mean and biased variance are those of an example's numbers in one of `groups` equal
/// groups of channels that follow one another. gamma and beta: one number a channel, which start at
/// 1 and 0.
std::unique_ptr<ExampleLayer> MakeGroupNorm(ParameterTable& table, const std::string& name,
                                            int64_t channels, int64_t groups);

/// Layer normalization of [n, ...shape] (Ba et al. 2016): the same with all numbers of an example as
/// one group. gamma and beta have the example's shape.
std::unique_ptr<ExampleLayer> MakeLayerNorm(ParameterTable& table, const std::string& name,
                                            const std::vector<int64_t>& shape);

}  // namespace sgdscope
