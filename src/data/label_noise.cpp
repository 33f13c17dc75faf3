#include "data/label_noise.h"

#include <cmath>

#include "core/rng.h"
#include "core/tensor_file.h"
#include "data/dataset.h"

namespace sgdscope {
namespace {

constexpr const char* kStream = "label_noise";
constexpr uint64_t kChoice = 0;  // which examples
constexpr uint64_t kLabels = 1;  // their labels

/// round(fraction size) of 0 ... size-1, [m] int64.
at::Tensor Choose(double fraction, int64_t size, uint64_t seed) {
  Stream stream(seed, kStream, kChoice);
  const at::Tensor order = at::tensor(Permutation(stream, size), at::kLong);
  return order.narrow(0, 0, std::llround(fraction * static_cast<double>(size)));
}

/// The labels in another order, [m] int64.
at::Tensor Permuted(const at::Tensor& labels, uint64_t seed) {
  Stream stream(seed, kStream, kLabels);
  return labels.index_select(0, at::tensor(Permutation(stream, labels.size(0)), at::kLong));
}

/// Labels drawn from all classes, [m] int64.
at::Tensor Drawn(int64_t count, int64_t classes, uint64_t seed) {
  Stream stream(seed, kStream, kLabels);
  const at::Tensor labels = at::empty({count}, at::kLong);
  int64_t* label = labels.data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    label[i] = static_cast<int64_t>(stream.Below(static_cast<uint64_t>(classes)));
  }
  return labels;
}

}  // namespace

void LabelNoise::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "fraction",
                 .help = "share of the training examples whose labels are permuted or drawn anew",
                 .paper = "coherent_gradients section 2.1",
                 .required = true,
                 .min = 0,
                 .max = 1},
                fraction);
  visitor.Visit({.name = "kind",
                 .help = "permute: the labels of these examples, permuted among them; uniform: "
                         "labels drawn uniformly from all classes",
                 .allowed = {"permute", "uniform"}},
                kind);
}

void AddLabelNoise(const LabelNoise& noise, int64_t classes, uint64_t seed, Split& train) {
  const at::Tensor chosen = Choose(noise.fraction, train.size(), seed);
  const at::Tensor noisy = noise.kind == "uniform"
                               ? Drawn(chosen.size(0), classes, seed)
                               : Permuted(train.labels.index_select(0, chosen), seed);
  train.original_labels = train.labels;
  train.labels = train.original_labels.index_copy(0, chosen, noisy);
  train.corrupt = train.labels.ne(train.original_labels);
}

void WriteLabelNoise(const std::filesystem::path& path, const Split& train) {
  WriteTensorFile(path, {{{"labels", train.labels},
                          {"original_labels", train.original_labels},
                          {"corrupt", train.corrupt.to(at::kByte)}},
                         {}});
}

}  // namespace sgdscope
