// What a step does to the generalization gap: generalization_gap, equations 6 to 9 and section 4.
// With the updating batch B, a batch A of test examples, their gradients g_B and g_A at theta, and
// the step delta, which under plain SGD is -eta g_B:
//   train.change      dl_B = L_B(theta + delta) - L_B(theta)
//   test.change       dl_A, the same of A
//   measured          dl_A - dl_B, the change of the gap
//   predicted         <delta, g_A> - <delta, g_B>, its first order; under plain SGD equation 9's
//                     eta <g_B, g_B - g_A>
//   gradient_dot      <g_A, g_B>: estimates <G_test, G_train> without bias, which is |G|^2 where
//                     test and training examples have the same distribution
// and from the gradients of the single examples of B (if `covariance`):
//   covariance_trace  tr Sigma of B's n examples, unbiased (division by n - 1)
//   squared_norm      |g_B|^2 - tr Sigma / n: estimates |G_train|^2 without bias
//   average           eta tr Sigma / n, the average in equation 9
//   correction        eta (squared_norm - gradient_dot): estimates eta <G_train, G_train - G_test>
//                     without bias, what section 4 adds where the distributions differ
// and from a batch C of as many training examples as A has, none of which is in B (if `outside`):
//   own               <delta, g_C> - <delta, g_B>: what the step does for B because it is made on
//                     B, average with delta in place of -eta g_B. Its mean over the choice of B and
//                     C is -tr Cov(delta, g_B), for any update rule; under plain SGD it is average's
//   shift             <delta, g_A> - <delta, g_C>: correction with delta in place of -eta g_B
// own and shift add up to predicted, as average and correction do. The latter two speak of the batch's gradient and of plain SGD,
// and are empty where the step is along anything else (momentum, weight decay, Adam, another
// estimator), or has a single example. The changes of the losses, predicted, average and correction
// have cumulative sums from step 0 in the same row; such steps add nothing to the last two.
//
// Departure: section 4 prints the correction as eta <G_train, G_test - G_train>. Equation 9 gives
// the opposite sign, which is used here: the gap grows where the step helps the test set less.
//
// A is drawn at each step from the test set, without replacement, and never augmented; C is
// augmented like B, by draws of its own. Under batch normalization each batch has its own
// statistics.

#include <algorithm>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "gradients/per_example.h"
#include "nn/reduce.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

class GeneralizationGap : public Probe {
 public:
  void CheckNetwork(const Network& network, const std::string& path) const override {
    if (covariance_) CheckSingleExamples(network, path + ".covariance");
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"predicted", "measured", "test.change", "train.change"};
    if (covariance_) values.insert(values.end(), {"average", "correction"});
    values.push_back("gradient_dot");
    if (covariance_) values.insert(values.end(), {"covariance_trace", "squared_norm"});
    if (outside_) values.insert(values.end(), {"own", "shift"});
    if (!cumulative_.Kept()) return values;
    values.insert(values.end(),
                  {"cum_predicted", "cum_measured", "test.cum_change", "train.cum_change"});
    if (covariance_) values.insert(values.end(), {"cum_average", "cum_correction"});
    return values;
  }

  std::vector<int64_t> OwnBatches() const override {
    return std::vector<int64_t>(outside_ ? 2 : 1, size_);
  }

  at::Tensor Measure(const StepView& view) override {
    Stream stream(seed_, "generalization_gap", static_cast<uint64_t>(view.step));
    const Batch test = view.test.Load(DrawDistinct(stream, size_, view.test.size()));
    const Gradients of_test = view.test.Evaluate(test, view.theta);
    const at::Tensor& g_a = of_test.Mean();
    const at::Tensor& g_b = view.gradients.Mean();
    const at::Tensor& direction = view.update.direction;
    const double scale = view.update.scale;
    const at::Tensor moved = view.theta.add(direction, scale);
    const at::Tensor test_change = view.test.MeanChange(test, of_test, moved);
    const at::Tensor train_change = view.oracle.MeanChange(view.batch, view.gradients, moved);
    const bool along = direction.is_same(g_b);
    const at::Tensor gradient_dot = Dot(g_a, g_b);
    const at::Tensor norm = along || covariance_ ? Dot(g_b, g_b) : at::Tensor();
    const at::Tensor slope_a = along ? gradient_dot : Dot(g_a, direction);
    const at::Tensor slope_b = along ? norm : Dot(g_b, direction);
    std::vector<at::Tensor> terms = {slope_a.sub(slope_b).mul(scale), test_change.sub(train_change),
                                     test_change, train_change};
    std::vector<at::Tensor> others = {gradient_dot};
    const bool plain = along && view.batch.size() > 1;
    if (covariance_) AddAverages(view, plain, norm, terms, others);
    if (outside_) {
      const at::Tensor slope_c = Dot(GradientOutside(view, stream), direction);
      others.push_back(slope_c.sub(slope_b).mul(scale));
      others.push_back(slope_a.sub(slope_c).mul(scale));
    }
    at::Tensor values = at::stack(terms);
    if (!cumulative_.Kept()) return at::cat({values, at::stack(others)});
    return at::cat({values, at::stack(others), Add(values, plain)});
  }

  void Allocate(const at::Tensor& theta) override {
    sums_ = at::zeros({covariance_ ? 6 : 4}, theta.options().dtype(at::kDouble));
  }

  std::map<std::string, at::Tensor> State() const override {
    if (!cumulative_.Kept()) return {};
    return {{"sums", sums_}};
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "batch_size",
                   .help = "examples of the test batch A; as many as a training batch has if left "
                           "out",
                   .unit = "examples",
                   .paper = "generalization_gap, equation 6",
                   .min = 1,
                   .max = 1e9},
                  batch_size_);
    visitor.Visit({.name = "covariance",
                   .help = "also tr Sigma from the gradients of single examples, the average form "
                           "and its correction; undefined with batch normalization",
                   .paper = "generalization_gap, equation 9 and section 4"},
                  covariance_);
    visitor.Visit({.name = "outside",
                   .help = "also a batch C of training examples outside of B, for the average form "
                           "and its correction with any update rule; costs a gradient of as many "
                           "examples as A has",
                   .paper = "generalization_gap, equation 9 and section 4"},
                  outside_);
    cumulative_.Fields(visitor, "running sums");
  }

  void OwnPrepare(const ProbeContext& context) override {
    seed_ = context.seed;
    augment_seed_ = Stream(context.seed, "generalization_gap.augment").Bits64();
    examples_ = context.examples;
    size_ = batch_size_.value_or(context.sampler.batch_size());
    if (outside_) CheckOutside(context);
    if (context.test_size == 0 || size_ <= context.test_size) return;
    throw Error(ErrorKind::kConfig, context.path + ".batch_size",
                std::to_string(size_) + " test examples" +
                    (batch_size_ ? "" : ", as many as a training batch has,") +
                    " are to be drawn from a test set of " + std::to_string(context.test_size),
                "Give a batch_size of at most " + std::to_string(context.test_size) + ".");
  }

  bool EveryStep() const override { return cumulative_.EveryStep(); }

 private:
  void CheckOutside(const ProbeContext& context) const {
    const int64_t left = std::max<int64_t>(examples_ - context.sampler.batch_size(), 0);
    if (size_ <= left) return;
    throw Error(ErrorKind::kConfig, context.path + ".outside",
                std::to_string(size_) + " training examples are to be drawn from the " +
                    std::to_string(left) + " outside of a batch",
                "Lower batch_size, the probe's or the run's, or set outside to false.");
  }

  /// g_C [p]. `stream` has drawn A.
  at::Tensor GradientOutside(const StepView& view, Stream& stream) const {
    const at::Tensor drawn = DrawDistinct(stream, size_ + view.batch.size(), examples_);
    const at::Tensor outside =
        drawn.masked_select(at::isin(drawn, view.batch.indices).logical_not());
    const Examples c =
        view.sampler.Augmented(outside.narrow(0, 0, size_), augment_seed_, view.step);
    return view.oracle.Evaluate(view.oracle.Load(c), view.theta).Mean();
  }

  /// average and correction to `terms`, what they follow from to `others`, which begins with
  /// gradient_dot. plain: whether the first two are defined; norm: |g_B|^2.
  static void AddAverages(const StepView& view, bool plain, const at::Tensor& norm,
                          std::vector<at::Tensor>& terms, std::vector<at::Tensor>& others) {
    const auto n = static_cast<double>(view.batch.size());
    const at::Tensor undefined = at::full_like(norm, kNotMeasured);
    const at::Tensor trace =
        n > 1 ? CovarianceTrace(PerExample(view.gradients, TileMemory()).SquaredNorms(), norm)
              : undefined;
    const at::Tensor squared_norm = n > 1 ? norm.sub(trace.div(n)) : undefined;
    const double eta = -view.update.scale;
    terms.push_back(plain ? trace.mul(eta / n) : undefined);
    terms.push_back(plain ? squared_norm.sub(others[0]).mul(eta) : undefined);
    others.insert(others.end(), {trace, squared_norm});
  }

  /// Adds the step's terms to the running sums and returns these. plain: as above.
  at::Tensor Add(const at::Tensor& terms, bool plain) {
    if (plain || !covariance_) return sums_.add_(terms).clone();
    sums_.narrow(0, 0, 4).add_(terms.narrow(0, 0, 4));
    return at::cat({sums_.narrow(0, 0, 4), terms.narrow(0, 4, 2)});
  }

  std::optional<int64_t> batch_size_;
  bool covariance_ = false;
  bool outside_ = false;
  Cumulative cumulative_;
  uint64_t seed_ = 0;
  uint64_t augment_seed_ = 0;
  int64_t examples_ = 0;  // in the training set
  int64_t size_ = 0;      // |A|
  at::Tensor sums_;       // [4], with covariance [6]
};

const Registration<Probe, GeneralizationGap> kRegistration(
    "generalization_gap", "the change of test and of training loss by each step, and their gap's",
    {.base = R"({"batch_size": 4})",
     .variants = {R"({"covariance": true, "cumulative": "logged"})", R"({"outside": true})"}});

}  // namespace
}  // namespace sgdscope
