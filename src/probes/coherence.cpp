// How much of a step's first-order decrease in loss is due to the pristine (p) and to the corrupt
// examples (c) of the updating batch, under label noise: coherent_gradients, section 2.4. With g
// the sum of the gradients g_i of the batch's examples, g^p and g^c those over p and c:
//   f_p, f_c  <g, g^p> / <g, g> and <g, g^c> / <g, g>; f_p + f_c = 1
//   i_p, i_c  running sums over the steps of <g, g^p> / |p| and <g, g^c> / |c|
// whatever the estimator makes of the gradients. Both follow from <g_i, g> alone. The paper samples
// 400 examples and 600 weights; here it is all weights and all examples of the batch.
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

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
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
    if (!whole_set_) return values;
    for (const std::string& world : WorldNames()) {
      for (const char* value : {"f_p", "f_c"}) values.push_back("whole." + world + value);
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    if (!corrupt_.defined()) corrupt_ = MakeWorlds(view.oracle.split().corrupt);
    const at::Tensor values = OfBatch(view);
    if (!whole_set_) return values;
    return at::cat({values, LogsAt(view.step) ? OfWholeSet(view) : NothingOfWholeSet()});
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
  }

  void OwnPrepare(const ProbeContext& context) override {
    if (!context.label_noise) {
      throw Error(ErrorKind::kConfig, context.path,
                  "coherence compares pristine with corrupt examples, but the data has no label "
                  "noise",
                  "Add \"label_noise\": {\"fraction\": 0.25} to data, or remove the probe.");
    }
    seed_ = context.seed;
  }

  bool EveryStep() const override { return cumulative_.EveryStep(); }

 private:
  std::vector<std::string> WorldNames() const {
    std::vector<std::string> names = {""};
    for (int64_t k = 1; k <= nulls_; ++k) names.push_back("null" + std::to_string(k) + ".");
    return names;
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

  at::Tensor OfWholeSet(const StepView& view) const {
    const Examples all = AllExamples(view.oracle);
    const int64_t size = PieceSize(view.sampler);
    const at::Tensor g =
        MeanGradient(view.oracle, all, view.theta, size).to(view.theta.scalar_type());
    const at::Tensor parts = at::zeros_like(sums_);
    ForEachPiece(view.oracle, all, view.theta, size,
                 [&](const Batch& batch, const Gradients& gradients) {
                   parts.add_(Groups(batch).matmul(Dots(gradients, g)));
                 });
    return Fractions(parts).flatten();
  }

  at::Tensor NothingOfWholeSet() const { return at::full_like(sums_, kNotMeasured).flatten(); }

  int64_t nulls_ = 3;
  Cumulative cumulative_;
  bool whole_set_ = false;
  uint64_t seed_ = 0;
  at::Tensor corrupt_;  // [worlds, N] bool; made when the data is first seen
  at::Tensor sums_;     // [worlds, 2]: i_p, i_c
};

const Registration<Probe, Coherence> kRegistration(
    "coherence", "shares of pristine and corrupt examples in the decrease of the loss",
    {.variants = {R"({"cumulative": "logged", "whole_set": true})",
                  R"({"cumulative": "none", "nulls": 0})"}});

}  // namespace
}  // namespace sgdscope
