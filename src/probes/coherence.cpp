// How much of a step's first-order decrease in loss is due to the pristine (p) and to the corrupt
// examples (c) of the updating batch, under label noise: coherent_gradients, section 2.4. With g
// the sum of the gradients g_i of the batch's examples, g^p and g^c those over p and c:
//   f_p, f_c  <g, g^p> / <g, g> and <g, g^c> / <g, g>; f_p + f_c = 1
//   i_p, i_c  running sums over the steps of <g, g^p> / |p| and <g, g^c> / |c|
// whatever the estimator makes of the gradients. Both follow from <g_i, g> alone: all weights and
// all examples of the batch are in them.
//
// Departure: the paper divides its sums by the number of pristine examples, which is one number.
// Those of minibatches differ, so each step is divided by the number in its own batch (and a batch
// without any adds 0): i_p is the sum over the steps of what an average pristine example of the
// batch contributed. On full batches it is the paper's. Times learning_rate / n it is, to first
// order, by how much plain SGD has lowered the loss of such an example.
//
// <g, g_i> holds |g_i|^2, an example's part in its own decrease. In a small batch of dissimilar
// examples that is most of it, and the examples with long gradients dominate; m_coherence of the
// probe covariance near 1 says so. In the whole training set it vanishes.
//
// nullK.*: null worlds in which the designations are permuted among all training examples, once for
// the whole run. whole.*: f_p and f_c of the whole training set at theta (if `whole_set`).
//
// sample.*: the estimate of these that the paper draws, from 400 examples and 600 weights, 300 of
// each of its two layers (if `sample_examples`). g and g_i are then of the sampled examples, and
// all products are over the sampled weights alone: <g_i, m g> with the mask m of these. The paper
// does not say whether it draws anew from step to step; here the sample stays the same.

#include <algorithm>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "gradients/per_example.h"
#include "gradients/pieces.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

/// <g_i, v> [n] of a batch.
at::Tensor Dots(const Gradients& gradients, const at::Tensor& v) {
  return PerExample(gradients, TileMemory()).Dots(v);
}

/// f_p, f_c [worlds, 2] from <g, g^p>, <g, g^c>.
at::Tensor Fractions(const at::Tensor& parts) { return Ratio(parts, parts.sum(1, true)); }

class Coherence : public Probe {
 public:
  void CheckNetwork(const Network& network, const std::string& path) const override {
    CheckSingleExamples(network, path);
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values;
    for (const std::string& world : WorldNames()) {
      for (const char* value : {"f_p", "f_c"}) values.push_back(world + value);
      if (!cumulative_.Kept()) continue;
      for (const char* value : {"i_p", "i_c"}) values.push_back(world + value);
    }
    for (const std::string& set : SetNames()) {
      for (const std::string& world : WorldNames()) {
        for (const char* value : {"f_p", "f_c"}) values.push_back(set + world + value);
      }
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    if (!corrupt_.defined()) corrupt_ = MakeWorlds(view.oracle.split().corrupt);
    std::vector<at::Tensor> values = {OfBatch(view)};
    const bool logs = LogsAt(view.step);
    if (whole_set_) {
      values.push_back(logs ? OfSet(view, AllExamples(view.oracle), {}) : NothingOfSet());
    }
    if (sample_examples_) {
      if (!weights_.defined()) weights_ = DrawWeights(view.oracle.table()).to(view.theta.device());
      values.push_back(logs ? OfSet(view, {examples_}, weights_) : NothingOfSet());
    }
    return at::cat(values);
  }

  void Allocate(const at::Tensor& theta) override {
    sums_ = at::zeros({nulls_ + 1, 2}, theta.options().dtype(at::kDouble));
  }

  std::map<std::string, at::Tensor> State() const override {
    if (!cumulative_.Kept()) return {};
    return {{"sums", sums_}};
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "nulls",
                   .help = "null worlds, in which it is random who is corrupt",
                   .paper = "coherent_gradients section 2.4",
                   .min = 0,
                   .max = 1000},
                  nulls_);
    cumulative_.Fields(visitor, "i_p and i_c", "coherent_gradients figure 3");
    visitor.Visit({.name = "whole_set",
                   .help = "also f_p and f_c of the whole training set, in two passes over it at "
                           "each logged step",
                   .paper = "coherent_gradients figure 2"},
                  whole_set_);
    visitor.Visit({.name = "sample_examples",
                   .help = "also f_p and f_c as estimated from so many examples and from "
                           "sample_weights of each layer, drawn once for the whole run, at each "
                           "logged step",
                   .unit = "examples",
                   .paper = "coherent_gradients section 2.4: 400",
                   .min = 1,
                   .max = 1e9},
                  sample_examples_);
    visitor.Visit({.name = "sample_weights",
                   .help = "for sample_examples: weights of each layer, biases not among them; of "
                           "a layer with fewer all",
                   .unit = "weights",
                   .paper = "coherent_gradients section 2.4",
                   .min = 1,
                   .max = 1e9},
                  sample_weights_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    if (!context.label_noise) {
      throw Error(ErrorKind::kConfig, context.path,
                  "coherence compares pristine with corrupt examples, but the data has no label "
                  "noise",
                  "Add \"label_noise\": {\"fraction\": 0.25} to data, or remove the probe.");
    }
    seed_ = context.seed;
    if (!sample_examples_) return;
    if (*sample_examples_ > context.examples) {
      throw Error(ErrorKind::kConfig, context.path + ".sample_examples",
                  "found " + std::to_string(*sample_examples_) +
                      ", but the training set has only " + std::to_string(context.examples),
                  "Give at most that many, or leave it out.");
    }
    Stream stream(seed_, "coherence_sample", 0);
    examples_ = DrawDistinct(stream, *sample_examples_, context.examples);
  }

  bool EveryStep() const override { return cumulative_.EveryStep(); }

 private:
  std::vector<std::string> WorldNames() const {
    std::vector<std::string> names = {""};
    for (int64_t k = 1; k <= nulls_; ++k) names.push_back("null" + std::to_string(k) + ".");
    return names;
  }

  std::vector<std::string> SetNames() const {
    std::vector<std::string> names;
    if (whole_set_) names.emplace_back("whole.");
    if (sample_examples_) names.emplace_back("sample.");
    return names;
  }

  /// Places in theta of the sampled weights.
  at::Tensor DrawWeights(const ParameterTable& table) const {
    std::vector<at::Tensor> places;
    for (const Parameter& parameter : table.parameters()) {
      if (parameter.is_bias) continue;
      Stream stream(seed_, "coherence_sample", 1 + places.size());
      const int64_t count = std::min(sample_weights_, parameter.size);
      places.push_back(DrawDistinct(stream, count, parameter.size).add(parameter.offset));
    }
    return at::cat(places);
  }

  /// The designations `corrupt` [N] bool of the data, and of each null world: [worlds, N].
  at::Tensor MakeWorlds(const at::Tensor& corrupt) const {
    std::vector<at::Tensor> worlds = {corrupt};
    for (int64_t k = 1; k <= nulls_; ++k) {
      Stream stream(seed_, "coherence_null", static_cast<uint64_t>(k));
      const at::Tensor order = at::tensor(Permutation(stream, corrupt.size(0)), at::kLong);
      worlds.push_back(corrupt.index_select(0, order.to(corrupt.device())));
    }
    return at::stack(worlds);
  }

  /// [worlds, 2, n]: 1 where an example is pristine and where it is corrupt, else 0.
  at::Tensor Groups(const Batch& batch) const {
    const at::Tensor indices = batch.indices.to(corrupt_.device(), /*non_blocking=*/true);
    const at::Tensor corrupt = corrupt_.index_select(1, indices);
    return at::stack({corrupt.logical_not(), corrupt}, 1).to(at::kDouble);
  }

  at::Tensor OfBatch(const StepView& view) {
    const auto n = static_cast<double>(view.batch.size());
    const at::Tensor groups = Groups(view.batch);
    const at::Tensor dots = Dots(view.gradients, view.gradients.Mean()).mul(n);  // <g_i, g>
    const at::Tensor parts = groups.matmul(dots);  // <g, g^p>, <g, g^c>: [worlds, 2]
    const at::Tensor fractions = Fractions(parts);
    if (!cumulative_.Kept()) return fractions.flatten();
    sums_.add_(parts.div(groups.sum(2).clamp_min(1)));
    return at::cat({fractions, sums_}, 1).flatten();
  }

  /// f_p and f_c of some examples, from the weights at `places` in theta; undefined: from all.
  at::Tensor OfSet(const StepView& view, const Examples& examples, const at::Tensor& places) const {
    const int64_t size = PieceSize(view.sampler);
    at::Tensor g =
        MeanGradient(view.oracle, examples, view.theta, size).to(view.theta.scalar_type());
    if (places.defined()) g = at::zeros_like(g).index_copy(0, places, g.index_select(0, places));
    const at::Tensor parts = at::zeros_like(sums_);
    ForEachPiece(view.oracle, examples, view.theta, size,
                 [&](const Batch& batch, const Gradients& gradients) {
                   parts.add_(Groups(batch).matmul(Dots(gradients, g)));
                 });
    return Fractions(parts).flatten();
  }

  at::Tensor NothingOfSet() const { return at::full_like(sums_, kNotMeasured).flatten(); }

  int64_t nulls_ = 3;
  Cumulative cumulative_;
  bool whole_set_ = false;
  std::optional<int64_t> sample_examples_;
  int64_t sample_weights_ = 300;
  uint64_t seed_ = 0;
  at::Tensor examples_;  // of the sample, int64
  at::Tensor weights_;   // of the sample: places in theta, int64; made at the first measurement
  at::Tensor corrupt_;   // [worlds, N] bool; made when the data is first seen
  at::Tensor sums_;      // [worlds, 2]: i_p, i_c
};

const Registration<Probe, Coherence> kRegistration(
    "coherence", "shares of pristine and corrupt examples in the decrease of the loss",
    {.variants = {R"({"cumulative": "logged", "whole_set": true, "sample_examples": 6})",
                  R"({"cumulative": "none", "nulls": 0})"}});

}  // namespace
}  // namespace sgdscope
