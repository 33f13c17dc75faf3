#include "probes/loss_choice.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "gradients/pieces.h"

namespace sgdscope {
namespace {

constexpr const char* kTrainingSet = "training_set";
constexpr const char* kBatch = "batch";

/// The mean loss of a piece of which these are the logits, a scalar in double.
at::Tensor MeanLossOf(const Oracle& oracle, const at::Tensor& logits, const Batch& piece) {
  return oracle.LossesOf(logits.to(at::kDouble), piece).mean();
}

}  // namespace

bool LossChoice::InSet() const { return over_ == kTrainingSet; }

void LossChoice::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "over",
                 .help = "of whose mean loss: of the training set or of the updating batch",
                 .allowed = {kTrainingSet, kBatch}},
                over_);
  visitor.Visit({.name = "examples",
                 .help = "for over training_set: of that many of its examples only, the same "
                         "ones throughout the run",
                 .unit = "examples",
                 .min = 1,
                 .max = 1e15},
                examples_);
  visitor.Visit({.name = "piece_size",
                 .help = "for over training_set: examples that are put into memory at a time; "
                         "batch_size if left out, but 100 at least. Under batch normalization "
                         "each piece is normalized by its own statistics",
                 .unit = "examples",
                 .min = 1,
                 .max = 1e9},
                given_piece_size_);
}

void LossChoice::Check(const std::string& path) const {
  if (InSet()) return;
  CheckNoSizes(path, "over is batch", "set " + path + ".over to training_set");
}

void LossChoice::CheckUnused(const std::string& path, const std::string& why,
                             const std::string& remedy) const {
  CheckNoSizes(path, why, remedy);
  if (InSet()) return;
  throw Error(ErrorKind::kConfig, path + ".over", "found batch, but " + why,
              "Leave it out, or " + remedy + ".");
}

void LossChoice::CheckNoSizes(const std::string& path, const std::string& why,
                              const std::string& remedy) const {
  for (const auto& [field, value] :
       {std::pair{"examples", examples_}, std::pair{"piece_size", given_piece_size_}}) {
    if (!value) continue;
    throw Error(ErrorKind::kConfig, path + "." + field,
                "found " + std::to_string(*value) + ", but " + why,
                "Leave it out, or " + remedy + ".");
  }
}

void LossChoice::Prepare(const ProbeContext& context, const std::string& stream) {
  piece_size_ = given_piece_size_.value_or(PieceSize(context.sampler));
  of_ = examples_.value_or(context.examples);
  if (examples_) part_ = FixedPart(context, "examples", *examples_, stream);
}

std::vector<int64_t> LossChoice::OwnBatches() const {
  if (!InSet()) return {};
  return {std::min(piece_size_, of_), (of_ - 1) % piece_size_ + 1};
}

void LossChoice::ForEachPiece(
    const StepView& view,
    const std::function<void(const Batch& piece, double share)>& visit) const {
  const auto in_pieces = [&](const Batch& batch, double share) {
    view.oracle.ForEachPiece(batch, [&](int64_t, const Batch& piece) {
      visit(piece, share * static_cast<double>(piece.size()) / static_cast<double>(batch.size()));
    });
  };
  if (!InSet()) return in_pieces(view.batch, 1);
  for (int64_t begin = 0; begin < of_; begin += piece_size_) {
    const int64_t size = std::min(piece_size_, of_ - begin);
    const at::Tensor indices =
        part_.defined() ? part_.narrow(0, begin, size) : at::arange(begin, begin + size, at::kLong);
    in_pieces(view.oracle.Load(indices), static_cast<double>(size) / static_cast<double>(of_));
  }
}

at::Tensor LossChoice::LossAt(const StepView& view, const at::Tensor& theta) const {
  at::Tensor loss = at::zeros({}, theta.options().dtype(at::kDouble));
  ForEachPiece(view, [&](const Batch& piece, double share) {
    loss = loss.add(MeanLossOf(view.oracle, view.oracle.Logits(piece, theta), piece), share);
  });
  return loss;
}

LossChoice::Slope LossChoice::SlopeAt(const StepView& view, const at::Tensor& theta) const {
  const at::TensorOptions in_double = theta.options().dtype(at::kDouble);
  at::Tensor loss = at::zeros({}, in_double);
  const at::Tensor gradient = at::zeros_like(theta, in_double);
  ForEachPiece(view, [&](const Batch& piece, double share) {
    const Gradients found = view.oracle.Evaluate(piece, theta);
    loss = loss.add(MeanLossOf(view.oracle, found.logits, piece), share);
    gradient.add_(found.Mean(), share);
  });
  return {loss, gradient.to(theta.scalar_type())};
}

at::Tensor FixedPart(const ProbeContext& context, const std::string& field, int64_t count,
                     const std::string& stream) {
  if (count > context.examples) {
    throw Error(ErrorKind::kConfig, context.path + "." + field,
                "found " + std::to_string(count) + ", but the training set has only " +
                    std::to_string(context.examples),
                "Give at most that many, or leave it out.");
  }
  Stream draw(context.seed, stream);
  return DrawDistinct(draw, count, context.examples);
}

at::Tensor MeanWithError(const at::Tensor& samples) {
  const double root = std::sqrt(static_cast<double>(samples.size(0)));
  return at::stack({samples.mean(), samples.std(/*unbiased=*/true).div(root)});
}

}  // namespace sgdscope
