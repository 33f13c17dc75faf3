#include "gradients/per_example.h"

#include <algorithm>

#include "core/error.h"
#include "nn/reduce.h"

namespace sgdscope {

kernels::Reduction MedianOf(int64_t m) {
  const int64_t low = (m - 1) / 2;
  const double part = m % 2 == 0 ? 0.5 : 0;
  return {kernels::Reduction::Kind::kClip, low, low, part, part};
}

void TileMemory::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "tile_memory",
                 .help = "most memory for written-out per-example gradients; linear layers need "
                         "it only for groups of examples",
                 .unit = "MiB",
                 .min = 1,
                 .max = 1e6,
                 .limits_memory_of = "per-example tiles"},
                mebibytes);
}

int64_t TileMemory::Numbers(at::ScalarType type) const {
  return mebibytes * (int64_t{1} << 20) / static_cast<int64_t>(at::elementSize(type));
}

namespace {

/// The layer as one that knows its part of single examples' gradients. Throws an Error of kind
/// kConfig at `path` where it does not.
const ExampleLayer& WithExamples(const ParameterLayer& layer, const std::string& path) {
  if (const auto* examples = dynamic_cast<const ExampleLayer*>(&layer)) return *examples;
  throw Error(ErrorKind::kConfig, path,
              "the gradients of single examples are needed, which a layer of the network does not "
              "have: " +
                  layer.Describe(),
              "Use a model without such layers, or leave this out.");
}

const ExampleLayer& LayerOf(const Tap& tap) { return WithExamples(*tap.layer, "model"); }

/// What the layers saw. Error kInternal of a batch in pieces, which leaves nothing: what needs all
/// examples at once says so by NeedsWholeBatch, and is refused before the run.
const std::vector<Tap>& TapsOf(const Gradients& gradients) {
  if (!gradients.taps.empty()) return gradients.taps;
  throw Error(ErrorKind::kInternal, "PerExample",
              "all examples of a batch are needed at once, but it was evaluated in pieces");
}

/// Sum of rule(layer, tap, d) over the layers, in double; d are the derivatives of the mean loss:
/// those of each example's own loss times 1/n.
template <class Rule>
at::Tensor SumOverLayers(const Gradients& gradients, const Rule& rule) {
  at::NoGradGuard no_grad;
  at::Tensor sum;
  const std::vector<Tap>& taps = TapsOf(gradients);
  for (size_t i = 0; i < taps.size(); ++i) {
    const Tap& tap = taps[i];
    const at::Tensor part = rule(LayerOf(tap), tap, gradients.output_gradients[i]);
    sum = sum.defined() ? sum.add(part) : part;
  }
  return sum;
}

/// SumOverLayers [n] of a rule that has a value for each example, also of a batch in pieces.
template <class Rule>
at::Tensor OfEachExample(const Gradients& gradients, const Rule& rule) {
  std::vector<at::Tensor> values;
  gradients.ForEachPiece(
      [&](int64_t, const Gradients& piece) { values.push_back(SumOverLayers(piece, rule)); });
  return values.size() == 1 ? values.front() : at::cat(values);
}

}  // namespace

at::Tensor PerExample::SquaredNorms() const {
  const auto n = static_cast<double>(size());
  return OfEachExample(gradients_, [](const ExampleLayer& layer, const Tap& tap,
                                      const at::Tensor& d) { return layer.SquaredNorms(tap, d); })
      .mul(n * n);
}

at::Tensor PerExample::Dots(const at::Tensor& v) const {
  return OfEachExample(gradients_, [&](const ExampleLayer& layer, const Tap& tap,
                                       const at::Tensor& d) { return layer.Dots(tap, d, v); })
      .mul(static_cast<double>(size()));
}

at::Tensor PerExample::Gram() const {
  const auto n = static_cast<double>(size());
  return SumOverLayers(gradients_, [](const ExampleLayer& layer, const Tap& tap,
                                      const at::Tensor& d) { return layer.Gram(tap, d); })
      .mul(n * n);
}

at::Tensor PerExample::Reduce(const kernels::Reduction& how) const {
  at::NoGradGuard no_grad;
  const std::vector<Tap>& taps = TapsOf(gradients_);
  const at::Tensor out = at::empty({gradients_.parameters}, gradients_.losses.options());
  for (size_t i = 0; i < taps.size(); ++i) {
    const Tap& tap = taps[i];
    LayerOf(tap).Reduce(tap, gradients_.output_gradients[i], how, max_numbers_, out);
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

  const std::vector<Tap>& taps = TapsOf(gradients_);
  const at::Tensor out = at::empty({gradients_.parameters}, gradients_.losses.options());
  for (size_t i = 0; i < taps.size(); ++i) {
    const Tap& tap = taps[i];
    const at::Tensor d = gradients_.output_gradients[i].index_select(0, indices);
    const Tap padded = {tap.layer, tap.input.detach().index_select(0, indices), {}};
    LayerOf(tap).ForEachTile(padded, WeightedRows(d, weights), groups, max_numbers_,
                             [&](int64_t offset, const at::Tensor& tile) {
                               ReduceColumns(tile, MedianOf(groups),
                                             out.narrow(0, offset, tile.size(1)));
                             });
  }
  return out;
}

at::Tensor PerExample::WeightedSum(const at::Tensor& weights) const {
  // To the mean, example i adds g_i / n.
  const at::Tensor of_means = weights.mul(static_cast<double>(size()));
  return gradients_.Weighted(of_means.to(gradients_.losses.scalar_type()));
}

at::Tensor PerExample::Variances() const {
  at::NoGradGuard no_grad;
  // In double: of a variance far below the squared mean the difference below leaves few digits.
  const at::TensorOptions in_double = gradients_.losses.options().dtype(at::kDouble);
  const at::Tensor mean = at::empty({gradients_.parameters}, in_double);
  at::Tensor squares = at::empty_like(mean);
  const auto size_of_number = static_cast<int64_t>(gradients_.losses.element_size());
  const int64_t max_doubles =
      std::max<int64_t>(max_numbers_ * size_of_number / static_cast<int64_t>(sizeof(double)), 1);
  const std::vector<Tap>& taps = TapsOf(gradients_);
  for (size_t i = 0; i < taps.size(); ++i) {
    const ExampleLayer& layer = LayerOf(taps[i]);
    const Tap tap = {&layer, taps[i].input.detach().to(at::kDouble), {}};
    const at::Tensor d = gradients_.output_gradients[i].to(at::kDouble);
    layer.WriteGradient(tap, d, mean);
    layer.WriteSquares(tap, d, max_doubles, squares);
  }
  const auto n = static_cast<double>(size());
  // Rounding can make a small variance negative.
  squares.mul_(n * n / (n - 1)).addcmul_(mean, mean, -n / (n - 1)).clamp_min_(0);
  return squares.to(gradients_.losses.scalar_type());
}

void CheckSingleExamples(const Network& network, const std::string& path) {
  if (network.MixesExamples()) {
    throw Error(
        ErrorKind::kConfig, path,
        "needs the gradients of single examples, which batch normalization leaves undefined: "
        "each example's logits depend on its whole batch",
        "Use a model without batch normalization (\"norm\": \"skipinit\" or \"none\", as the model "
        "has it), or leave this out.");
  }
  ForEachLayer(*network.root, [&](const Layer& layer) {
    if (const auto* it = dynamic_cast<const ParameterLayer*>(&layer)) WithExamples(*it, path);
  });
}

at::Tensor CovarianceTrace(const at::Tensor& squared_norms, const at::Tensor& squared_norm) {
  const auto n = static_cast<double>(squared_norms.size(0));
  return squared_norms.sum().sub(squared_norm.mul(n)).div(n - 1);
}

}  // namespace sgdscope
