#include "run/evaluation.h"

#include <algorithm>

namespace sgdscope {
namespace {

constexpr int64_t kChunk = 1000;  // large enough for good products

/// The examples [begin, begin + kChunk), or up to the end of the split.
Batch ChunkAt(const Oracle& oracle, int64_t begin) {
  return oracle.Load(at::arange(begin, std::min(begin + kChunk, oracle.size()), at::kLong));
}

/// Calls visit(begin, batch) with all examples of the split, one chunk after another.
template <class Visit>
void ForEachChunk(const Oracle& oracle, const Visit& visit) {
  for (int64_t begin = 0; begin < oracle.size(); begin += kChunk) {
    visit(begin, ChunkAt(oracle, begin));
  }
}

/// Sums over a chunk in double, [2]: losses, right answers.
at::Tensor Sums(const at::Tensor& losses, const at::Tensor& right) {
  return at::stack({losses.sum(at::kDouble), right.sum(at::kDouble)});
}

/// The mean loss of all examples, which have targets.
SplitScore MeanLossOf(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& running) {
  const at::Tensor sum = at::zeros({}, theta.options().dtype(at::kDouble));
  ForEachChunk(oracle, [&](int64_t, const Batch& batch) {
    sum.add_(oracle.LossesOf(oracle.Logits(batch, theta, running), batch).sum(at::kDouble));
  });
  return {sum.item<double>() / static_cast<double>(oracle.size()), kNotMeasured};
}

SplitScore MeanOf(const at::Tensor& sums, int64_t examples) {
  if (examples == 0) return {};
  const auto n = static_cast<double>(examples);
  return {sums[0].item<double>() / n, sums[1].item<double>() / n};
}

}  // namespace

Sweep SweepSplit(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& running,
                 const at::Tensor& corrupt) {
  at::NoGradGuard no_grad;
  if (oracle.split().HasTargets()) return {MeanLossOf(oracle, theta, running), {}, {}, {}};
  const int64_t examples = oracle.size();
  const auto options = theta.options().dtype(at::kDouble);
  at::Tensor sums = at::zeros({2}, options);
  at::Tensor pristine_sums = at::zeros({2}, options);
  at::Tensor corrupt_sums = at::zeros({2}, options);
  const at::Tensor right = at::empty({examples}, options.dtype(at::kBool));
  ForEachChunk(oracle, [&](int64_t begin, const Batch& batch) {
    const int64_t end = begin + batch.size();
    const at::Tensor z = oracle.Logits(batch, theta, running);
    const at::Tensor losses = oracle.LossesOf(z, batch);
    const at::Tensor hits = z.argmax(1).eq(batch.labels);
    right.slice(0, begin, end).copy_(hits);
    sums.add_(Sums(losses, hits));
    if (!corrupt.defined()) return;
    // A selection of rows would make a GPU's host wait for their number.
    const at::Tensor wrong = corrupt.slice(0, begin, end);
    const at::Tensor proper = wrong.logical_not();
    pristine_sums.add_(Sums(losses.masked_fill(wrong, 0), hits.logical_and(proper)));
    corrupt_sums.add_(Sums(losses.masked_fill(proper, 0), hits.logical_and(wrong)));
  });
  Sweep sweep{MeanOf(sums.cpu(), examples), {}, {}, right};
  if (!corrupt.defined()) return sweep;
  const auto corrupt_examples = corrupt.sum().item<int64_t>();
  sweep.pristine = MeanOf(pristine_sums.cpu(), examples - corrupt_examples);
  sweep.corrupt = MeanOf(corrupt_sums.cpu(), corrupt_examples);
  return sweep;
}

void EvaluateChunk(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& running) {
  const Batch batch = ChunkAt(oracle, 0);
  oracle.LossesOf(oracle.Logits(batch, theta, running), batch);
}

std::vector<std::string> EvalColumns(const Experiment& experiment) {
  if (experiment.shape().has_targets) return {"step", "epoch", "train_loss", "test_loss"};
  std::vector<std::string> columns = {"step",           "epoch",     "train_loss",
                                      "train_accuracy", "test_loss", "test_accuracy"};
  if (experiment.config().data->label_noise() == nullptr) return columns;
  for (const char* column : {"train_pristine_loss", "train_pristine_accuracy", "train_corrupt_loss",
                             "train_corrupt_accuracy", "proper_accuracy", "overfit"}) {
    columns.emplace_back(column);
  }
  return columns;
}

std::vector<double> EvalRow(const Experiment& experiment, int64_t step, const Sweep& train,
                            const SplitScore& test) {
  const double epoch = experiment.sampler().EpochAt(step);
  if (experiment.shape().has_targets) {
    return {static_cast<double>(step), epoch, train.all.loss, test.loss};
  }
  std::vector<double> row = {static_cast<double>(step), epoch,     train.all.loss,
                             train.all.accuracy,        test.loss, test.accuracy};
  const LabelNoise* noise = experiment.config().data->label_noise();
  if (noise == nullptr) return row;
  const at::Tensor& corrupt = experiment.data().train.corrupt;
  const double proper_accuracy =
      corrupt.logical_not().sum().item<double>() / static_cast<double>(corrupt.size(0));
  const auto classes = static_cast<double>(experiment.shape().classes);
  const double fitted = noise->fraction / classes + (1 - noise->fraction) * test.accuracy;
  for (const double value :
       {train.pristine.loss, train.pristine.accuracy, train.corrupt.loss, train.corrupt.accuracy,
        proper_accuracy, train.all.accuracy - fitted}) {
    row.push_back(value);
  }
  return row;
}

}  // namespace sgdscope
