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
  bool KnowsWayBack() const override;
  std::vector<const Layer*> Inside() const override;
  std::string Describe() const override;

 private:
  /// Layer i if it is fully connected, and its positive part is taken and given to another; else
  /// null.
  const DenseLayer* BeforePositivePart(size_t i) const;

  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace sgdscope
