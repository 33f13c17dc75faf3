#include "nn/sequence.h"

#include <algorithm>

namespace sgdscope {

at::Tensor Sequence::Forward(const at::Tensor& h, const Pass& pass) const {
  at::Tensor out = h;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const DenseLayer* dense = at::GradMode::is_enabled() ? nullptr : BeforePositivePart(i);
    if (dense == nullptr) {
      out = layers_[i]->Forward(out, pass);
    } else {
      out = dense->ForwardPositive(out, pass);
      ++i;
    }
  }
  return out;
}

const DenseLayer* Sequence::BeforePositivePart(size_t i) const {
  if (i + 2 >= layers_.size() || !layers_[i + 1]->IsPositivePart()) return nullptr;
  if (dynamic_cast<const DenseLayer*>(layers_[i + 2].get()) == nullptr) return nullptr;
  return dynamic_cast<const DenseLayer*>(layers_[i].get());
}

Line Sequence::ForwardLine(const Line& h, const LinePass& pass) const {
  Line out = h;
  for (const auto& layer : layers_) out = layer->ForwardLine(out, pass);
  return out;
}

bool Sequence::KnowsWayBack() const {
  return std::ranges::all_of(layers_, [](const auto& layer) { return layer->KnowsWayBack(); });
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
