#pragma once

// The part of LibTorch that everyone uses: tensors. Precompiled. The few files that differentiate
// include LibTorch's header of autograd by themselves, because it costs each file that sees it a
// third of a second. Differences between LibTorch versions belong here.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
