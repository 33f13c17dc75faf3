// Two updates of SGD on the halves B, C of a batch X against two updates of gradient descent on all
// of X, from the same theta and with the same learning rate eta: equations 10 to 13 of
// generalization_gap. X is the updating batch, without its last example where that is odd; n is its
// size. With the gradients g_B, g_C and the Hessians h_B, h_C at theta, and d the derivative by
// theta:
//   dg = (theta_SGD - theta_GD) / eta, from where the two updates end (measured)
//   equation 12: dg = -(eta / 8) [d|g_B - g_C|^2 + 4 (h_B g_C - h_C g_B)] + O(eta^2)
//                   = -(eta / 4) [h_B (g_B + g_C) + h_C (g_C - 3 g_B)] + O(eta^2)
// For B the first and C the second half of X:
//   norm      |dg|, measured
//   distance  |dg - equation 12| / |equation 12|, with exact Hessian-vector products
//   order     log2 of the error |dg - equation 12| at eta over that at eta / 2: 2 where the loss is
//             smooth. Where it is quadratic equation 12 is exact, and only rounding is left (not
//             measured where not even that is). Units with kinks (ReLU) add what the Hessians don't
//             see, and it falls to about 1/2: the kinks crossed grow in number with eta, and their
//             parts have any direction
// And of the average over all ways to cut X into halves (if `draws`):
//   average.norm      |-(1/2) d<de>|, the right side of equation 13, with <de> = eta tr Sigma / n
//   average.distance  |mean dg - right side| / |right side|, the mean over `draws` random cuts
//   average.error     standard error of that mean / |right side|: the root of its mean squared
//                     distance from the mean over all cuts
//   average.decay     the lambda for which -lambda theta is nearest to the right side: what there
//                     is of an L2 penalty (lambda / 2) |theta|^2 in it
//   average.cosine    of the right side with -theta: 1 where it is nothing but an L2 penalty
//
// Equation 13 is about the distribution, but it needs no more than the examples of X. Each cut is
// taken in both orders, with which h_B g_C - h_C g_B changes its sign: it leaves the average. Over
// all cuts, g_B - g_C = 2 (g_B - g_X) has the mean square
//   4 (1 - 1/2) tr Sigma / (n/2) = 4 tr Sigma / n,
// the variance of a mean of n/2 of n examples drawn without replacement, where tr Sigma is the
// unbiased trace of the covariance over X (division by n - 1). So the average of equation 12 is
//   -(eta / 8) d(4 tr Sigma / n) = -(1/2) d(eta tr Sigma / n),
// exactly, with d tr Sigma = 2 (sum_i h_i g_i - n h_X g_X) / (n - 1) from the gradients and
// Hessians of single examples.
//
// With `rms_epsilon` the updates are those of RMSProp whose average has settled, -eta P g with
// P_w = 1 / (|g_X,w| + rms_epsilon), the same for all of them; dg = (theta_SGD - theta_GD) / (eta P).
// With delta = -eta P g in place of -eta g the average change of the gap is <de> = eta tr(P Sigma) /
// n, and all of the above holds with h P g in place of h g and with the derivative at fixed P. (What
// its velocity adds to a heavy ball's two updates is linear in the batches: nothing of it is left in
// the mean of dg over both orders of a cut, and equation 13 holds with the eta of a single update.)
//
// All in double.

#include <cmath>
#include <optional>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

Batch InDouble(Batch batch) {
  batch.inputs = batch.inputs.to(at::kDouble);
  return batch;
}

Batch InOrder(const Batch& batch, const at::Tensor& order) {
  const at::Tensor places = order.to(batch.labels.device());
  return {batch.indices.index_select(0, order),
          batch.inputs.index_select(0, places),
          batch.labels.index_select(0, places),
          {}};
}

/// P v [p]; v where P is not defined.
at::Tensor Scaled(const at::Tensor& p, const at::Tensor& v) { return p.defined() ? v.mul(p) : v; }

/// Two updates from theta [p], with the learning rate eta and P.
class Updates {
 public:
  Updates(const Oracle& oracle, const at::Tensor& theta, double eta, const at::Tensor& p)
      : oracle_(oracle), theta_(theta), eta_(eta), p_(p) {}

  /// The sum of the gradients [p] of two updates, on `first` and `second`: theta moves by -eta P
  /// times it.
  at::Tensor Sum(const Batch& first, const Batch& second) const {
    const at::Tensor g = oracle_.Evaluate(first, theta_).Mean();
    return g.add(oracle_.Evaluate(second, theta_.sub(Scaled(p_, g), eta_)).Mean());
  }

 private:
  const Oracle& oracle_;
  const at::Tensor& theta_;
  double eta_;
  at::Tensor p_;
};

/// Equation 12 for the halves b and c, divided by eta: [p].
at::Tensor LeadingOrder(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& p,
                        const Batch& b, const Batch& c) {
  const Gradients of_b = oracle.Evaluate(b, theta, /*keep_graph=*/true);
  const Gradients of_c = oracle.Evaluate(c, theta, /*keep_graph=*/true);
  const at::Tensor& g_b = of_b.Mean();
  const at::Tensor& g_c = of_c.Mean();
  const at::Tensor product =
      oracle.HessianVectorProduct(of_b, Scaled(p, g_b.add(g_c)))
          .add(oracle.HessianVectorProduct(of_c, Scaled(p, g_c.sub(g_b, 3))));
  return product.div(-4);
}

/// -(1/2) d (tr (P Sigma) / n) over the n examples of x, at fixed P: [p].
at::Tensor LeadingAverage(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& p,
                          const Batch& x) {
  const auto own_product = [&](const Batch& batch) {  // h P g
    const Gradients evaluated = oracle.Evaluate(batch, theta, /*keep_graph=*/true);
    return oracle.HessianVectorProduct(evaluated, Scaled(p, evaluated.Mean()));
  };
  const auto n = static_cast<double>(x.size());
  const at::Tensor half_slope = own_product(x).mul(-n);  // of (n - 1) tr Sigma
  for (int64_t i = 0; i < x.size(); ++i) half_slope.add_(own_product(Part(x, i, 1)));
  return half_slope.div(-n * (n - 1));
}

class SgdGdGap : public Probe {
 public:
  SgdGdGap() : Probe(Cadence::EveryEpochs(1)) {}

  void CheckNetwork(const Network& network, const std::string& path) const override {
    if (!network.MixesExamples()) return;
    throw Error(ErrorKind::kConfig, path,
                "sgd_gd_gap takes the mean of the gradients of two halves for that of the batch, "
                "which it is not under batch normalization",
                "Use a model without batch normalization (\"norm\": \"skipinit\" where the model "
                "has it), or remove the probe.");
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"norm", "distance", "order"};
    if (draws_ == 0) return values;
    for (const char* value : {"norm", "distance", "error", "decay", "cosine"}) {
      values.push_back(std::string("average.") + value);
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const at::Tensor theta = view.theta.to(at::kDouble);
    const int64_t half = view.batch.size() / 2;
    if (half == 0) {
      const auto count = static_cast<int64_t>(Values().size());
      return at::full({count}, kNotMeasured, theta.options());
    }
    const Batch x = InDouble(Part(view.batch, 0, 2 * half));
    const at::Tensor p = ScaleOf(view.oracle, theta, x);
    const at::Tensor single = OfHalves(view.oracle, theta, p, x);
    if (draws_ == 0) return single;
    Stream stream(seed_, "sgd_gd_gap", static_cast<uint64_t>(view.step));
    return at::cat({single, OfAverage(view.oracle, theta, p, x, stream)});
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "learning_rate",
                   .help = "eta of the updates that are tried, whatever the run's own",
                   .paper = "generalization_gap, equation 10",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  learning_rate_);
    visitor.Visit({.name = "draws",
                   .help = "random cuts into halves for the average, each of which costs four "
                           "gradients of halves; their expectation costs a Hessian-vector product "
                           "of every single example; 0: none, else at least 2",
                   .paper = "generalization_gap, equation 13",
                   .min = 0,
                   .max = 1e6},
                  draws_);
    visitor.Visit({.name = "rms_epsilon",
                   .help = "updates of RMSProp in place of plain ones: the gradient over the size "
                           "of the batch's own, to which this is added; left out: plain",
                   .min = 0,
                   .above_min = true},
                  rms_epsilon_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    seed_ = context.seed;
    if (draws_ == 1) {
      throw Error(ErrorKind::kConfig, context.path + ".draws",
                  "1, which leaves the standard error unknown",
                  "Give 2 or more, or 0 to do without the average.");
    }
    if (context.sampler.batch_size() > 1) return;
    throw Error(ErrorKind::kConfig, context.path, "a batch of one example has no halves",
                "Give a batch_size of at least 2, or remove the probe.");
  }

 private:
  /// P [p], undefined for plain updates.
  at::Tensor ScaleOf(const Oracle& oracle, const at::Tensor& theta, const Batch& x) const {
    if (!rms_epsilon_) return {};
    return oracle.Evaluate(x, theta).Mean().abs().add(*rms_epsilon_).reciprocal();
  }

  /// norm, distance and order.
  at::Tensor OfHalves(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& p,
                      const Batch& x) const {
    const int64_t half = x.size() / 2;
    const Batch b = Part(x, 0, half);
    const Batch c = Part(x, half, half);
    const at::Tensor leading = LeadingOrder(oracle, theta, p, b, c);
    const auto measured = [&](double eta) {  // dg
      const Updates updates(oracle, theta, eta, p);
      return updates.Sum(x, x).sub(updates.Sum(b, c));
    };
    const at::Tensor gap = measured(learning_rate_);
    const at::Tensor error = gap.sub(leading, learning_rate_).norm();
    const double halved = learning_rate_ / 2;
    const at::Tensor halved_error = measured(halved).sub(leading, halved).norm();
    const at::Tensor exact = at::minimum(error, halved_error).eq(0);  // no order
    return at::stack({gap.norm(), Ratio(error, leading.norm().mul(learning_rate_)),
                      error.div(halved_error).log2().masked_fill(exact, kNotMeasured)});
  }

  /// The five values of the average over cuts.
  at::Tensor OfAverage(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& p,
                       const Batch& x, Stream& stream) const {
    const int64_t half = x.size() / 2;
    const at::Tensor expected = LeadingAverage(oracle, theta, p, x).mul(learning_rate_);
    const Updates updates(oracle, theta, learning_rate_, p);
    const at::Tensor of_gd = updates.Sum(x, x);
    at::Tensor mean = at::zeros_like(theta);
    at::Tensor squares = at::zeros({}, theta.options());  // sum of |dg of a cut - mean|^2
    for (int64_t k = 1; k <= draws_; ++k) {
      const at::Tensor order = at::tensor(Permutation(stream, x.size()), at::kLong);
      const Batch shuffled = InOrder(x, order);
      const Batch b = Part(shuffled, 0, half);
      const Batch c = Part(shuffled, half, half);
      const at::Tensor gap = of_gd.sub(updates.Sum(b, c).add(updates.Sum(c, b)).div(2));
      const at::Tensor from_old = gap.sub(mean);
      mean = mean.add(from_old, 1 / static_cast<double>(k));
      squares = squares.add(from_old.dot(gap.sub(mean)));
    }
    const auto draws = static_cast<double>(draws_);
    const at::Tensor norm = expected.norm();
    const at::Tensor along = expected.dot(theta).neg();
    return at::stack({norm, Ratio(mean.sub(expected).norm(), norm),
                      Ratio(squares.div(draws * (draws - 1)).sqrt(), norm),
                      Ratio(along, theta.dot(theta)), Ratio(along, norm.mul(theta.norm()))});
  }

  double learning_rate_ = 0;
  int64_t draws_ = 0;
  std::optional<double> rms_epsilon_;
  uint64_t seed_ = 0;
};

const Registration<Probe, SgdGdGap> kRegistration(
    "sgd_gd_gap", "two updates of SGD on half-batches against two of gradient descent on both",
    {.base = R"({"draws": 5})", .variants = {R"({"draws": 2})", R"({"rms_epsilon": 0.1})"}});

}  // namespace
}  // namespace sgdscope
