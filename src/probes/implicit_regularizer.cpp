// The implicit regularizer of SGD at theta, and what it is made of: implicit_regularization,
// equations 1, 2, 21, 22 and 32. C_k is the mean loss of batch k, of B_k examples, over the m
// batches of this step's epoch, and N = sum_k B_k:
//   loss               C = sum_k (B_k / N) C_k
//   regularizer        C_reg = (1/4) sum_k (B_k / N) |grad C_k|^2
//   squared_norm       |grad C|^2
//   batch_error        sum_k (B_k / N) |grad C_k - grad C|^2 = 4 C_reg - |grad C|^2, equation 2
//   gamma              Gamma = (1/N) sum_i |grad L_i - grad C|^2 over the N examples
//   gamma_error        (m - 1) / (N - 1) Gamma: the mean of batch_error over all ways to cut the
//                      same examples into batches of these sizes, exact; equation 32, whose
//                      (N - B) / (N - 1) Gamma / B it is for equal batches
//   shuffled_error     the same mean by the left side of equation 32, over `partitions` random ways
//   shuffled_error_se  its standard error
// Of rules with memory (the heavy ball where momentum is above 0, and `rules`), on the loss C of the
// whole epoch, with u, D, A and the norm of equation 2 in gradients/memory_rules.h:
//   RULE.regularizer   with momentum: A |grad C|^2 / 4, which with the rate eps counts eps times, as
//                      C_reg does
//   RULE.on_batches    the same on the batches in random order, by equation 4 there with n = 1:
//                      A_own C_reg + A_mean |grad C|^2 / 4
// Adam and RMSProp follow the gradient of no modified loss. There is instead
//   RULE.one_norm      |grad C|_1,epsilon, the perturbed one-norm
//   RULE.factor        <H u, D A H u + lambda u> / <H u, D H u>: the modified flow lowers that norm,
//                      of adamw with lambda (<theta, grad C> - C) added to it, by (eps / 2) factor
//                      <H u, D H u> in a unit of time more than the flow of u does; where the factor
//                      is below 0 it raises it
//   RULE.raised        the share of the weights whose A is below 0
// All is summed in double; errors far below squared_norm are lost in its rounding.
//
// The composition of the batches is fixed in C_reg (section 2.2): here it is the one that the
// sampler gives to the epoch, whose mean iterate C_reg describes. Every example counts equally;
// with equal batches that is the paper's 1/m for each batch. What drop_last leaves out of an epoch
// does not count in it, and an example that a sampler draws twice counts twice.

#include <algorithm>
#include <cmath>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "gradients/memory_rules.h"
#include "gradients/per_example.h"
#include "nn/reduce.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

using Partition = std::vector<at::Tensor>;  // of each batch its examples [B_k]

/// Batches of the same sizes from the same examples in random order.
Partition Shuffled(const Partition& batches, Stream& stream) {
  const at::Tensor examples = at::cat(batches);
  const at::Tensor order = at::tensor(Permutation(stream, examples.size(0)), at::kLong);
  std::vector<int64_t> sizes;
  for (const at::Tensor& batch : batches) sizes.push_back(batch.size(0));
  return examples.index_select(0, order).split_with_sizes(sizes);
}

/// Means over a partition in which every example counts equally: scalars, in double.
struct Means {
  at::Tensor loss;           // C
  at::Tensor of_batches;     // of |grad C_k|^2
  at::Tensor of_examples;    // of |grad L_i|^2, if asked for
  at::Tensor squared_norm;   // |grad C|^2
  int64_t examples;          // N
  at::Tensor gradient = {};  // grad C [p]

  at::Tensor BatchError() const { return of_batches.sub(squared_norm); }
};

Means MeansOver(const Partition& batches, const StepView& view, bool of_examples) {
  const auto options = view.theta.options().dtype(at::kDouble);
  Means means{at::zeros({}, options), at::zeros({}, options), at::zeros({}, options), {}, 0};
  for (const at::Tensor& batch : batches) means.examples += batch.size(0);
  const at::Tensor mean = at::zeros_like(view.theta, options);  // grad C
  for (const at::Tensor& batch : batches) {
    const double weight = static_cast<double>(batch.size(0)) / static_cast<double>(means.examples);
    const Gradients gradients = view.oracle.Evaluate(view.oracle.Load(batch), view.theta);
    const at::Tensor& g = gradients.Mean();
    means.loss.add_(MeanLoss(gradients.losses), weight);
    means.of_batches.add_(Dot(g, g), weight);
    mean.add_(g, weight);
    if (!of_examples) continue;
    const PerExample examples(gradients, TileMemory());
    means.of_examples.add_(examples.SquaredNorms().mean(), weight);
  }
  means.squared_norm = mean.dot(mean);
  means.gradient = mean;
  return means;
}

/// H v [p] of the mean loss C of a partition.
at::Tensor HessianVector(const Partition& batches, const StepView& view, int64_t examples,
                         const at::Tensor& v) {
  const at::Tensor product = at::zeros_like(v);
  for (const at::Tensor& batch : batches) {
    const double weight = static_cast<double>(batch.size(0)) / static_cast<double>(examples);
    const Gradients evaluated =
        view.oracle.Evaluate(view.oracle.Load(batch), view.theta, /*keep_graph=*/true);
    product.add_(view.oracle.HessianVectorProduct(evaluated, v.to(view.theta.scalar_type())),
                 weight);
  }
  return product;
}

class ImplicitRegularizer : public Probe {
 public:
  ImplicitRegularizer() : Probe(Cadence::EveryEpochs(1)) {}

  void Check(const std::string& path) const override { rules_.Check(path); }

  void CheckNetwork(const Network& network, const std::string& path) const override {
    if (gamma_) CheckSingleExamples(network, path + ".gamma");
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"loss", "regularizer", "squared_norm", "batch_error"};
    if (gamma_) values.insert(values.end(), {"gamma", "gamma_error"});
    if (partitions_ > 0) values.insert(values.end(), {"shuffled_error", "shuffled_error_se"});
    for (const std::string& rule : rules_.names()) {
      if (rules_.Make(rule)->HasScalar()) {
        values.insert(values.end(), {rule + ".regularizer", rule + ".on_batches"});
      } else {
        values.insert(values.end(), {rule + ".one_norm", rule + ".factor", rule + ".raised"});
      }
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const Partition batches = BatchesOfEpoch(view);
    const Means means = MeansOver(batches, view, gamma_);
    std::vector<at::Tensor> values = {means.loss, means.of_batches.div(4), means.squared_norm,
                                      means.BatchError()};
    if (gamma_) {
      const at::Tensor gamma = means.of_examples.sub(means.squared_norm);
      const auto others = static_cast<double>(std::max<int64_t>(means.examples - 1, 1));
      values.push_back(gamma);
      values.push_back(gamma.mul(static_cast<double>(batches.size() - 1) / others));
    }
    if (partitions_ > 0) {
      const at::Tensor errors = ShuffledErrors(batches, view);
      values.push_back(errors.mean());
      values.push_back(errors.std(/*unbiased=*/true).div(std::sqrt(partitions_)));
    }
    for (const std::string& rule : rules_.names()) {
      const std::vector<at::Tensor> own = OfRule(rule, batches, view, means);
      values.insert(values.end(), own.begin(), own.end());
    }
    return at::stack(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "gamma",
                   .help = "also Gamma from the gradients of single examples, and what it says of "
                           "those of batches; undefined with batch normalization",
                   .paper = "implicit_regularization, equation 32"},
                  gamma_);
    visitor.Visit({.name = "partitions",
                   .help = "random ways to cut the epoch's examples into batches, each of which "
                           "costs a pass over them; 0: none, else at least 2",
                   .paper = "implicit_regularization, equation 21",
                   .min = 0,
                   .max = 1e6},
                  partitions_);
    rules_.Fields(visitor, "the regularizer, or what there is in its place,");
  }

  void OwnPrepare(const ProbeContext& context) override {
    seed_ = context.seed;
    if (partitions_ != 1) return;
    throw Error(ErrorKind::kConfig, context.path + ".partitions",
                "1, which leaves the standard error unknown",
                "Give 2 or more, or 0 to do without shuffled_error.");
  }

 private:
  /// batch_error of each random partition [partitions].
  at::Tensor ShuffledErrors(const Partition& batches, const StepView& view) const {
    Stream stream(seed_, "implicit_regularizer", static_cast<uint64_t>(view.step));
    std::vector<at::Tensor> errors;
    for (int64_t k = 0; k < partitions_; ++k) {
      errors.push_back(MeansOver(Shuffled(batches, stream), view, false).BatchError());
    }
    return at::stack(errors);
  }

  std::vector<at::Tensor> OfRule(const std::string& name, const Partition& batches,
                                 const StepView& view, const Means& means) const {
    const auto rule = rules_.Make(name);
    const at::Tensor& g = means.gradient;
    const at::Tensor factors = rule->Factors(g);
    if (rule->HasScalar()) {
      const auto m = static_cast<int64_t>(batches.size());
      const BatchFactors on_batches = rules_.OnBatches(name, m, /*n=*/1);
      const at::Tensor squares =
          means.of_batches.mul(on_batches.own).add(means.squared_norm, on_batches.mean);
      return {factors.mean().mul(means.squared_norm).div(4), squares.div(4)};
    }
    const at::Tensor u = rule->Direction(g, view.theta.to(at::kDouble));
    const at::Tensor h_u = HessianVector(batches, view, means.examples, u);
    return {rule->Norm(g),
            Ratio(h_u.dot(rule->Correction(g, u, h_u)), h_u.dot(rule->Scale(g).mul(h_u))),
            factors.lt(0).to(at::kDouble).mean()};
  }

  bool gamma_ = true;
  int64_t partitions_ = 0;
  MemoryRules rules_;
  uint64_t seed_ = 0;
};

const Registration<Probe, ImplicitRegularizer> kRegistration(
    "implicit_regularizer",
    "SGD's implicit regularizer and its parts: a pass over the epoch's batches each time",
    {.variants = {R"({"partitions": 2})",
                  R"({"momentum": 0.5, "rules": ["nesterov", "rmsprop", "adamw"]})"}});

}  // namespace
}  // namespace sgdscope
