#include "nn/layer.h"

#include "nn/reduce.h"
#include "nn/taps.h"

namespace sgdscope {

at::Tensor Layer::ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const {
  return Ended(Forward(h, pass), end, pass);
}

at::Tensor Layer::Ended(const at::Tensor& z, const End& end, const Pass& pass) {
  const at::Tensor sum = end.add.defined() ? end.add.add(z) : z;
  if (!end.positive) return sum;
  const at::Tensor out = at::relu(sum);
  if (!end.add.defined()) {
    AddStep(pass, [out](const at::Tensor& d) { return at::threshold_backward(d, out, 0); });
  }
  return out;
}

at::Tensor Layer::ForwardOfPositive(const at::Tensor& z, const Pass& pass) const {
  return Forward(Ended(z, {.positive = true}, pass), pass);
}

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
