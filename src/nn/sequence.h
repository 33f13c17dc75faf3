#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/layer.h"

namespace sgdscope {

/// Layers one after another.
class Sequence : public Layer {
 public:
  void Append(std::unique_ptr<Layer> layer) { layers_.push_back(std::move(layer)); }
  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override;
  Line ForwardLine(const Line& h, const LinePass& pass) const override;
  at::Tensor ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const override;
  bool KnowsWayBack() const override;
  std::vector<const Layer*> Inside() const override;
  std::string Describe() const override;

 private:
  /// Forward of layer i and of the one behind it, in one pass; undefined: they have none.
  at::Tensor ForwardOfTwo(size_t i, const at::Tensor& h, const Pass& pass) const;

  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace sgdscope
