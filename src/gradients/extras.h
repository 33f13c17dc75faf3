#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/torch.h"

namespace sgdscope {

/// What an estimator has to show of a step beside g: tensors by name, each made only when it is
/// asked for. Snapshots keep them under their names; any probe may look one up.
using Extras = std::map<std::string, std::function<at::Tensor()>>;

}  // namespace sgdscope
