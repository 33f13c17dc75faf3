#pragma once

#include <functional>
#include <vector>

#include "core/torch.h"
#include "nn/layer.h"

// What layers with parameters do with taps.

namespace sgdscope {

/// The output z of `layer` at the input h, recorded if `pass` asks for taps.
at::Tensor Recorded(const ParameterLayer& layer, const at::Tensor& h, const at::Tensor& z,
                    const Pass& pass);

/// Adds the step back through a layer without parameters, where the derivative by its input is asked
/// for.
void AddStep(const Pass& pass, WayBack::Step step);

/// Adds, after Recorded, the step back through a layer with parameters: to the derivative by its
/// input, which is not asked for at the network's first tap.
void AddWayBack(const Pass& pass, WayBack::Step step);

/// The output of `layer` at theta for all of h: `forward` of the examples beyond those whose output
/// `pass.known` has.
at::Tensor ValueOnLine(const ParameterLayer& layer, const at::Tensor& h, const LinePass& pass,
                       const std::function<at::Tensor(const at::Tensor&)>& forward);

}  // namespace sgdscope
