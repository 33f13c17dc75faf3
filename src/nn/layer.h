#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/torch.h"
#include "kernels/kernels.h"

// Layers by what can be asked of them. Every Layer has a forward pass, also along a line. One with
// parameters (ParameterLayer) knows its part of the gradient, one that treats each example by
// itself (ExampleLayer) the parts of single examples, too, and a fully connected one (DenseLayer)
// which weights lead into a unit. Layers read their parameters from the flat vector theta [p] in
// which each owns a contiguous piece (nn/parameter_table.h).

namespace sgdscope {

class ParameterLayer;

/// What a layer with parameters keeps of its forward pass, so that its part of the gradient follows
/// from the derivative of the losses by `output`.
struct Tap {
  const ParameterLayer* layer;
  at::Tensor input;  // [n, ...]
  /// [n, ...], before the nonlinearity; undefined where the layer didn't keep it (Layer::ForwardTo).
  at::Tensor output;
  /// Of a layer that normalizes: mean and 1 / sqrt(variance + epsilon) of each of the parts of the
  /// batch that it normalizes by themselves, [parts, 2, channels] in double.
  at::Tensor moments = {};
  /// Of such a layer, once its way back has been gone: what its part of the gradient is made of.
  at::Tensor sums = {};
};

/// The way back through the layers of a forward pass, without autograd and to the bit the same.
struct WayBack {
  /// From the derivative d of the losses by a layer's output to that by its input.
  using Step = std::function<at::Tensor(const at::Tensor& d)>;
  std::vector<Step> steps;  // in the order of the forward pass, none before the first tap
  /// Of the losses, by the output of each tap.
  std::vector<at::Tensor> output_gradients;
  /// Between a layer's positive part (DenseLayer::ForwardPositive) and the layer after it: the former,
  /// where which is at most 0 the latter's step gives 0.
  at::Tensor positive;
  /// Called with the number of a tap once the way back has passed its layer, which needs its weights no
  /// longer; may be empty.
  std::function<void(size_t tap)> passed = {};

  /// Goes steps, the last one first, from the derivative by what their layers made.
  static at::Tensor Go(std::vector<Step>& steps, at::Tensor d) {
    for (; !steps.empty(); steps.pop_back()) d = steps.back()(d);
    return d;
  }
};

/// What is made of a layer's output z in the same pass over it: z + add, or z itself where there is
/// nothing to add; and of that the positive part, or not.
struct End {
  at::Tensor add = {};
  bool positive = false;
};

/// One forward pass at theta. With `taps`, outputs of parameter layers are recorded and made
/// differentiable; theta itself never is, so autograd carries derivatives from tap to tap and the
/// layers write their parameters' gradients straight to their place in g [p].
struct Pass {
  at::Tensor theta;                  // [p]
  std::vector<Tap>* taps = nullptr;  // null: don't record
  /// The running statistics to normalize by (Network::statistics); undefined: those of the batch.
  at::Tensor running = {};
  /// With `taps` and no autograd: where layers that know it (Layer::KnowsWayBack) add theirs.
  WayBack* back = nullptr;
};

/// A value on the line theta + s * scale * direction: at s = 0, its first and second derivative by
/// s there, and the value at s = 1. An undefined slope or curvature is zero; an undefined `moved`
/// means that the value is the same all along the line, as for the inputs.
struct Line {
  at::Tensor value;
  at::Tensor slope;
  at::Tensor curvature;
  at::Tensor moved;
};

struct LinePass {
  at::Tensor theta;      // [p]
  at::Tensor direction;  // [p]
  double scale;          // theta moves to theta + scale * direction
  bool curvature;        // whether second derivatives are asked for
  /// Taps of a pass at theta over the first examples, whose outputs need not be computed again; may
  /// be null.
  const std::vector<Tap>* known = nullptr;
  /// Sizes of the batches that follow one another in the examples, where they are more than one:
  /// what normalizes by the batch's own statistics keeps them apart.
  std::vector<int64_t> batches = {};
};

/// A map from activations to activations. Layers are immutable after construction and modify no
/// tensor in place.
class Layer {
 public:
  virtual ~Layer() = default;

  /// h [n, ...] to output [n, ...].
  virtual at::Tensor Forward(const at::Tensor& h, const Pass& pass) const = 0;

  /// What `end` makes of Forward(h), to the bit; without a graph. As it stands, in passes of its own.
  /// The way back begins at what it returns; but where something is added, at the sum before its
  /// positive part is taken, and who adds goes the rest.
  virtual at::Tensor ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const;

  /// Forward of max(z, 0), to the bit; without a graph, where TakesPositivePart.
  virtual at::Tensor ForwardOfPositive(const at::Tensor& z, const Pass& pass) const;

  /// Whether it takes its input's positive part in its own pass over it.
  virtual bool TakesPositivePart() const { return false; }

  /// Forward for a value on a line: directional derivatives of first and second order by the chain
  /// rule, in one sweep (forward mode), without building a graph.
  virtual Line ForwardLine(const Line& h, const LinePass& pass) const = 0;

  /// The layers that this one is made of, in the order in which Forward passes through them.
  virtual std::vector<const Layer*> Inside() const { return {}; }

  /// One line for `describe`: kind and sizes; of a layer made of others, theirs follow.
  virtual std::string Describe() const = 0;

  /// Whether it is max(h, 0), number by number.
  virtual bool IsPositivePart() const { return false; }

  /// Whether Forward adds to Pass::back, and so do all layers inside. A network that doesn't know its
  /// way back is differentiated by autograd.
  virtual bool KnowsWayBack() const { return false; }

 protected:
  /// What `end` makes of z, in passes of its own; with its step back, as of ForwardTo.
  static at::Tensor Ended(const at::Tensor& z, const End& end, const Pass& pass);
};

/// Calls visit(layer), and then the same for each layer inside it, in the order of Forward.
void ForEachLayer(const Layer& layer, const std::function<void(const Layer&)>& visit);

/// A layer without parameters that makes the k-th number of an example's output from the k-th one
/// of its input, by one function for all k: so Forward takes any of these numbers, [m, n].
class ElementwiseLayer : public Layer {};

/// A layer with parameters: its Forward records a tap where the pass asks for them.
class ParameterLayer : public Layer {
 public:
  /// Writes this layer's part of sum_i dL_i/dtheta to its place in `gradient` [p], given its
  /// recorded input and the derivatives of the losses by its output.
  virtual void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                             const at::Tensor& gradient) const = 0;

  /// [n, ...]: by how much the output moves for each 1 that this layer's parameters move along v
  /// [p] while its input stays. Differentiable in tap.input.
  virtual at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const = 0;

  /// Writes, to this layer's place in `slope` [p], by how much what WriteGradient writes moves for
  /// each 1 that the input moves along input_slope (undefined: not at all) and the derivative d of
  /// the losses along d_slope.
  virtual void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope,
                                  const at::Tensor& d, const at::Tensor& d_slope,
                                  const at::Tensor& slope) const = 0;

  /// Moves this layer's place in the running statistics (Network::statistics) to (1 - momentum)
  /// running + momentum seen, where `seen` is the mean and the unbiased variance of each channel of
  /// the recorded input; once for each part that was normalized by itself. Most layers keep none.
  virtual void MoveStatistics(const Tap& tap, double momentum, const at::Tensor& running) const {
    (void)tap, (void)momentum, (void)running;
  }
};

/// A layer with parameters in which examples don't mix: what single ones add to its part of the
/// gradient, without ever forming [n, p]. d [n, ...]: derivative of the losses by `tap.output`;
/// g_i: this layer's piece of the gradient of example i, whose loss has the derivative d_i.
class ExampleLayer : public ParameterLayer {
 public:
  /// |g_i|^2 [n], in double.
  virtual at::Tensor SquaredNorms(const Tap& tap, const at::Tensor& d) const = 0;
  /// <g_i, v> [n], in double, with this layer's piece of v [p].
  virtual at::Tensor Dots(const Tap& tap, const at::Tensor& d, const at::Tensor& v) const = 0;
  /// <g_i, g_j> [n, n], in double.
  virtual at::Tensor Gram(const Tap& tap, const at::Tensor& d) const = 0;
  /// Takes a tile [groups, m] of sums of g_i over groups of n / groups examples that follow one
  /// another, for m coordinates of theta from `offset` on.
  using UseTile = std::function<void(int64_t offset, const at::Tensor& tile)>;
  /// Hands out all of this layer's coordinates in tiles, of at most `max_numbers` numbers where m
  /// = 1 allows it.
  virtual void ForEachTile(const Tap& tap, const at::Tensor& d, int64_t groups, int64_t max_numbers,
                           const UseTile& use) const = 0;
  /// Writes, to this layer's place in `out` [p], what `how` makes of the n values of each
  /// coordinate. As it stands, by tiles.
  virtual void Reduce(const Tap& tap, const at::Tensor& d, const kernels::Reduction& how,
                      int64_t max_numbers, const at::Tensor& out) const;
  /// Writes, to this layer's place in `out` [p], sum_i g_i^2 of each coordinate. As it stands, by
  /// tiles.
  virtual void WriteSquares(const Tap& tap, const at::Tensor& d, int64_t max_numbers,
                            const at::Tensor& out) const;
};

/// A fully connected layer: z = h W^T + b of h [n, in].
class DenseLayer : public ExampleLayer {
 public:
  /// Of v [p], what belongs to W: [out, in], a view.
  virtual at::Tensor Weight(const at::Tensor& v) const = 0;
  /// Of v [p], what belongs to b: [out], a view; undefined where there is no bias.
  virtual at::Tensor Bias(const at::Tensor& v) const = 0;
  /// The positive part of what Forward gives, in the same pass over it, where there is no autograd.
  /// Leaves its way back to the layer that follows, a DenseLayer.
  virtual at::Tensor ForwardPositive(const at::Tensor& h, const Pass& pass) const = 0;
  /// Adds, `scale` times, what WriteGradient writes to its place in `to` [p], to the bit as AddMultiple
  /// (nn/add_multiple.h) would from there, in the pass that makes it.
  virtual void AddGradient(const Tap& tap, const at::Tensor& output_gradient, double scale,
                           const at::Tensor& to) const = 0;
};

}  // namespace sgdscope
