#pragma once

#include <functional>
#include <string>

#include "run/experiment.h"

namespace sgdscope {

/// Hands to `show` what a run would be, as text: layers, parameters and length at once, then an
/// estimate of time and memory from steps taken on random inputs of the data's shape. Reads no data
/// and writes no file. Error kConfig, kResource.
void Describe(RunConfig& config, const std::function<void(const std::string& text)>& show);

}  // namespace sgdscope
