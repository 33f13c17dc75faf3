#include "nn/sequence.h"

#include <algorithm>

namespace sgdscope {

at::Tensor Sequence::Forward(const at::Tensor& h, const Pass& pass) const {
  if (!at::GradMode::is_enabled()) return ForwardTo({}, h, pass);
  at::Tensor out = h;
  for (const auto& layer : layers_) out = layer->Forward(out, pass);
  return out;
}

at::Tensor Sequence::ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const {
  if (layers_.empty()) return Ended(h, end, pass);
  at::Tensor out = h;
  size_t i = 0;
  while (i + 1 < layers_.size()) {
    // The last layer is the end's, if there is one.
    const bool both = i + 2 < layers_.size() || (!end.add.defined() && !end.positive);
    const at::Tensor of_two = both ? ForwardOfTwo(i, out, pass) : at::Tensor();
    out = of_two.defined() ? of_two : layers_[i]->Forward(out, pass);
    i += of_two.defined() ? 2 : 1;
  }
  return i < layers_.size() ? layers_[i]->ForwardTo(end, out, pass) : out;
}

at::Tensor Sequence::ForwardOfTwo(size_t i, const at::Tensor& h, const Pass& pass) const {
  const Layer& first = *layers_[i];
  const Layer& second = *layers_[i + 1];
  if (first.IsPositivePart() && second.TakesPositivePart())
    return second.ForwardOfPositive(h, pass);
  if (!second.IsPositivePart()) return {};
  const Layer* const third = i + 2 < layers_.size() ? layers_[i + 2].get() : nullptr;
  if (third != nullptr && third->TakesPositivePart()) return {};
  const auto* dense = dynamic_cast<const DenseLayer*>(&first);
  if (dense != nullptr && dynamic_cast<const DenseLayer*>(third) != nullptr) {
    return dense->ForwardPositive(h, pass);
  }
  return first.ForwardTo({.positive = true}, h, pass);
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
