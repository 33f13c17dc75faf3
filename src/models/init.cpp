#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "models/model.h"

namespace sgdscope {
namespace {

struct Spread {
  bool normal;
  double scale;  // standard deviation, or half the width of the uniform interval
};

Spread SpreadOf(const Parameter& parameter, const std::string& init) {
  const auto in = static_cast<double>(parameter.fan_in);
  const auto out = static_cast<double>(parameter.fan_out);
  if (init == "torch_default") return {false, 1 / std::sqrt(in)};
  if (parameter.is_bias) return {false, 0};
  if (init == "xavier_uniform") return {false, std::sqrt(6 / (in + out))};
  if (init == "xavier_normal") return {true, std::sqrt(2 / (in + out))};
  if (init == "he_normal") return {true, std::sqrt(2 / in)};
  return {true, std::sqrt(1 / in)};  // lecun_normal
}

}  // namespace

std::vector<std::string> InitNames() {
  return {"xavier_uniform", "xavier_normal", "he_normal", "lecun_normal", "torch_default"};
}

at::Tensor InitialTheta(const Network& network, uint64_t seed, at::ScalarType dtype) {
  at::Tensor theta = at::zeros({network.table.size()}, at::kDouble);
  double* values = theta.data_ptr<double>();
  uint64_t index = 0;
  for (const Parameter& parameter : network.table.parameters()) {
    Stream stream(seed, "init", index++);
    if (parameter.start) {
      std::fill_n(values + parameter.offset, parameter.size, *parameter.start);
      continue;
    }
    const Spread spread = SpreadOf(parameter, network.init);
    if (spread.scale == 0) continue;
    for (int64_t i = parameter.offset; i < parameter.offset + parameter.size; ++i) {
      values[i] = spread.scale * (spread.normal ? stream.Normal() : 2 * stream.Uniform() - 1);
    }
  }
  return theta.to(dtype);
}

at::Tensor InitialStatistics(const Network& network, at::ScalarType dtype) {
  at::Tensor statistics = at::empty({network.statistics.size()}, dtype);
  for (const Parameter& parameter : network.statistics.parameters()) {
    statistics.narrow(0, parameter.offset, parameter.size).fill_(*parameter.start);
  }
  return statistics;
}

}  // namespace sgdscope
