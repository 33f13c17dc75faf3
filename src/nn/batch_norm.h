#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/layer.h"
#include "nn/parameter_table.h"

namespace sgdscope {

/// Batch normalization of [n, channels, ...] (Ioffe and Szegedy 2015): gamma (h - mean) / sqrt(var
/// + 1e-5) + beta for each channel, where mean and biased variance are those of the batch. `ghost`:
/// of each `ghost` examples that follow one another, the last ones may be fewer (ghost batch
/// normalization, Hoffer et al. 2017); 0: of the whole batch. gamma starts at 1, beta at 0.
/// Declares its running mean and variance in `statistics`, which a pass may ask to be used instead.
std::unique_ptr<ParameterLayer> MakeBatchNorm(ParameterTable& table, ParameterTable& statistics,
                                              const std::string& name, int64_t channels,
                                              int64_t ghost);

}  // namespace sgdscope
