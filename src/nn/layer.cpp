#include "nn/layer.h"

#include <algorithm>

#include "core/error.h"
#include "nn/reduce.h"

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

namespace {

[[noreturn]] void HasNoParameters(const Layer& layer) {
  throw Error(ErrorKind::kInternal, layer.Describe(), "has no parameters and records no taps");
}

}  // namespace

Variants Layer::ForwardVariants(const Variants&, const VariantPass&) const {
  throw Error(ErrorKind::kInternal, Describe(), "has no forward pass in variants");
}

at::Tensor Layer::Columns(const at::Tensor&, const at::Tensor&) const { HasNoParameters(*this); }

at::Tensor Layer::UnitRows(const at::Tensor&) const { HasNoParameters(*this); }

at::Tensor Layer::UnitInputs(const Tap&) const { HasNoParameters(*this); }

void Layer::WriteGradient(const Tap&, const at::Tensor&, const at::Tensor&) const {
  HasNoParameters(*this);
}

at::Tensor Layer::OutputSlope(const Tap&, const at::Tensor&) const { HasNoParameters(*this); }

void Layer::WriteGradientSlope(const Tap&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                               const at::Tensor&) const {
  HasNoParameters(*this);
}

void Layer::MoveStatistics(const Tap&, double, const at::Tensor&) const {}

at::Tensor Layer::SquaredNorms(const Tap&, const at::Tensor&) const { HasNoParameters(*this); }

at::Tensor Layer::Dots(const Tap&, const at::Tensor&, const at::Tensor&) const {
  HasNoParameters(*this);
}

at::Tensor Layer::Gram(const Tap&, const at::Tensor&) const { HasNoParameters(*this); }

void Layer::ForEachTile(const Tap&, const at::Tensor&, int64_t, int64_t, const UseTile&) const {
  HasNoParameters(*this);
}

void Layer::Reduce(const Tap& tap, const at::Tensor& d, const kernels::Reduction& how,
                   int64_t max_numbers, const at::Tensor& out) const {
  ForEachTile(tap, d, d.size(0), max_numbers, [&](int64_t offset, const at::Tensor& tile) {
    ReduceColumns(tile, how, out.narrow(0, offset, tile.size(1)));
  });
}

void Layer::WriteSquares(const Tap& tap, const at::Tensor& d, int64_t max_numbers,
                         const at::Tensor& out) const {
  ForEachTile(tap, d, d.size(0), max_numbers, [&](int64_t offset, const at::Tensor& tile) {
    out.narrow(0, offset, tile.size(1)).copy_(tile.square().sum(0));
  });
}

at::Tensor Sequence::Forward(const at::Tensor& h, const Pass& pass) const {
  at::Tensor out = h;
  for (const auto& layer : layers_) out = layer->Forward(out, pass);
  return out;
}

Line Sequence::ForwardLine(const Line& h, const LinePass& pass) const {
  Line out = h;
  for (const auto& layer : layers_) out = layer->ForwardLine(out, pass);
  return out;
}

Variants Sequence::ForwardVariants(const Variants& h, const VariantPass& pass) const {
  Variants out = h;
  auto layer = std::ranges::find_if(layers_, [&](const auto& l) { return l.get() == pass.from; });
  for (++layer; layer->get() != pass.until; ++layer) out = (*layer)->ForwardVariants(out, pass);
  return out;
}

std::string Sequence::Describe() const {
  std::string text;
  for (const auto& layer : layers_) {
    if (!text.empty()) text += '\n';
    text += layer->Describe();
  }
  return text;
}

}  // namespace sgdscope
