#include "nn/parameter_table.h"

#include "core/error.h"

namespace sgdscope {
namespace {

// More than any machine's memory holds, and so few that no product of sizes overflows.
constexpr int64_t kMostParameters = 1'000'000'000'000;

}  // namespace

int64_t ParameterTable::Add(const std::string& name, const std::vector<int64_t>& shape,
                            int64_t fan_in, int64_t fan_out, bool is_bias,
                            std::optional<double> start) {
  int64_t size = 1;
  for (const int64_t extent : shape) {
    if (extent > (kMostParameters - size_) / size) {
      throw Error(ErrorKind::kConfig, "model",
                  "more than 10^12 parameters, counted from the first layer to " + name,
                  "Use fewer or narrower layers.");
    }
    size *= extent;
  }
  const int64_t offset = size_;
  parameters_.push_back({name, shape, offset, size, fan_in, fan_out, is_bias, start});
  size_ += size;
  return offset;
}

namespace {

/// The places of each row of a parameter [rows, ...]: [rows, size / rows].
at::Tensor RowPlaces(const Parameter& parameter) {
  return at::arange(parameter.offset, parameter.offset + parameter.size, at::kLong)
      .view({parameter.shape.front(), -1});
}

}  // namespace

std::vector<at::Tensor> ParameterTable::Blocks(const std::string& kind) const {
  std::vector<at::Tensor> blocks;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor places = RowPlaces(parameters_[i]);  // [units, weights]
    if (kind == kTensor) {
      blocks.push_back(places.flatten());
      continue;
    }
    if (kind == kWeight) places = places.view({-1, 1});
    const bool has_bias = i + 1 < parameters_.size() && parameters_[i + 1].is_bias;
    if (kind == kUnit && has_bias) places = at::cat({places, RowPlaces(parameters_[++i])}, 1);
    for (const at::Tensor& block : places.unbind(0)) blocks.push_back(block);
  }
  return blocks;
}

}  // namespace sgdscope
