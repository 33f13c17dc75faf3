// What the blocks of an update would do to the loss one at a time, against what they do together:
// equations 5 and 6 of `inherent_noise`. For a batch X, the step delta and its part delta_b in
// block b (a single weight in the paper):
//   separate        sum_b [L_X(theta) - L_X(theta + delta_b)], equation 5
//   separate_se     its standard error: 0 where every block was moved, else from a sample (how far
//                   it is to be trusted: below)
//   delta_loss      L_X(theta) - L_X(theta + delta)
//   penalty         delta_loss - separate: the second term of equation 6
//   dot             -<grad L_X, delta>: what the paper takes for `separate` (equation 10)
//   taylor_penalty  delta_loss - dot: what the paper takes for `penalty` (equation 11)
// All of it in double, whatever the run's type.
//
// A weight moves the output of one unit only, so a variant of the network with one weight moved
// costs the layers behind that unit, of which the first needs one column of its weights.
//
// Sampled, each layer l by itself: blocks are drawn with probability q_b = |delta_b|^2 /
// |delta_l|^2, and first orders need no sampling, since their sum is known:
//   separate_l = -<grad_l, delta_l> + mean over draws of r_b / q_b,
//   r_b = L_X(theta) - L_X(theta + delta_b) + <grad_b, delta_b>
// r_b is of second order in delta_b, so r_b / q_b varies no more than curvature does. It is skewed
// where few blocks carry the curvature, and few draws then miss what makes both the sum and its
// error large. Of sums of a small network's weights 0.2 to 1 % (2 % in the worst network) lie more
// than 3 standard errors off with 100 draws from each layer and more, 1 to 4 % with 10 and 3 to 8 %
// with 5: Student's tails with draws - 1 degrees of freedom, or two to three times as heavy ones.

#include <algorithm>
#include <utility>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "nn/dense_chain.h"
#include "probes/probe.h"
#include "probes/unit_variants.h"

namespace sgdscope {
namespace {

/// A batch at theta, and where the step takes it; in double.
struct Moved {
  const Oracle& oracle;
  Batch batch;
  at::Tensor theta;     // [p]
  at::Tensor delta;     // [p]
  Gradients evaluated;  // at theta
  at::Tensor loss;      // scalar, at theta
};

/// An estimate and the variance of its error.
struct Estimate {
  at::Tensor value;
  at::Tensor variance;
};

/// One layer's part of the move, cut into blocks: its weights, numbered unit by unit, or its units.
class LayerMove {
 public:
  LayerMove(const Moved& moved, const UnitVariants& variants, size_t tap, bool single_weights)
      : moved_(moved),
        variants_(variants),
        tap_(tap),
        single_weights_(single_weights),
        delta_(variants.Rows(tap, moved.delta)),
        inputs_(variants.Inputs(tap).t().contiguous()) {}

  int64_t size() const { return single_weights_ ? delta_.numel() : delta_.size(0); }  // blocks
  const at::Tensor& delta() const { return delta_; }  // [units, weights]
  at::Tensor gradient() const { return variants_.Rows(tap_, moved_.evaluated.Mean()); }  // the same

  /// Of values [units, weights], the sum over each block: [size()].
  at::Tensor SumOfBlocks(const at::Tensor& values) const {
    return single_weights_ ? values.flatten() : values.sum(1);
  }

  /// Blocks that Gains can be asked for at a time.
  int64_t tile() const {
    const std::vector<Tap>& taps = moved_.evaluated.taps;
    int64_t width =
        1;  // numbers that one example of a variant takes: up to the second layer behind, 1
    for (size_t i = tap_ + 1; i + 1 < taps.size(); ++i) {
      width = std::max(width, taps[i].output.size(1));
    }
    return std::max<int64_t>(1, kTileNumbers / (inputs_.size(1) * width));
  }

  /// L(theta) - L(theta + delta_b) of some blocks [m].
  at::Tensor Gains(const at::Tensor& blocks) const {
    const auto [units, shift] = single_weights_ ? WeightMoves(blocks) : UnitMoves(blocks);
    return variants_.Changes(tap_, units, shift).neg();
  }

 private:
  static constexpr int64_t kTileNumbers = 1 << 18;  // 2 MiB of doubles stay in the cache

  std::pair<at::Tensor, at::Tensor> WeightMoves(const at::Tensor& blocks) const {
    const int64_t weights = delta_.size(1);
    const at::Tensor inputs = inputs_.index_select(0, blocks.remainder(weights));  // [m, n]
    const at::Tensor delta = delta_.flatten().index_select(0, blocks).unsqueeze(1);
    return {blocks.div(weights, "floor"), inputs.mul(delta)};
  }

  std::pair<at::Tensor, at::Tensor> UnitMoves(const at::Tensor& blocks) const {
    return {blocks, delta_.index_select(0, blocks).mm(inputs_)};
  }

  const Moved& moved_;
  const UnitVariants& variants_;
  size_t tap_;
  bool single_weights_;
  at::Tensor delta_;   // [units, weights]
  at::Tensor inputs_;  // [weights, n]
};

class SeparateUpdates : public Probe {
 public:
  SeparateUpdates() : Probe(Cadence::EverySteps(100)) { batches_.names = {"updating"}; }

  /// Only in weight matrices does a weight, or a row, move the output of one unit by one number.
  bool NeedsWholeBatch() const override { return block_ != kTensor; }

  void CheckNetwork(const Network& network, const std::string& path) const override {
    if (block_ == kTensor) return;
    for (const Parameter& parameter : network.table.parameters()) {
      if (parameter.shape.size() == 2 || parameter.is_bias) continue;
      Refuse(path, ", but " + parameter.name + " is no weight matrix");
    }
    if (const Layer* layer = InTheWayOfDenseChain(*network.root)) {
      const std::string text = layer->Describe();
      Refuse(path,
             " one after another up to the logits, with only elementwise ones between "
             "them, but there is another one: " +
                 text.substr(0, text.find('\n')));
    }
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values;
    for (const std::string& batch : batches_.names) {
      for (const char* term :
           {"separate", "separate_se", "delta_loss", "penalty", "dot", "taylor_penalty"}) {
        values.push_back(batch + "." + term);
      }
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < batches_.size(); ++i) rows.push_back(RowOf(view, i));
    return at::cat(rows);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    batches_.Fields(visitor);
    visitor.Visit({.name = "block",
                   .help = "what moves at a time: a single weight (the paper's sum), the weights "
                           "into one unit with its bias, or a weight matrix or bias",
                   .paper = "inherent_noise equations 5 and 6",
                   .allowed = BlockNames()},
                  block_);
    visitor.Visit({.name = "exact_up_to",
                   .help = "layers of more blocks than this are sampled; the rest is exact",
                   .unit = "blocks",
                   .min = 0,
                   .max = 1e12},
                  exact_up_to_);
    visitor.Visit({.name = "samples",
                   .help = "blocks drawn from each layer that is sampled; below some 100 the "
                           "standard error is itself rough: errors beyond 3 of it are at least as "
                           "frequent as Student's distribution with samples - 1 degrees of freedom "
                           "has them",
                   .unit = "blocks",
                   .min = 2,
                   .max = 1e9},
                  samples_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    batches_.Check(context);
    seed_ = context.seed;
  }

 private:
  [[noreturn]] void Refuse(const std::string& path, const std::string& why) const {
    throw Error(ErrorKind::kConfig, path + ".block",
                "\"" + block_ + "\" needs a network of fully connected layers" + why,
                "Use \"block\": \"tensor\", which any network allows, or the model mlp.");
  }

  at::Tensor RowOf(const StepView& view, int64_t i) const {
    const auto options = view.theta.options().dtype(at::kDouble);
    const std::optional<Examples> examples = batches_.ExamplesAt(view, i);
    if (!examples) return at::full({6}, kNotMeasured, options);
    const Moved moved = Move(view, *examples);
    const Estimate separate = Separate(moved, view.step);
    const at::Tensor delta_loss =
        moved.loss.sub(MeanLoss(moved.oracle.Losses(moved.batch, moved.theta.add(moved.delta))));
    const at::Tensor dot = at::dot(moved.evaluated.Mean(), moved.delta).neg();
    return at::stack({separate.value, separate.variance.sqrt(), delta_loss,
                      delta_loss.sub(separate.value), dot, delta_loss.sub(dot)});
  }

  static Moved Move(const StepView& view, const Examples& examples) {
    Moved moved{view.oracle,
                view.oracle.Load(examples),
                view.theta.to(at::kDouble),
                view.update.direction.to(at::kDouble).mul(view.update.scale),
                {},
                {}};
    moved.batch.inputs = moved.batch.inputs.to(at::kDouble);
    moved.evaluated = view.oracle.Evaluate(moved.batch, moved.theta);
    moved.loss = MeanLoss(moved.evaluated.losses);
    return moved;
  }

  Estimate Separate(const Moved& moved, int64_t step) const {
    Estimate sum{at::zeros_like(moved.loss), at::zeros_like(moved.loss)};
    if (block_ == kTensor) {
      for (const Parameter& parameter : moved.oracle.table().parameters()) {
        sum.value = sum.value.add(GainOfTensor(moved, parameter));
      }
      return sum;
    }
    const UnitVariants variants(moved.oracle, moved.batch, moved.theta, moved.evaluated);
    Stream stream(seed_, "separate_updates", static_cast<uint64_t>(step));
    for (size_t tap = 0; tap < moved.evaluated.taps.size(); ++tap) {
      const Estimate part = OfLayer(moved, variants, tap, stream);
      sum = {sum.value.add(part.value), sum.variance.add(part.variance)};
    }
    return sum;
  }

  static at::Tensor GainOfTensor(const Moved& moved, const Parameter& parameter) {
    at::Tensor theta = moved.theta.clone();
    theta.narrow(0, parameter.offset, parameter.size)
        .add_(moved.delta.narrow(0, parameter.offset, parameter.size));
    return moved.loss.sub(MeanLoss(moved.oracle.Losses(moved.batch, theta)));
  }

  Estimate OfLayer(const Moved& moved, const UnitVariants& variants, size_t tap,
                   Stream& stream) const {
    const LayerMove layer(moved, variants, tap, block_ == kWeight);
    if (layer.size() > exact_up_to_) return Sampled(layer, stream);
    at::Tensor sum = at::zeros_like(moved.loss);
    for (int64_t begin = 0; begin < layer.size(); begin += layer.tile()) {
      const int64_t end = std::min(begin + layer.tile(), layer.size());
      sum.add_(
          layer.Gains(at::arange(begin, end, moved.batch.labels.options().dtype(at::kLong))).sum());
    }
    return {sum, at::zeros_like(sum)};
  }

  Estimate Sampled(const LayerMove& layer, Stream& stream) const {
    const at::Tensor sizes = layer.SumOfBlocks(layer.delta().square());  // |delta_b|^2
    const at::Tensor first_orders = layer.SumOfBlocks(layer.delta().mul(layer.gradient())).neg();
    const at::Tensor below = sizes.cumsum(0);
    const at::Tensor total = below[-1];
    const at::Tensor draws = at::searchsorted(below, Uniforms(stream).to(below.device()).mul(total),
                                              /*out_int32=*/false, /*right=*/true)
                                 .clamp_max(layer.size() - 1);
    std::vector<at::Tensor> gains;
    for (const at::Tensor& tile : draws.split(layer.tile())) gains.push_back(layer.Gains(tile));
    const at::Tensor r = at::cat(gains).sub(first_orders.index_select(0, draws));
    // Where nothing of the layer moved, 0 / 0 means 0. Any other NaN stays what it is.
    const at::Tensor drawn = sizes.index_select(0, draws);
    const at::Tensor terms = r.div(drawn).mul(total).masked_fill(drawn.eq(0), 0);
    return {first_orders.sum().add(terms.mean()),
            terms.var(/*unbiased=*/true).div(static_cast<double>(samples_))};
  }

  at::Tensor Uniforms(Stream& stream) const {
    at::Tensor uniforms = at::empty({samples_}, at::kDouble);
    for (int64_t i = 0; i < samples_; ++i) uniforms.data_ptr<double>()[i] = stream.Uniform();
    return uniforms;
  }

  BatchChoice batches_;
  std::string block_ = kWeight;
  int64_t exact_up_to_ = 100'000;
  int64_t samples_ = 1000;
  uint64_t seed_ = 0;
};

const Registration<Probe, SeparateUpdates> kRegistration(
    "separate_updates",
    "what the weights of an update would do to the loss one at a time, exact or sampled",
    {.base = R"({"recent_lag": 2, "long_ago_lag": 9})",
     .variants = {R"({"exact_up_to": 10, "samples": 5})", R"({"block": "tensor"})"}});

}  // namespace
}  // namespace sgdscope
