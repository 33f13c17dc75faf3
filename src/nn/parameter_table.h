#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/torch.h"

// All parameters of a network lie in one flat vector theta [p], in which each layer owns a
// contiguous piece.

namespace sgdscope {

/// One named tensor inside theta.
struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset;
  int64_t size;
  int64_t fan_in;   // of the layer, also for its bias
  int64_t fan_out;  // of the layer, also for its bias
  bool is_bias;
  std::optional<double> start;  // of all its numbers; nothing: as the model's init says
};

/// Ways to cut theta into blocks: every number of its own; the weights into one unit with its bias;
/// a whole weight matrix or bias.
inline constexpr const char* kWeight = "weight";
inline constexpr const char* kUnit = "unit";
inline constexpr const char* kTensor = "tensor";
inline std::vector<std::string> BlockNames() { return {kWeight, kUnit, kTensor}; }

/// The layout of theta: parameters in the order of declaration, without gaps.
class ParameterTable {
 public:
  /// Appends a parameter; returns its place in theta.
  int64_t Add(const std::string& name, const std::vector<int64_t>& shape, int64_t fan_in,
              int64_t fan_out, bool is_bias, std::optional<double> start = {});
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t size() const { return size_; }  // p

  /// theta cut into blocks of one of BlockNames(): each block's places in theta, in theta's order
  /// of their first. Every place is in exactly one.
  std::vector<at::Tensor> Blocks(const std::string& kind) const;

 private:
  std::vector<Parameter> parameters_;
  int64_t size_ = 0;
};

}  // namespace sgdscope
