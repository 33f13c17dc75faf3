#include "nn/layer.h"

#include "core/error.h"

namespace sgdscope {

int64_t ParameterTable::Add(const std::string& name, const std::vector<int64_t>& shape,
                            int64_t fan_in, int64_t fan_out, bool is_bias) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  const int64_t offset = size_;
  parameters_.push_back({name, shape, offset, size, fan_in, fan_out, is_bias});
  size_ += size;
  return offset;
}

void Layer::WriteGradient(const Tap&, const at::Tensor&, const at::Tensor&) const {
  throw Error(ErrorKind::kInternal, Describe(), "this layer has no parameters and records no taps");
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

std::string Sequence::Describe() const {
  std::string text;
  for (const auto& layer : layers_) {
    if (!text.empty()) text += '\n';
    text += layer->Describe();
  }
  return text;
}

}  // namespace sgdscope
