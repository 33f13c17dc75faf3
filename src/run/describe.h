#pragma once

#include <string>

#include "run/experiment.h"

namespace sgdscope {

/// What a run would be, as text: layers, parameters, length, and an estimate of memory and time
/// from steps taken on random inputs of the data's shape. Reads no data and writes no file.
std::string Describe(RunConfig& config);

}  // namespace sgdscope
