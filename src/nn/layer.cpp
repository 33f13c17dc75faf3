#include "nn/layer.h"

#include "nn/reduce.h"

namespace sgdscope {

void ForEachLayer(const Layer& layer, const std::function<void(const Layer&)>& visit) {
  visit(layer);
  for (const Layer* inside : layer.Inside()) ForEachLayer(*inside, visit);
}

void ExampleLayer::Reduce(const Tap& tap, const at::Tensor& d, const kernels::Reduction& how,
                          int64_t max_numbers, const at::Tensor& out) const {
  ForEachTile(tap, d, d.size(0), max_numbers, [&](int64_t offset, const at::Tensor& tile) {
    ReduceColumns(tile, how, out.narrow(0, offset, tile.size(1)));
  });
}

void ExampleLayer::WriteSquares(const Tap& tap, const at::Tensor& d, int64_t max_numbers,
                                const at::Tensor& out) const {
  ForEachTile(tap, d, d.size(0), max_numbers, [&](int64_t offset, const at::Tensor& tile) {
    out.narrow(0, offset, tile.size(1)).copy_(tile.square().sum(0));
  });
}

}  // namespace sgdscope
