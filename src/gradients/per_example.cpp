#include "gradients/per_example.h"

#include <algorithm>

#include "nn/reduce.h"

namespace sgdscope {
kernels::Reduction MedianOf(int64_t m) {
  const int64_t low = (m - 1) / 2;
  const float part = m % 2 == 0 ? 0.5f : 0.0f;
  return {kernels::Reduction::Kind::kClip, low, low, part, part};
}

void TileMemory::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "tile_memory",
                 .help = "most memory for written-out per-example gradients; linear layers on the "
                         "CPU need none",
                 .unit = "MiB",
                 .min = 1,
                 .max = 1e6},
                mebibytes);
}

int64_t TileMemory::Numbers(at::ScalarType type) const {
  return mebibytes * (int64_t{1} << 20) / static_cast<int64_t>(at::elementSize(type));
}

// The output gradients are those of the mean loss: each example's carries a factor 1/n.

at::Tensor PerExample::SquaredNorms() const {
  at::NoGradGuard no_grad;
  at::Tensor sum = at::zeros({size()}, gradients_.losses.options().dtype(at::kDouble));
  for (size_t i = 0; i < gradients_.taps.size(); ++i) {
    const Tap& tap = gradients_.taps[i];
    sum.add_(tap.layer->SquaredNorms(tap, gradients_.output_gradients[i]));
  }
  const auto n = static_cast<double>(size());
  return sum.mul_(n * n);
}

at::Tensor PerExample::Dots(const at::Tensor& v) const {
  at::NoGradGuard no_grad;
  at::Tensor sum = at::zeros({size()}, gradients_.losses.options().dtype(at::kDouble));
  for (size_t i = 0; i < gradients_.taps.size(); ++i) {
    const Tap& tap = gradients_.taps[i];
    sum.add_(tap.layer->Dots(tap, gradients_.output_gradients[i], v));
  }
  return sum.mul_(static_cast<double>(size()));
}

at::Tensor PerExample::Gram() const {
  at::NoGradGuard no_grad;
  at::Tensor sum = at::zeros({size(), size()}, gradients_.losses.options().dtype(at::kDouble));
  for (size_t i = 0; i < gradients_.taps.size(); ++i) {
    const Tap& tap = gradients_.taps[i];
    sum.add_(tap.layer->Gram(tap, gradients_.output_gradients[i]));
  }
  const auto n = static_cast<double>(size());
  return sum.mul_(n * n);
}

at::Tensor PerExample::Reduce(const kernels::Reduction& how) const {
  at::NoGradGuard no_grad;
  const at::Tensor out = at::empty({gradients_.parameters}, gradients_.losses.options());
  for (size_t i = 0; i < gradients_.taps.size(); ++i) {
    const Tap& tap = gradients_.taps[i];
    tap.layer->Reduce(tap, gradients_.output_gradients[i], how, max_numbers_, out);
  }
  if (how.kind != kernels::Reduction::Kind::kSigns) return out;
  return out.div(static_cast<double>(size()));
}

at::Tensor PerExample::MedianOfMeans(int64_t groups) const {
  at::NoGradGuard no_grad;
  const int64_t n = size();
  const int64_t largest = (n + groups - 1) / groups;
  // Groups are filled up to equal sizes with examples of weight 0.
  at::Tensor indices = at::zeros({groups, largest}, at::kLong);
  at::Tensor weights = at::zeros({groups, largest}, at::kDouble);
  for (int64_t k = 0, begin = 0; k < groups; ++k) {
    const int64_t count = n / groups + (k < n % groups);
    indices[k].narrow(0, 0, count).copy_(at::arange(begin, begin + count, at::kLong));
    // The sum over the group of g_i / n becomes its mean; the reduction adds up m medians.
    const double weight = static_cast<double>(n) / static_cast<double>(count * groups);
    weights[k].narrow(0, 0, count).fill_(weight);
    begin += count;
  }
  indices = indices.flatten().to(gradients_.losses.device());
  weights = weights.flatten().to(gradients_.losses.options());

  const at::Tensor out = at::empty({gradients_.parameters}, gradients_.losses.options());
  for (size_t i = 0; i < gradients_.taps.size(); ++i) {
    const Tap& tap = gradients_.taps[i];
    const at::Tensor d = gradients_.output_gradients[i].index_select(0, indices);
    std::vector<int64_t> one_each(d.dim(), 1);
    one_each[0] = d.size(0);
    const Tap padded = {tap.layer, tap.input.detach().index_select(0, indices), {}};
    tap.layer->ForEachTile(padded, d.mul(weights.view(one_each)), groups, max_numbers_,
                           [&](int64_t offset, const at::Tensor& tile) {
                             ReduceColumns(tile, MedianOf(groups),
                                           out.narrow(0, offset, tile.size(1)));
                           });
  }
  return out;
}

at::Tensor CovarianceTrace(const at::Tensor& squared_norms, const at::Tensor& squared_norm) {
  const auto n = static_cast<double>(squared_norms.size(0));
  return squared_norms.sum().sub(squared_norm.mul(n)).div(n - 1);
}

}  // namespace sgdscope
