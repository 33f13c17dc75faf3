#pragma once

#include <cstdint>
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
  at::Tensor labels;   // [n] int64
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

/// Results of one forward and one backward pass. Of a joined batch, "the mean loss" is the sum of
/// its parts' mean losses.
class Gradients {
 public:
  at::Tensor losses;                         // [n], per example, without 1/n
  at::Tensor logits;                         // [n, classes]
  std::vector<Tap> taps;                     // what the layers saw; for AlongLine and PerExample
  std::vector<at::Tensor> output_gradients;  // of the mean loss, by the output of each tap
  /// Where the graph was kept: of the mean loss, by the input of each tap; undefined for the inputs
  /// of the network. Both kinds can then be differentiated.
  std::vector<at::Tensor> input_gradients;
  int64_t parameters;  // p

  /// Gradient of the mean loss [p]. Made when first asked for: robust estimators do without it.
  const at::Tensor& Mean() const;

  /// The gradient [p] in which what example i adds counts weights[i] times; weights: [n].
  at::Tensor Weighted(const at::Tensor& weights) const;

  /// The results of part [begin, begin + size) of a joined batch, without a graph.
  Gradients OfPart(int64_t begin, int64_t size) const;

 private:
  mutable at::Tensor mean_;
};

/// Turns batches into losses and gradients of one network, loss and split. Nothing here writes
/// theta.
class Oracle {
 public:
  /// Keeps references: all four outlive the oracle.
  Oracle(const Network& network, const Loss& loss, const Split& split,
         const Normalizer& normalizer);

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

  /// Losses and gradients at theta [p]: the one code path of the mean gradient, whoever asks.
  /// `keep_graph`: for HessianVectorProduct, which then need not evaluate them again. A joined
  /// batch: only of a network that does not mix examples.
  Gradients Evaluate(const Batch& batch, const at::Tensor& theta, bool keep_graph = false) const;

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
  const Network& network_;
  const Loss& loss_;
  const Split& split_;
  const Normalizer& normalizer_;
};

}  // namespace sgdscope
