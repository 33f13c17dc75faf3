// How near a step is to instability: curvature along steps, against the sharpness at which the
// update rule would no longer keep a quadratic loss bounded (Stability in updates/update_rule.h).
// With H_B the Hessian of a batch B's mean loss, g_B its gradient, and P the rule's metric (the
// identity for sgd, the root of the mean square plus epsilon for adam):
//   step_sharpness     <delta, H_B delta> / <delta, P delta> of the updating batch: under plain SGD
//                      the Rayleigh quotient of H_B along g_B
//   batch_sharpness    E[q_B], q_B = <d, H_B d> / <d, P d> with d = P^-1 g_B: the mean over
//                      `batches` batches (Andreyev and Beneventano 2024, for P = 1), all of them fresh
//                      ones, or (`with_updating`) the first of them the updating batch
//   batch_sharpness_error   its standard error, from two batches on
//   pooled_sharpness        E[<d, H_B d>] / E[<d, P d>] over the same batches
//   pooled_sharpness_error  its standard error, to first order (delta method)
//   threshold          sgd: 2 (1 + momentum) / eta, with Nesterov momentum that over 1 + 2
//                      momentum, either less the weight decay; adam: (2 + 2 beta1) / ((1 - beta1)
//                      eta), with eta corrected for the bias; eta is this step's
//   step_ratio, batch_ratio   step_sharpness and batch_sharpness over the threshold
//   critical_step      the s at which the updating batch's mean loss at theta + s delta is back at
//                      that at theta, from below: by bisection of log2 s between -8 and 8, the
//                      first point of which, s = 1, is known, so that `critical_passes` forward
//                      passes leave a factor of 2^(+-2^(2 - passes)). Where the loss crosses that
//                      level several times it is one of them; not measured where it does not fall
//                      along delta
// No Hessian-vector product is formed: <d, H d> is the second derivative along a line, in one
// forward sweep (Oracle::AlongLine), which for delta is shared with `taylor`. Where P = 1 and the
// network is fully connected, fresh batches share one sweep (gradients/own_lines.h).
//
// With F multiplications for an example's forward pass through such a network and f for that without
// the first layer, a fresh batch takes F + f to the derivatives by its layers' outputs, and its sweep
// from f, where it is small, to 2 F + 2 f. Under plain SGD the updating batch costs nothing beside
// step_sharpness: delta is along g_B, and step_sharpness is q_B. It is a draw like the fresh ones where
// the sampler draws each batch by itself; a shuffling one gives what the epoch has not had yet.

#include <algorithm>
#include <cmath>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "gradients/own_lines.h"
#include "gradients/pieces.h"
#include "nn/dense_chain.h"
#include "nn/reduce.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

class StabilityProbe : public Probe {
 public:
  void Check(const std::string& path) const override {
    if (!with_updating_ || batches_ > 0) return;
    throw Error(ErrorKind::kConfig, path + ".with_updating", "true, but batches is 0",
                "Set batches to 1 or more, or leave it out.");
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"step_sharpness"};
    if (threshold_) values.insert(values.end(), {"threshold", "step_ratio"});
    if (batches_ > 0) {
      for (const char* value : {"batch_sharpness", "pooled_sharpness"}) {
        values.emplace_back(value);
        if (batches_ > 1) values.push_back(std::string(value) + "_error");
      }
      if (threshold_) values.emplace_back("batch_ratio");
    }
    if (critical_passes_ > 0) values.emplace_back("critical_step");
    return values;
  }

  std::vector<int64_t> OwnBatches() const override {
    return batches_ > 0 ? std::vector<int64_t>{sampler_->batch_size()} : std::vector<int64_t>();
  }

  at::Tensor Measure(const StepView& view) override {
    const Stability stability = threshold_ ? view.update.stability : Stability();
    const OwnCurvature step = AlongStep(view, stability.metric);
    std::vector<at::Tensor> values = {Ratio(step.products, step.squared_norms)[0]};
    if (threshold_) {
      values.push_back(at::full_like(values[0], stability.threshold));
      values.push_back(values[0].div(stability.threshold));
    }
    if (batches_ > 0) {
      const std::vector<at::Tensor> of_batches = Sharpness(OfBatches(view, stability.metric, step));
      values.insert(values.end(), of_batches.begin(), of_batches.end());
      if (threshold_) values.push_back(of_batches[0].div(stability.threshold));
    }
    if (critical_passes_ > 0) values.push_back(CriticalStep(view));
    return at::stack(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "batches",
                   .help = "fresh batches of batch_size distinct examples for the batch "
                           "sharpness, each at the cost of a gradient and a forward sweep; 1 "
                           "leaves out the standard errors, 0 the batch sharpness",
                   .min = 0,
                   .max = 1e6},
                  batches_);
    visitor.Visit(
        {.name = "with_updating",
         .help = "the first of these is the updating batch, whose gradient is known: under "
                 "plain SGD it costs nothing. It stands for a fresh one where batches are "
                 "drawn independently; a shuffling sampler gives what the epoch has not "
                 "had yet"},
        with_updating_);
    visitor.Visit(
        {.name = "threshold",
         .help = std::string("compare with the sharpness at which the update rule becomes "
                             "unstable (known of ") +
                 kRulesThatKnowStability +
                 "), in the rule's own metric (adam's preconditioner); false, and all is "
                 "in the Euclidean metric, for any rule"},
        threshold_);
    visitor.Visit({.name = "critical_passes",
                   .help = "also how far along the step the batch's loss stays below where it "
                           "was, by this many forward passes; 8 find it to 1 %; 0: not",
                   .min = 0,
                   .max = 50},
                  critical_passes_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    seed_ = context.seed;
    augment_seed_ = Stream(context.seed, "stability.augment").Bits64();
    sampler_ = &context.sampler;
    if (threshold_ && !context.stability) {
      throw Error(ErrorKind::kConfig, context.path + ".threshold",
                  "true, but the sharpness at which this update rule becomes unstable is not known",
                  std::string("Set it to false to measure without a threshold, or use one of the "
                              "rules ") +
                      kRulesThatKnowStability + ".");
    }
    if (batches_ > 0 && context.sampler.SameEveryStep()) {
      throw Error(ErrorKind::kConfig, context.path + ".batches",
                  "found " + std::to_string(batches_) +
                      ", but the sampler uses the same batch at every step: there are no others",
                  "Set it to 0: step_sharpness is then that of every batch.");
    }
    const int64_t fresh = batches_ - (with_updating_ ? 1 : 0);
    if (fresh > 0 && context.sampler.batch_size() > context.examples) {
      throw Error(ErrorKind::kConfig, context.path + ".batches",
                  "found " + std::to_string(batches_) + ", but fresh batches are of " +
                      std::to_string(context.sampler.batch_size()) +
                      " distinct examples, and there are only " + std::to_string(context.examples) +
                      " training examples",
                  "Set it to 0, or lower the run's batch_size.");
    }
  }

 private:
  /// <v, P v>, a scalar in double.
  static at::Tensor MetricNorm(const at::Tensor& v, const at::Tensor& metric) {
    return Dot(v, metric.defined() ? v.mul(metric) : v);
  }

  /// Whether curvature along g_B is that along d, and AlongOwnGradients knows it.
  static bool HasOwnLines(const StepView& view, const at::Tensor& metric) {
    return !metric.defined() && InTheWayOfDenseChain(*view.oracle.network().root) == nullptr;
  }

  /// <delta, H_B delta> and <delta, P delta> of the updating batch, each [1].
  static OwnCurvature AlongStep(const StepView& view, const at::Tensor& metric) {
    const double square = view.update.scale * view.update.scale;
    return {view.AlongStep().curvature.mean().reshape({1}),
            MetricNorm(view.update.direction, metric).mul(square).reshape({1})};
  }

  /// <d, H_B d> and <d, P d> [batches]. `step`: what AlongStep gave.
  OwnCurvature OfBatches(const StepView& view, const at::Tensor& metric,
                         const OwnCurvature& step) const {
    std::vector<at::Tensor> products, norms;
    const auto add = [&](const OwnCurvature& of) {
      products.push_back(of.products);
      norms.push_back(of.squared_norms);
    };
    if (with_updating_) add(OfUpdating(view, metric, step));
    const int64_t size = sampler_->batch_size();
    const int64_t most = HasOwnLines(view, metric)
                             ? std::max<int64_t>(1, AtOnce(view.oracle, kExamplesTogether) / size)
                             : 1;
    Stream stream(seed_, "stability", static_cast<uint64_t>(view.step));
    std::vector<Examples> together;
    for (int64_t i = with_updating_ ? 1 : 0; i < batches_; ++i) {
      together.push_back(sampler_->Augmented(DrawDistinct(stream, size, view.oracle.size()),
                                             augment_seed_, view.step * batches_ + i));
      if (static_cast<int64_t>(together.size()) < most && i + 1 < batches_) continue;
      Batch joined = view.oracle.Load(Joined(together));
      if (together.size() > 1) joined.parts.assign(together.size(), size);
      add(OfBatch(view, joined, view.oracle.Evaluate(joined, view.theta), metric));
      together.clear();
    }
    return {at::cat(products), at::cat(norms)};
  }

  OwnCurvature OfUpdating(const StepView& view, const at::Tensor& metric,
                          const OwnCurvature& step) const {
    const Update& update = view.update;
    const bool along_gradient =
        !metric.defined() && update.scale != 0 && update.direction.is_same(view.gradients.Mean());
    if (!along_gradient) return OfBatch(view, view.batch, view.gradients, metric);
    const double square = update.scale * update.scale;
    return {step.products.div(square), step.squared_norms.div(square)};
  }

  /// The same of a batch, or of several that were joined where there are own lines.
  OwnCurvature OfBatch(const StepView& view, const Batch& batch, const Gradients& evaluated,
                       const at::Tensor& metric) const {
    if (HasOwnLines(view, metric) && !evaluated.taps.empty()) {
      return AlongOwnGradients(view.oracle, batch, view.theta, evaluated);
    }
    const at::Tensor& g = evaluated.Mean();
    const at::Tensor d = metric.defined() ? g.div(metric) : g;
    const LineLosses line = view.oracle.AlongLine(batch, view.theta, d, 1, true, &evaluated);
    return {line.curvature.mean().reshape({1}), Dot(d, g).reshape({1})};
  }

  /// batch_sharpness and pooled_sharpness, each with its error.
  std::vector<at::Tensor> Sharpness(const OwnCurvature& of) const {
    const auto& [curvatures, norms] = of;
    const at::Tensor quotients = Ratio(curvatures, norms);
    const at::Tensor pooled = Ratio(curvatures.sum(), norms.sum());
    if (batches_ == 1) return {quotients.mean(), pooled};
    const at::Tensor residuals = curvatures.sub(norms.mul(pooled));
    const double root = std::sqrt(static_cast<double>(batches_));
    return {quotients.mean(), quotients.std(/*unbiased=*/true).div(root), pooled,
            Ratio(residuals.std(/*unbiased=*/true).div(root), norms.mean())};
  }

  at::Tensor CriticalStep(const StepView& view) const {
    constexpr double kOctaves = 8;
    const LineLosses& line = view.AlongStep();
    at::Tensor below = line.moved.mean().lt(line.value.mean());
    at::Tensor octave = at::zeros({}, line.value.options());  // log2 s
    double half = kOctaves / 2;
    for (int64_t pass = 0; pass < critical_passes_; ++pass, half /= 2) {
      octave = octave.add(at::where(below, half, -half));
      const at::Tensor s = octave.exp2().mul(view.update.scale);
      const at::Tensor moved = view.theta.add(view.update.direction.mul(s));
      below = view.oracle.MeanChange(view.batch, view.gradients, moved).lt(0);
    }
    octave = octave.add(at::where(below, half, -half));
    return octave.exp2().masked_fill(line.slope.mean().ge(0), kNotMeasured);
  }

  static constexpr int64_t kExamplesTogether = 512;  // fill a kernel, and fit into a cache

  int64_t batches_ = 2;
  bool with_updating_ = false;
  bool threshold_ = true;
  int64_t critical_passes_ = 0;
  uint64_t seed_ = 0;
  uint64_t augment_seed_ = 0;
  const Sampler* sampler_ = nullptr;
};

const Registration<Probe, StabilityProbe> kRegistration(
    "stability",
    "curvature along the step and along fresh batches' gradients, against the update rule's limit",
    {.variants = {R"({"batches": 1, "critical_passes": 2})",
                  R"({"batches": 3, "with_updating": true})"}});

}  // namespace
}  // namespace sgdscope
