#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/torch.h"
#include "kernels/kernels.h"

// Layers: a forward pass, the layer's part of the gradient, also of single examples, the forward
// pass along a line, and the one in which a single unit differs. They read their parameters from
// one flat vector theta [p], in which each layer owns a contiguous piece.

namespace sgdscope {

/// One named tensor inside theta.
struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset;
  int64_t size;
  int64_t fan_in;   // of the layer, also for its bias
  int64_t fan_out;  // of the layer, also for its bias
  bool is_bias;
  std::optional<double> start;  // of all its numbers; nothing: as the model's init says
};

/// Ways to cut theta into blocks: every number of its own; the weights into one unit with its bias;
/// a whole weight matrix or bias.
inline constexpr const char* kWeight = "weight";
inline constexpr const char* kUnit = "unit";
inline constexpr const char* kTensor = "tensor";
inline std::vector<std::string> BlockNames() { return {kWeight, kUnit, kTensor}; }

/// The layout of theta: parameters in the order of declaration, without gaps.
class ParameterTable {
 public:
  /// Appends a parameter; returns its place in theta.
  int64_t Add(const std::string& name, const std::vector<int64_t>& shape, int64_t fan_in,
              int64_t fan_out, bool is_bias, std::optional<double> start = {});
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t size() const { return size_; }  // p

  /// theta cut into blocks of one of BlockNames(): each block's places in theta, in theta's order
  /// of their first. Every place is in exactly one.
  std::vector<at::Tensor> Blocks(const std::string& kind) const;

 private:
  std::vector<Parameter> parameters_;
  int64_t size_ = 0;
};

class Layer;

/// What a layer with parameters keeps of its forward pass, so that its part of the gradient follows
/// from the derivative of the losses by `output`.
struct Tap {
  const Layer* layer;
  at::Tensor input;   // [n, ...]
  at::Tensor output;  // [n, ...], before the nonlinearity
  /// Of a layer that normalizes: mean and 1 / sqrt(variance + epsilon) of each of the parts of the
  /// batch that it normalizes by themselves, [parts, 2, channels] in double.
  at::Tensor moments = {};
};

/// One forward pass at theta. With `taps`, outputs of parameter layers are recorded and made
/// differentiable; theta itself never is, so autograd carries derivatives from tap to tap and the
/// layers write their parameters' gradients straight to their place in g [p].
struct Pass {
  at::Tensor theta;                  // [p]
  std::vector<Tap>* taps = nullptr;  // null: don't record
  /// The running statistics to normalize by (Network::statistics); undefined: those of the batch.
  at::Tensor running = {};
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

/// Activations on a batch of n examples in m variants: in variant v only the unit units[v] differs
/// from what the taps know, or (`units` undefined) anything may.
struct Variants {
  at::Tensor units;   // [m] int64, or undefined
  at::Tensor values;  // [m, n], of unit units[v]; or [m * n, ...], of all units
};

struct VariantPass {
  at::Tensor theta;              // [p]
  const std::vector<Tap>& taps;  // of the pass at theta that the variants differ from
  const Layer* from;             // the layer whose output differs
  const Layer* until;            // the layer to stop in front of
};

/// A map from activations to activations. Layers are immutable after construction and modify no
/// tensor in place.
class Layer {
 public:
  virtual ~Layer() = default;

  /// h [n, ...] to output [n, ...].
  virtual at::Tensor Forward(const at::Tensor& h, const Pass& pass) const = 0;

  /// Forward for a value on a line: directional derivatives of first and second order by the chain
  /// rule, in one sweep (forward mode), without building a graph.
  virtual Line ForwardLine(const Line& h, const LinePass& pass) const = 0;

  /// Forward in variants: the layers between `pass.from` and `pass.until` map what came out of the
  /// first to what goes into the second. A difference confined to one unit costs a layer one column
  /// of its weights.
  virtual Variants ForwardVariants(const Variants& h, const VariantPass& pass) const;

  /// [m, out]: by how much the output grows for each 1 by which unit units[v] of the input does.
  /// Only for fully connected layers.
  virtual at::Tensor Columns(const at::Tensor& theta, const at::Tensor& units) const;

  /// Of v [p], the parameters of each unit of this layer: [units, weights], the bias last. Only for
  /// fully connected layers.
  virtual at::Tensor UnitRows(const at::Tensor& v) const;
  /// [n, weights]: what each of a unit's parameters is multiplied by, so that its output moves by
  /// delta * input when a parameter moves by delta. Only for fully connected layers.
  virtual at::Tensor UnitInputs(const Tap& tap) const;

  /// Writes this layer's part of sum_i dL_i/dtheta to its place in `gradient` [p], given its
  /// recorded input and the derivatives of the losses by its output. Only for layers that record
  /// taps.
  virtual void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                             const at::Tensor& gradient) const;

  /// [n, ...]: by how much the output moves for each 1 that this layer's parameters move along v
  /// [p] while its input stays. Differentiable in tap.input. Only for layers that record taps.
  virtual at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const;
  /// Writes, to this layer's place in `slope` [p], by how much what WriteGradient writes moves for
  /// each 1 that the input moves along input_slope (undefined: not at all) and the derivative d of
  /// the losses along d_slope. Only for layers that record taps.
  virtual void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope,
                                  const at::Tensor& d, const at::Tensor& d_slope,
                                  const at::Tensor& slope) const;

  /// Moves this layer's place in the running statistics (Network::statistics) to (1 - momentum)
  /// running + momentum seen, where `seen` is the mean and the unbiased variance of each channel of
  /// the recorded input; once for each part that was normalized by itself. Most layers keep none.
  virtual void MoveStatistics(const Tap& tap, double momentum, const at::Tensor& running) const;

  // What single examples contribute, without ever forming [n, p]. d [n, ...]: derivative of the
  // losses by `tap.output`; g_i: this layer's piece of the gradient of example i, whose loss has
  // the derivative d_i. Only for layers that record taps.

  /// |g_i|^2 [n], in double.
  virtual at::Tensor SquaredNorms(const Tap& tap, const at::Tensor& d) const;
  /// <g_i, v> [n], in double, with this layer's piece of v [p].
  virtual at::Tensor Dots(const Tap& tap, const at::Tensor& d, const at::Tensor& v) const;
  /// <g_i, g_j> [n, n], in double.
  virtual at::Tensor Gram(const Tap& tap, const at::Tensor& d) const;
  /// Takes a tile [groups, m] of sums of g_i over groups of n / groups examples that follow one
  /// another, for m coordinates of theta from `offset` on.
  using UseTile = std::function<void(int64_t offset, const at::Tensor& tile)>;
  /// Hands out all of this layer's coordinates in tiles, of at most `max_numbers` numbers where m
  /// = 1 allows it.
  virtual void ForEachTile(const Tap& tap, const at::Tensor& d, int64_t groups, int64_t max_numbers,
                           const UseTile& use) const;
  /// Writes, to this layer's place in `out` [p], what `how` makes of the n values of each
  /// coordinate. As it stands, by tiles.
  virtual void Reduce(const Tap& tap, const at::Tensor& d, const kernels::Reduction& how,
                      int64_t max_numbers, const at::Tensor& out) const;
  /// Writes, to this layer's place in `out` [p], sum_i g_i^2 of each coordinate. As it stands, by
  /// tiles.
  virtual void WriteSquares(const Tap& tap, const at::Tensor& d, int64_t max_numbers,
                            const at::Tensor& out) const;

  /// One line for `describe`: kind and sizes.
  virtual std::string Describe() const = 0;
};

/// z = h W^T + b with W [out, in] row-major, then b [out] (if `bias`), declared in `table` under
/// `name`.
std::unique_ptr<Layer> MakeLinear(ParameterTable& table, const std::string& name, int64_t in,
                                  int64_t out, bool bias);

/// Convolution of images [n, in, height, width] with W [out, in, kernel, kernel] row-major, then b
/// [out] (if `bias`), declared in `table` under `name`. Zeros surround the image, `padding` wide.
std::unique_ptr<Layer> MakeConv2d(ParameterTable& table, const std::string& name,
                                  int64_t in_channels, int64_t out_channels, int64_t kernel,
                                  int64_t stride, int64_t padding, bool bias);

/// alpha h with one learnable number alpha, which starts at 0: the gain at the end of a residual
/// branch (SkipInit, De and Smith 2020).
std::unique_ptr<Layer> MakeScale(ParameterTable& table, const std::string& name);

/// Batch normalization of [n, channels, ...] (Ioffe and Szegedy 2015): gamma (h - mean) / sqrt(var
/// + 1e-5) + beta for each channel, where mean and biased variance are those of the batch. `ghost`:
/// of each `ghost` examples that follow one another, the last ones may be fewer (ghost batch
/// normalization, Hoffer et al. 2017); 0: of the whole batch. gamma starts at 1, beta at 0.
/// Declares its running mean and variance in `statistics`, which a pass may ask to be used instead.
std::unique_ptr<Layer> MakeBatchNorm(ParameterTable& table, ParameterTable& statistics,
                                     const std::string& name, int64_t channels, int64_t ghost);

/// shortcut(h) + branch(h); no shortcut: h + branch(h).
std::unique_ptr<Layer> MakeResidual(std::unique_ptr<Layer> branch, std::unique_ptr<Layer> shortcut);

/// The maximum of each window of kernel x kernel pixels that lies in the image: [n, c, height,
/// width] to [n, c, (height - kernel) / stride + 1, (width - kernel) / stride + 1]. Of equal maxima
/// the first one counts.
std::unique_ptr<Layer> MakeMaxPool2d(int64_t kernel, int64_t stride);
/// The mean of each channel: [n, c, height, width] to [n, c].
std::unique_ptr<Layer> MakeGlobalAveragePool();

/// Names that MakeActivation knows: "relu", "tanh", "identity".
std::vector<std::string> ActivationNames();
/// An elementwise nonlinearity; the derivative of relu at 0 is 0.
std::unique_ptr<Layer> MakeActivation(const std::string& name);

/// [n, ...] to [n, features].
std::unique_ptr<Layer> MakeFlatten();

/// Layers one after another.
class Sequence : public Layer {
 public:
  void Append(std::unique_ptr<Layer> layer) { layers_.push_back(std::move(layer)); }
  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override;
  Line ForwardLine(const Line& h, const LinePass& pass) const override;
  /// `pass.from` and `pass.until` are two of these layers.
  Variants ForwardVariants(const Variants& h, const VariantPass& pass) const override;
  std::string Describe() const override;

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace sgdscope
