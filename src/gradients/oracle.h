#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "core/torch.h"
#include "data/dataset.h"
#include "data/normalize.h"
#include "gradients/loss.h"
#include "models/model.h"

namespace sgdscope {

/// A batch of n examples, on the device of the data.
struct Batch {
  at::Tensor indices;  // [n] int64, CPU, in the training set
  at::Tensor inputs;   // [n, ...shape]
  at::Tensor labels;   // as in Split
  at::Tensor moves;    // as in Examples
  /// Sizes of the batches that it was joined from; empty: it is one.
  std::vector<int64_t> parts = {};
  Examples examples() const { return {indices, moves}; }
  int64_t size() const { return indices.size(0); }
};

/// Examples [begin, begin + size) of a batch.
Batch Part(const Batch& batch, int64_t begin, int64_t size);

/// Two batches one after the other, with their sizes as parts.
Batch Joined(const Batch& first, const Batch& second);

class Oracle;

/// Results of one forward and one backward pass. Of a joined batch, "the mean loss" is the sum of
/// its parts' mean losses.
/// A batch that the oracle evaluates in pieces leaves no taps: what needs them evaluates the pieces
/// again, one after the other, while theta is what it was.
class Gradients {
 public:
  at::Tensor losses;                         // [n], per example, without 1/n
  at::Tensor logits;                         // [n, classes]
  std::vector<Tap> taps;                     // what the layers saw; none of a batch in pieces
  std::vector<at::Tensor> output_gradients;  // of the mean loss, by the output of each tap
  /// Where the graph was kept: of the mean loss, by the input of each tap; undefined for the inputs
  /// of the network. Both kinds can then be differentiated.
  std::vector<at::Tensor> input_gradients;
  int64_t parameters;  // p

  /// Gradient of the mean loss [p]. Made when first asked for: robust estimators do without it.
  const at::Tensor& Mean() const;

  /// The gradient [p] in which what example i adds counts weights[i] times; weights: [n].
  at::Tensor Weighted(const at::Tensor& weights) const;

  /// The results of examples [begin, begin + size) with the derivatives that they have here, those
  /// of the whole batch's mean loss, without a graph. Error kInternal of a batch in pieces.
  Gradients OfPart(int64_t begin, int64_t size) const;

  /// Calls visit(begin, piece) with the results of each piece [begin, begin + n'), whose derivatives
  /// are those of the whole batch's mean loss: with these results themselves if there are taps.
  /// `keep_graph`: of pieces that are evaluated again.
  void ForEachPiece(const std::function<void(int64_t begin, const Gradients& piece)>& visit,
                    bool keep_graph = false) const;

 private:
  friend Oracle;

  /// How to evaluate the pieces again.
  struct Source {
    const Oracle* oracle;
    Batch batch;
    at::Tensor theta;
  };

  std::optional<Source> in_pieces_;  // of a batch that has no taps
  /// Where the statistics of a batch in pieces came from: its taps without their values.
  std::vector<Tap> normalized_;
  mutable at::Tensor mean_;
};

/// Turns batches into losses and gradients of one network, loss and split. Nothing here but
/// EvaluateAndMove writes theta.
/// Batches of more than `piece_size` examples are evaluated in pieces, which bounds the memory: the
/// values are those of the whole batch, but for the order in which sums over examples are made.
class Oracle {
 public:
  /// Keeps references: all four outlive the oracle. `piece_size`: a multiple of the network's ghost
  /// batches, if it mixes examples.
  Oracle(const Network& network, const Loss& loss, const Split& split, const Normalizer& normalizer,
         int64_t piece_size = kWholeBatches);

  static constexpr int64_t kWholeBatches = std::numeric_limits<int64_t>::max();

  const Network& network() const { return network_; }
  const Loss& loss() const { return loss_; }

  /// The layout of theta.
  const ParameterTable& table() const { return network_.table; }

  /// The examples that batches are made of.
  const Split& split() const { return split_; }

  /// Examples in the split.
  int64_t size() const { return split_.size(); }

  /// Gathers and normalizes the examples `indices` [n] int64 (CPU), as they are.
  Batch Load(const at::Tensor& indices) const { return Load(Examples{indices}); }
  /// Gathers, augments and normalizes.
  Batch Load(const Examples& examples) const;

  /// Whether the losses of examples depend on what else is in their batch (batch normalization).
  bool MixesExamples() const { return network_.MixesExamples(); }

  /// Calls visit(begin, piece) with what is evaluated at once: the batch itself, or the pieces
  /// [begin, begin + n') of one that is larger than the size of pieces.
  void ForEachPiece(const Batch& batch,
                    const std::function<void(int64_t begin, const Batch& piece)>& visit) const;

  /// Losses and gradients at theta [p]: the one code path of the mean gradient, whoever asks.
  /// `keep_graph`: for HessianVectorProduct, which then need not evaluate them again. A joined
  /// batch: only of a network that does not mix examples.
  Gradients Evaluate(const Batch& batch, const at::Tensor& theta, bool keep_graph = false) const;

  /// Evaluate, and then theta += scale Mean(), to the bit. Where all layers with parameters are fully
  /// connected, theta moves layer by layer while its part of the mean is made, which spares writing and
  /// reading p numbers.
  Gradients EvaluateAndMove(const Batch& batch, const at::Tensor& theta, double scale) const;

  /// Moves the running statistics by those of the evaluated batch (ParameterLayer::MoveStatistics).
  void MoveStatistics(const Gradients& evaluated, const at::Tensor& running) const;

  /// Logits [n, classes] at theta; no graph. `running`: the statistics that batch normalization
  /// takes; undefined: those of the batch.
  at::Tensor Logits(const Batch& batch, const at::Tensor& theta,
                    const at::Tensor& running = {}) const;

  /// Losses [n] of logits that Logits gave; no graph.
  at::Tensor LossesOf(const at::Tensor& logits, const Batch& batch) const;

  /// Losses [n] at theta; no graph.
  at::Tensor Losses(const Batch& batch, const at::Tensor& theta) const;

  /// H v [p], where H is the Hessian of the batch's mean loss at theta: exact, by double backward,
  /// at the cost of two more gradients. `evaluated`: with its graph, which is used up unless
  /// `again`.
  at::Tensor HessianVectorProduct(const Gradients& evaluated, const at::Tensor& v,
                                  bool again = false) const;

  /// (grad L(theta + r g) - g) / r [p] with g = evaluated.Mean(), the batch's gradient at theta: it
  /// tends to H g as r goes to 0 where the network has no kinks, in exact arithmetic.
  at::Tensor GradientDifference(const Batch& batch, const at::Tensor& theta,
                                const Gradients& evaluated, double r) const;

  /// Losses on theta + s * scale * direction at s = 0 and s = 1, and their exact derivatives by s
  /// at 0: slope = scale <grad L_i, direction>, curvature = scale^2 <direction, H_i direction>. One
  /// forward sweep for all of them (nn/layer.h).
  /// `evaluated`: what Evaluate found at this theta for the batch's first examples; saves their
  /// forward pass.
  LineLosses AlongLine(const Batch& batch, const at::Tensor& theta, const at::Tensor& direction,
                       double scale, bool curvature, const Gradients* evaluated = nullptr) const;

  /// L(moved) - L(theta) of a batch's mean loss L at moved [p], a scalar in double. `evaluated`: of
  /// this batch at theta.
  at::Tensor MeanChange(const Batch& batch, const Gradients& evaluated,
                        const at::Tensor& moved) const;

 private:
  friend Gradients;

  bool InPieces(const Batch& batch) const { return batch.size() > piece_size_; }
  /// Evaluate of a piece in one pass. weights [n]: of its losses in the mean loss.
  Gradients EvaluatePiece(const Batch& piece, const at::Tensor& theta, const at::Tensor& weights,
                          bool keep_graph) const;
  /// The same without a graph, where all layers know their way back. `scale`: of EvaluateAndMove, where
  /// all layers with parameters are fully connected; null: theta stays.
  Gradients EvaluateByLayers(const Batch& piece, const at::Tensor& theta, const at::Tensor& weights,
                             const double* scale = nullptr) const;
  Gradients EvaluateInPieces(const Batch& batch, const at::Tensor& theta) const;

  const Network& network_;
  const Loss& loss_;
  const Split& split_;
  const Normalizer& normalizer_;
  int64_t piece_size_;
};

}  // namespace sgdscope
