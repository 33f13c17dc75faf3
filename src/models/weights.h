#pragma once

#include <string>

#include "core/torch.h"
#include "models/model.h"

// Weights from a file.

namespace sgdscope {

/// Key of LayoutOf(the parameters) in the metadata of checkpoints and snapshots.
inline constexpr const char* kLayout = "parameters";

/// Names and shapes in their order: "linear1.weight [16, 8]; linear1.bias [16]".
std::string LayoutOf(const ParameterTable& table);

/// Throws an Error of kind kConfig at `where` unless `theta`, of a file with this layout ("" where
/// it does not tell), fits a network with these parameters.
void CheckLayout(const std::string& layout, const at::Tensor& theta, const ParameterTable& table,
                 const std::string& where);

/// What evaluates a network, on the CPU.
struct Weights {
  at::Tensor theta;       // [p]
  at::Tensor statistics;  // as Network::statistics; undefined where the file has none
};

/// Weights for the network from a safetensors file: one of sgdscope (a checkpoint or a snapshot) or
/// a `state_dict` of PyTorch, whose names may be of three kinds (weights.cpp). Error kConfig at
/// `path`, the JSON path of the field, where they don't fit; kData where the file is damaged.
Weights ReadWeights(const std::string& file, const Network& network, const std::string& path);

}  // namespace sgdscope
