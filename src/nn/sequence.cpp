#include "nn/sequence.h"

namespace sgdscope {

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

std::vector<const Layer*> Sequence::Inside() const {
  std::vector<const Layer*> inside;
  for (const auto& layer : layers_) inside.push_back(layer.get());
  return inside;
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
