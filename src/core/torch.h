#pragma once

// The part of LibTorch that we use: tensors and torch::autograd::grad; no torch::nn, torch::optim
// or torch::data. Precompiled. Differences between LibTorch versions belong here.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>
