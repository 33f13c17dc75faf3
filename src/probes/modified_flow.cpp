// Backward error analysis at work: where an epoch takes theta, against where gradient flow on
// modified losses arrives in the same time. implicit_regularization, equations 1, 10, 20 and 39.
// From theta, with the mean losses C_k of the m batches of this step's epoch, C = (1/m) sum_k C_k,
// and, for each learning rate eps,
//   E w     the mean, over the orders of the batches, of where an epoch of SGD ends that takes n
//           steps of eps / n on each batch (n-step SGD; n = 1 is SGD)
//   GD      where m n steps of eps / n on C end,
//   flows   d theta / dt = -grad of one of these for the time m eps:
//     plain  C
//     gd     C + (eps / 4n) |grad C|^2, equation 10
//     sgd    C + (eps / 4mn) sum_k |grad C_k|^2, equations 1 and 39
// it measures the distances
//   learning_rate  eps
//   move           |E w - theta|
//   sgd_to_plain, sgd_to_gd, sgd_to_sgd  |E w - the flow's end|
//   sgd_se         standard error of E w: the root of its mean squared distance from the mean over
//                  all orders; 0 where all were run
//   gd_to_plain, gd_to_gd                |GD - the flow's end|
//   flow_error     estimated error of the flows' ends, the largest of them: meant to be at least the
//                  true one, as it is in 99 of 100 random networks
// Where the loss is smooth, sgd_to_sgd and gd_to_gd are of third order in eps, the other distances
// from flows of second. All in double.
//
// With beta = momentum above 0 also where m n steps of the heavy ball on C end, w_0 = theta,
//   velocity <- beta velocity - (1 - beta) (eps / n) grad C(w),  w <- w + velocity
// which goes as fast as GD, and its distances from flows, heavy_ball_to_plain, heavy_ball_to_gd and
// heavy_ball_to_heavy_ball, that of
//   C + (1 + beta) / (1 - beta) (eps / 4n) |grad C|^2
// (Ghosh et al. 2023, "Implicit regularization in heavy-ball momentum accelerated stochastic
// gradient descent"), from which alone it is of third order. That holds for a ball that has rolled
// for a while: it starts with the velocity that it would have then, but for third order,
//   -(eps / n) grad C - (eps / n)^2 H grad C / (1 - beta).
//
// Each batch counts equally, as in an epoch of SGD. The gradient of |grad C_k|^2 / 2 is H_k grad
// C_k, exact. Flows are integrated by Runge and Kutta's classical method, in 2 `substeps` steps. How
// far they are off follows from the ends in s = `substeps` and in s / 2 steps. With d [p] the
// difference of the ends in 2 s and s steps, and D [p] that of the ends in s and s / 2:
//   - Where the loss is smooth the method is of order 4: half the step leaves 1/16 of the error, d
//     is D / 16, and the best end is off by |d| / 15.
//   - A kink of the loss (ReLU, max pooling) that the flow crosses makes the gradient jump. Where in
//     its step it is crossed is chance: the error is of order 1 and erratic, at most 2 |d| for a
//     single crossing.
// Stated is 2 |d| / 15 + 2 |d - D / 16|: both parts doubled, and what is not of order 4 counts as
// kinks. Where s is odd there is no s / 2, and all counts as kinks: 2 |d|.
//
// Random orders come in pairs, one the reverse of the other: the difference that the order makes at
// second order in eps then cancels (equation 15), and the standard error is of third order, too.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

enum class Flow { kPlain, kGd, kSgd };

using Order = std::vector<int64_t>;

/// The batches of the step's epoch, in double.
class Epoch {
 public:
  explicit Epoch(const StepView& view) : oracle_(view.oracle) {
    for (const at::Tensor& examples : BatchesOfEpoch(view)) {
      batches_.push_back(oracle_.Load(examples));
      batches_.back().inputs = batches_.back().inputs.to(at::kDouble);
    }
  }

  int64_t size() const { return static_cast<int64_t>(batches_.size()); }  // m

  /// grad C_k [p].
  at::Tensor Gradient(int64_t k, const at::Tensor& theta) const {
    return oracle_.Evaluate(batches_[static_cast<size_t>(k)], theta).Mean();
  }

  /// Gradient [p] of the flow's loss, with `strength` for eps / n.
  at::Tensor Gradient(Flow flow, double strength, const at::Tensor& theta) const {
    const bool modified = flow != Flow::kPlain;
    const double weight = 1 / static_cast<double>(size());
    std::vector<Gradients> evaluated;
    const at::Tensor g = at::zeros_like(theta);
    for (const Batch& batch : batches_) {
      evaluated.push_back(oracle_.Evaluate(batch, theta, /*keep_graph=*/modified));
      g.add_(evaluated.back().Mean(), weight);
    }
    if (!modified) return g;
    const at::Tensor product = at::zeros_like(theta);
    for (const Gradients& of_batch : evaluated) {
      const at::Tensor& v = flow == Flow::kSgd ? of_batch.Mean() : g;
      product.add_(oracle_.HessianVectorProduct(of_batch, v), weight);
    }
    return g.add(product, strength / 2);
  }

 private:
  const Oracle& oracle_;
  std::vector<Batch> batches_;
};

/// A learning rate eps and what follows from it.
struct Pace {
  double learning_rate;  // eps
  int64_t n;             // steps on each batch
  double time;           // m eps

  double step() const { return learning_rate / static_cast<double>(n); }
};

/// Where an epoch of n-step SGD ends that takes the batches in this order.
at::Tensor SgdEnd(const Epoch& epoch, const Pace& pace, const Order& order,
                  const at::Tensor& theta) {
  at::Tensor w = theta;
  for (const int64_t k : order) {
    for (int64_t i = 0; i < pace.n; ++i) w = w.sub(epoch.Gradient(k, w), pace.step());
  }
  return w;
}

/// Where the heavy ball ends that has rolled for a while.
at::Tensor HeavyBallEnd(const Epoch& epoch, const Pace& pace, double beta,
                        const at::Tensor& theta) {
  // g + (s / 2) H g with s = 2 (eps / n) / (1 - beta)
  const double strength = 2 * pace.step() / (1 - beta);
  at::Tensor velocity = epoch.Gradient(Flow::kGd, strength, theta).mul(-pace.step());
  at::Tensor w = theta;
  for (int64_t i = 0; i < epoch.size() * pace.n; ++i) {
    const at::Tensor g = epoch.Gradient(Flow::kPlain, 0, w);
    velocity = velocity.mul(beta).sub(g, (1 - beta) * pace.step());
    w = w.add(velocity);
  }
  return w;
}

at::Tensor GdEnd(const Epoch& epoch, const Pace& pace, const at::Tensor& theta) {
  at::Tensor w = theta;
  for (int64_t i = 0; i < epoch.size() * pace.n; ++i) {
    w = w.sub(epoch.Gradient(Flow::kPlain, 0, w), pace.step());
  }
  return w;
}

/// A tensor [p] and how far it may be off, in the Euclidean norm: a scalar.
struct Estimate {
  at::Tensor value;
  at::Tensor error;
};

at::Tensor RungeKutta(const Epoch& epoch, Flow flow, double strength, double time, int64_t steps,
                      const at::Tensor& theta) {
  const double h = time / static_cast<double>(steps);
  const auto slope = [&](const at::Tensor& w) { return epoch.Gradient(flow, strength, w).neg(); };
  at::Tensor w = theta;
  for (int64_t i = 0; i < steps; ++i) {
    const at::Tensor k1 = slope(w);
    const at::Tensor k2 = slope(w.add(k1, h / 2));
    const at::Tensor k3 = slope(w.add(k2, h / 2));
    const at::Tensor k4 = slope(w.add(k3, h));
    w = w.add(k2.add(k3).mul(2).add(k1).add(k4), h / 6);
  }
  return w;
}

Estimate FlowEnd(const Epoch& epoch, Flow flow, double strength, double time, int64_t substeps,
                 const at::Tensor& theta) {
  const auto end = [&](int64_t steps) {
    return RungeKutta(epoch, flow, strength, time, steps, theta);
  };
  const at::Tensor coarse = end(substeps);
  const at::Tensor fine = end(2 * substeps);
  const at::Tensor difference = fine.sub(coarse);
  if (substeps % 2 != 0) return {fine, difference.norm().mul(2)};
  const at::Tensor of_order_4 = coarse.sub(end(substeps / 2)).div(16);
  const at::Tensor rest = difference.sub(of_order_4);
  return {fine, difference.norm().div(15).add(rest.norm()).mul(2)};
}

/// Orders of the batches, of which each stands for itself and its reverse.
struct Orders {
  std::vector<Order> pairs;
  bool all;  // of the m! orders, each once
};

/// All of them where there are at most `most`.
Orders ChooseOrders(int64_t batches, int64_t most, Stream& stream) {
  int64_t count = 1;
  for (int64_t k = 2; k <= batches && count <= most; ++k) count *= k;
  Orders orders{{}, count <= most};
  if (!orders.all) {
    for (int64_t i = 0; i < most / 2; ++i) orders.pairs.push_back(Permutation(stream, batches));
    return orders;
  }
  Order order(static_cast<size_t>(batches));
  std::iota(order.begin(), order.end(), int64_t{0});
  do {
    if (order.front() <= order.back()) orders.pairs.push_back(order);
  } while (std::ranges::next_permutation(order).found);
  return orders;
}

/// E w and its standard error.
Estimate MeanSgdEnd(const Epoch& epoch, const Pace& pace, const Orders& orders,
                    const at::Tensor& theta) {
  at::Tensor mean = at::zeros_like(theta);
  at::Tensor squares = at::zeros({}, theta.options());  // sum of |end of a pair - mean|^2
  double count = 0;
  for (const Order& order : orders.pairs) {
    const Order reverse(order.rbegin(), order.rend());
    const at::Tensor end =
        SgdEnd(epoch, pace, order, theta).add(SgdEnd(epoch, pace, reverse, theta)).div(2);
    const at::Tensor from_old = end.sub(mean);
    mean = mean.add(from_old, 1 / ++count);
    squares = squares.add(from_old.dot(end.sub(mean)));
  }
  const double divisor = count * (count - 1);
  return {mean, orders.all ? at::zeros_like(squares) : squares.div(divisor).sqrt()};
}

class ModifiedFlow : public Probe {
 public:
  ModifiedFlow() : Probe(Cadence::EveryEpochs(1)) {}

  void CheckNetwork(const Network& network, const std::string& path) const override {
    if (network.MixesExamples()) {
      throw Error(ErrorKind::kConfig, path,
                  "modified_flow takes the mean of the batches' losses for the loss of the full "
                  "batch, which it is not under batch normalization",
                  "Use a model without batch normalization (\"norm\": \"skipinit\" or \"none\", as "
                  "the model "
                  "has it), or remove the probe.");
    }
    CheckSize(network.table.size(), max_parameters_, "parameters", path + ".max_parameters");
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values;
    for (int64_t k = 0; k <= halvings_; ++k) {
      for (const char* value : {"learning_rate", "move", "sgd_to_plain", "sgd_to_gd", "sgd_to_sgd",
                                "sgd_se", "gd_to_plain", "gd_to_gd", "flow_error"}) {
        values.push_back("halved" + std::to_string(k) + "." + value);
      }
      if (momentum_ == 0) continue;
      for (const char* flow : {"plain", "gd", "heavy_ball"}) {
        values.push_back("halved" + std::to_string(k) + ".heavy_ball_to_" + flow);
      }
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const Epoch epoch(view);
    const at::Tensor theta = view.theta.to(at::kDouble);
    Stream stream(seed_, "modified_flow", static_cast<uint64_t>(view.step));
    const Orders orders = ChooseOrders(epoch.size(), orders_, stream);
    std::vector<at::Tensor> rows;
    for (int64_t k = 0; k <= halvings_; ++k) {
      const double learning_rate = std::ldexp(learning_rate_, -static_cast<int>(k));
      const Pace pace{learning_rate, n_, learning_rate * static_cast<double>(epoch.size())};
      rows.push_back(RowOf(epoch, pace, orders, theta));
    }
    return at::cat(rows);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "learning_rate",
                   .help = "eps of the epochs that are tried, whatever the run's own",
                   .paper = "implicit_regularization, equation 12",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  learning_rate_);
    visitor.Visit({.name = "halvings",
                   .help = "also with half of it, a quarter, ...: how often it is halved",
                   .min = 0,
                   .max = 50},
                  halvings_);
    visitor.Visit({.name = "n",
                   .help = "n-step SGD: steps of learning_rate / n on each batch",
                   .paper = "implicit_regularization, equation 33",
                   .min = 1,
                   .max = 1e6},
                  n_);
    visitor.Visit(
        {.name = "momentum",
         .help = "beta: also where the heavy ball ends, on the loss of the whole epoch and "
                 "at GD's pace, which costs another flow",
         .paper = "Ghosh et al. 2023",
         .min = 0,
         .max = 1,
         .below_max = true},
        momentum_);
    visitor.Visit({.name = "orders",
                   .help = "the mean is over all orders of the batches where there are at most so "
                           "many, else over so many random ones, in pairs of opposite order; each "
                           "costs an epoch",
                   .paper = "implicit_regularization, equation 15",
                   .min = 4,
                   .max = 1e5},
                  orders_);
    visitor.Visit({.name = "substeps",
                   .help = "Runge-Kutta steps of a flow; its end is taken from a finer run of "
                           "twice as many, and its error also from one of half as many where the "
                           "number is even (odd: stated more coarsely). Each of them costs 14 (12) "
                           "epochs of gradients for each of three flows, two of which also need "
                           "products with Hessians",
                   .min = 1,
                   .max = 1e6},
                  substeps_);
    visitor.Visit(
        {.name = "max_parameters", .help = "larger networks are refused", .min = 1, .max = 1e12},
        max_parameters_);
    visitor.Visit({.name = "max_batches",
                   .help = "epochs of more batches are refused",
                   .unit = "batches",
                   .min = 1,
                   .max = 1e9},
                  max_batches_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    CheckSize(context.sampler.steps_per_epoch(), max_batches_, "batches an epoch",
              context.path + ".max_batches");
    seed_ = context.seed;
  }

 private:
  static void CheckSize(int64_t found, int64_t most, const std::string& what,
                        const std::string& path) {
    if (found <= most) return;
    throw Error(ErrorKind::kConfig, path,
                "the run has " + std::to_string(found) + " " + what + ", but at most " +
                    std::to_string(most) + " are allowed: a measurement costs hundreds of epochs",
                "Make the problem smaller, or raise the limit if you have the time.");
  }

  at::Tensor RowOf(const Epoch& epoch, const Pace& pace, const Orders& orders,
                   const at::Tensor& theta) const {
    const Estimate sgd = MeanSgdEnd(epoch, pace, orders, theta);
    const at::Tensor gd = GdEnd(epoch, pace, theta);
    const auto end = [&](Flow flow, double factor) {
      return FlowEnd(epoch, flow, factor * pace.step(), pace.time, substeps_, theta);
    };
    const Estimate plain = end(Flow::kPlain, 0);
    const Estimate gd_flow = end(Flow::kGd, 1);
    const Estimate sgd_flow = end(Flow::kSgd, 1);
    const auto distance = [](const at::Tensor& a, const at::Tensor& b) { return a.sub(b).norm(); };
    const at::Tensor error = at::maximum(plain.error, at::maximum(gd_flow.error, sgd_flow.error));
    std::vector<at::Tensor> row = {at::full({}, pace.learning_rate, theta.options()),
                                   distance(sgd.value, theta),
                                   distance(sgd.value, plain.value),
                                   distance(sgd.value, gd_flow.value),
                                   distance(sgd.value, sgd_flow.value),
                                   sgd.error,
                                   distance(gd, plain.value),
                                   distance(gd, gd_flow.value),
                                   error};
    if (momentum_ == 0) return at::stack(row);
    const at::Tensor ball = HeavyBallEnd(epoch, pace, momentum_, theta);
    const Estimate ball_flow = end(Flow::kGd, (1 + momentum_) / (1 - momentum_));
    row.back() = at::maximum(error, ball_flow.error);
    for (const Estimate& flow : {plain, gd_flow, ball_flow}) {
      row.push_back(distance(ball, flow.value));
    }
    return at::stack(row);
  }

  double learning_rate_ = 0;
  int64_t halvings_ = 0;
  int64_t n_ = 1;
  double momentum_ = 0;
  int64_t orders_ = 120;
  int64_t substeps_ = 4;
  int64_t max_parameters_ = 10'000;
  int64_t max_batches_ = 100;
  uint64_t seed_ = 0;
};

const Registration<Probe, ModifiedFlow> kRegistration(
    "modified_flow",
    "the mean SGD iterate after an epoch against gradient flow on modified losses; small problems",
    {.base = R"({"every": 7, "substeps": 1, "orders": 4})", .variants = {R"({"momentum": 0.5})"}});

}  // namespace
}  // namespace sgdscope
