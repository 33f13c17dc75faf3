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
// With `sequences` > 0, how single sequences of batches scatter (section 2.2), by so many random ones
// of each kind, which are the same for all learning rates:
//   once_spread      root of the mean squared distance from their mean of where epochs end that take
//                    each batch once
//   redrawn_spread   the same where each batch is drawn anew, from all examples of the epoch
//   mirrored_spread  the same after two epochs, of which the second has the batches of the first in
//                    reverse
//   mirrored_to_sgd  root of their mean squared distance from the end of the sgd flow for the time
//                    2 m eps; flow_error is then also that of this flow
// Where the loss is smooth, they are of second, first, third and third order.
//
// Rules with memory (gradients/memory_rules.h: the heavy ball where momentum is above 0, and `rules`)
// take m n steps at GD's pace, s = eps / n, and so do their flows:
//   plain   u, the flow to first order: with momentum that of C
//   RULE    f, equation 2 there: with momentum that of C + (eps / 4n) A |grad C|^2; of shuffled
//           averages equation 4 there
// averages = settled: on C, with averages that have forgotten their start. They begin with what they
// would hold if the gradients had been grad C + k s H u, k steps ago.
//   RULE_to_plain, RULE_to_gd (with momentum), RULE_to_RULE
//   RULE_factor    <end - plain's end, H u> / -(m n s^2 / 2) <H u, D H u>, the A that it shows: a mean
//                  over the weights, below 0 where the rule raises the norm of the gradient
// averages = fresh: from the rule's first step on, at which its averages are 0, on the batches in the
// order of the epoch. The flows take u_n and f_n (equation 1 there) for the n-th step's time s.
//   RULE_to_plain, RULE_to_RULE
// averages = shuffled: on the batches, mean over their orders, momentum alone. From theta as the
// point y where it would come to rest without further gradients, with the velocity grad C, to
// the mean of y after the epoch.
//   RULE_to_plain, RULE_to_sgd, RULE_to_RULE
//   RULE_se        as sgd_se, but of second order: the order counts within the velocity's memory
// Of third order is RULE_to_RULE alone.
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
#include <functional>
#include <memory>
#include <numeric>
#include <utility>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "gradients/memory_rules.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

using Slope = std::function<at::Tensor(const at::Tensor& theta)>;
using Along = std::function<at::Tensor(const at::Tensor& own, const at::Tensor& mean)>;
using Order = std::vector<int64_t>;

/// Batches, each given by its examples, in double.
class Epoch {
 public:
  Epoch(const Oracle& oracle, const std::vector<at::Tensor>& batches) : oracle_(oracle) {
    for (const at::Tensor& examples : batches) {
      batches_.push_back(oracle_.Load(examples));
      batches_.back().inputs = batches_.back().inputs.to(at::kDouble);
    }
  }

  int64_t size() const { return static_cast<int64_t>(batches_.size()); }  // m

  /// grad C_k [p].
  at::Tensor Gradient(int64_t k, const at::Tensor& theta) const {
    return oracle_.Evaluate(batches_[static_cast<size_t>(k)], theta).Mean();
  }

  /// What it finds on each batch at theta [p]: with graphs.
  std::vector<Gradients> Evaluate(const at::Tensor& theta) const {
    std::vector<Gradients> evaluated;
    for (const Batch& batch : batches_) {
      evaluated.push_back(oracle_.Evaluate(batch, theta, /*keep_graph=*/true));
    }
    return evaluated;
  }

  /// grad C [p].
  at::Tensor Gradient(const at::Tensor& theta) const {
    const at::Tensor g = at::zeros_like(theta);
    for (int64_t k = 0; k < size(); ++k) g.add_(Gradient(k, theta), weight());
    return g;
  }

  /// grad C and (1/m) sum_k H_k v_k [p], with the v_k that `along` makes of grad C_k and grad C.
  std::pair<at::Tensor, at::Tensor> WithProduct(const at::Tensor& theta, const Along& along) const {
    const std::vector<Gradients> evaluated = Evaluate(theta);
    const at::Tensor g = at::zeros_like(theta);
    for (const Gradients& of_batch : evaluated) g.add_(of_batch.Mean(), weight());
    const at::Tensor product = at::zeros_like(theta);
    for (const Gradients& of_batch : evaluated) {
      product.add_(oracle_.HessianVectorProduct(of_batch, along(of_batch.Mean(), g)), weight());
    }
    return {g, product};
  }

  /// H_k v [p], of what Evaluate found.
  at::Tensor Product(const Gradients& of_batch, const at::Tensor& v) const {
    return oracle_.HessianVectorProduct(of_batch, v, /*again=*/true);
  }

 private:
  double weight() const { return 1 / static_cast<double>(size()); }

  const Oracle& oracle_;
  std::vector<Batch> batches_;
};

/// A learning rate eps and what follows from it.
struct Pace {
  double learning_rate;  // eps
  int64_t n;             // steps on each batch
  double time;           // m eps
  int64_t steps;         // m n

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

at::Tensor GdEnd(const Epoch& epoch, const Pace& pace, const at::Tensor& theta) {
  at::Tensor w = theta;
  for (int64_t i = 0; i < pace.steps; ++i) w = w.sub(epoch.Gradient(w), pace.step());
  return w;
}

/// A tensor [p] and how far it may be off, in the Euclidean norm: a scalar.
struct Estimate {
  at::Tensor value;
  at::Tensor error;
};

/// Where d theta / dt = -slope(theta) arrives.
at::Tensor RungeKutta(const Slope& slope, double time, int64_t steps, const at::Tensor& theta) {
  const double h = -time / static_cast<double>(steps);
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

/// The end of a flow that is integrated in so many steps, or as many for each of its pieces.
Estimate FlowEnd(const std::function<at::Tensor(int64_t steps)>& end, int64_t substeps) {
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

Order Reverse(const Order& order) { return {order.rbegin(), order.rend()}; }

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

/// Numbers [p] that come one after the other: their mean, and how they scatter around it.
class Scatter {
 public:
  explicit Scatter(const at::Tensor& theta)
      : mean_(at::zeros_like(theta)), squares_(at::zeros({}, theta.options())) {}

  void Add(const at::Tensor& value) {
    const at::Tensor from_old = value.sub(mean_);
    mean_ = mean_.add(from_old, 1 / ++count_);
    squares_ = squares_.add(from_old.dot(value.sub(mean_)));
  }

  const at::Tensor& Mean() const { return mean_; }
  /// The root of the mean squared distance from the mean, which is unbiased before the root.
  at::Tensor Deviation() const { return squares_.div(count_ - 1).sqrt(); }
  /// The same of the mean.
  at::Tensor StandardError() const { return squares_.div(count_ * (count_ - 1)).sqrt(); }

 private:
  at::Tensor mean_;
  at::Tensor squares_;  // sum of |value - mean|^2
  double count_ = 0;
};

/// The mean over the orders of where an epoch ends, and its standard error.
Estimate MeanEnd(const Orders& orders, const at::Tensor& theta,
                 const std::function<at::Tensor(const Order& order)>& end) {
  Scatter ends(theta);  // of the pairs
  for (const Order& order : orders.pairs) ends.Add(end(order).add(end(Reverse(order))).div(2));
  return {ends.Mean(), orders.all ? at::zeros({}, theta.options()) : ends.StandardError()};
}

/// Random sequences of batches.
struct Sequences {
  std::vector<Order> once;     // each batch once
  std::vector<Epoch> redrawn;  // each batch of distinct examples of the epoch, whatever others have
};

Sequences DrawSequences(const Oracle& oracle, const std::vector<at::Tensor>& batches, int64_t count,
                        Stream& stream) {
  const at::Tensor examples = at::cat(batches);
  Sequences sequences;
  for (int64_t i = 0; i < count; ++i) {
    sequences.once.push_back(Permutation(stream, static_cast<int64_t>(batches.size())));
    std::vector<at::Tensor> redrawn;
    for (const at::Tensor& batch : batches) {
      const at::Tensor places = DrawDistinct(stream, batch.size(0), examples.size(0));
      redrawn.push_back(examples.index_select(0, places));
    }
    sequences.redrawn.emplace_back(oracle, redrawn);
  }
  return sequences;
}

/// A rule with memory on the losses of an epoch.
class Remembering {
 public:
  using Make = std::function<std::unique_ptr<MemoryRule>()>;

  Remembering(const Epoch& epoch, const Pace& pace, Make make)
      : epoch_(epoch), pace_(pace), make_(std::move(make)), formulas_(make_()) {}

  const MemoryRule& formulas() const { return *formulas_; }

  // On C, settled.

  at::Tensor SettledEnd(const at::Tensor& theta) const {
    const auto rule = make_();
    const auto [g, h_u] = OfEpoch(theta);
    rule->Settle(g, h_u, pace_.step());
    at::Tensor w = theta;
    for (int64_t i = 0; i < pace_.steps; ++i) {
      w = w.sub(rule->Next(Constant(epoch_.Gradient(w)), Constant(w)).value, pace_.step());
    }
    return w;
  }

  /// u [p].
  at::Tensor PlainSlope(const at::Tensor& theta) const {
    return formulas_->Direction(epoch_.Gradient(theta), theta);
  }

  /// f [p], equation 2 of gradients/memory_rules.h.
  at::Tensor SettledSlope(const at::Tensor& theta) const {
    const auto [g, h_u] = OfEpoch(theta);
    const at::Tensor u = formulas_->Direction(g, theta);
    return u.add(formulas_->Correction(g, u, h_u), pace_.step() / 2);
  }

  /// The A that a settled end shows which is so far [p] from that of u's flow; with decay also what
  /// lambda u adds to it.
  at::Tensor Factor(const at::Tensor& off, const at::Tensor& theta) const {
    const auto [g, h_u] = OfEpoch(theta);
    const at::Tensor unit =
        h_u.dot(formulas_->Scale(g).mul(h_u)).mul(-pace_.time * pace_.step() / 2);
    return Ratio(off.dot(h_u), unit);
  }

  // On one batch after the other, fresh.

  at::Tensor FreshEnd(const at::Tensor& theta) const {
    const auto rule = make_();
    at::Tensor w = theta;
    for (int64_t i = 0; i < pace_.steps; ++i) {
      const Dual g = Constant(epoch_.Gradient(i / pace_.n, w));
      w = w.sub(rule->Next(g, Constant(w)).value, pace_.step());
    }
    return w;
  }

  /// Where the flows of u_n, or of f_n (`modified`), arrive one after the other.
  at::Tensor FreshFlowEnd(bool modified, int64_t substeps, const at::Tensor& theta) const {
    at::Tensor w = theta;
    for (int64_t n = 0; n < pace_.steps; ++n) {
      const auto slope = [&](const at::Tensor& at) { return FreshSlope(n, modified, at); };
      w = RungeKutta(slope, pace_.step(), substeps, w);
    }
    return w;
  }

  // On the batches in an order of theirs, settled.

  /// Where y is after the epoch that is theta before it, with the velocity grad C = `mean`. `lag`:
  /// l of equation 4.
  at::Tensor ShuffledEnd(const Order& order, const at::Tensor& mean, double lag,
                         const at::Tensor& theta) const {
    const auto rule = make_();
    rule->Settle(mean, at::zeros_like(mean), pace_.step());
    at::Tensor y = theta;
    at::Tensor w = theta.add(mean, pace_.step() * lag);
    for (const int64_t k : order) {
      for (int64_t i = 0; i < pace_.n; ++i) {
        const at::Tensor g = epoch_.Gradient(k, w);
        y = y.sub(g, pace_.step());
        w = w.sub(rule->Next(Constant(g), Constant(w)).value, pace_.step());
      }
    }
    return y;
  }

 private:
  static Dual Constant(const at::Tensor& x) { return {x, at::zeros_like(x)}; }

  /// grad C and H u [p].
  std::pair<at::Tensor, at::Tensor> OfEpoch(const at::Tensor& theta) const {
    return epoch_.WithProduct(theta, [&](const at::Tensor&, const at::Tensor& g) {
      return formulas_->Direction(g, theta);
    });
  }

  /// By equation 1 of gradients/memory_rules.h u_n, or f_n [p].
  at::Tensor FreshSlope(int64_t n, bool modified, const at::Tensor& theta) const {
    const std::vector<Gradients> evaluated = epoch_.Evaluate(theta);
    const auto of_step = [&](int64_t j) -> const Gradients& {
      return evaluated[static_cast<size_t>(j / pace_.n)];
    };
    std::vector<at::Tensor> u;
    auto rule = make_();
    for (int64_t j = 0; j <= n; ++j) {
      u.push_back(rule->Next(Constant(of_step(j).Mean()), Constant(theta)).value);
    }
    if (!modified) return u.back();
    std::vector<Dual> g(u.size());
    std::vector<Dual> thetas(u.size());
    at::Tensor way = u.back().div(2);  // u_j + ... + u_{n-1} + u_n / 2
    for (int64_t j = n; j >= 0; --j) {
      const auto place = static_cast<size_t>(j);
      if (j < n) way = way.add(u[place]);
      g[place] = {of_step(j).Mean(), epoch_.Product(of_step(j), way)};
      thetas[place] = {theta, way};
    }
    rule = make_();
    Dual d;
    for (size_t j = 0; j < g.size(); ++j) d = rule->Next(g[j], thetas[j]);
    return d.value.add(d.change, pace_.step());
  }

  const Epoch& epoch_;
  Pace pace_;
  Make make_;
  std::unique_ptr<MemoryRule> formulas_;
};

constexpr const char* kSettled = "settled";
constexpr const char* kFresh = "fresh";
constexpr const char* kShuffled = "shuffled";

at::Tensor Distance(const at::Tensor& a, const at::Tensor& b) { return a.sub(b).norm(); }

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

  void Check(const std::string& path) const override {
    rules_.Check(path);
    for (const std::string& rule : rules_.names()) {
      if (averages_ != kShuffled || rules_.Make(rule)->HasScalar()) continue;
      throw Error(ErrorKind::kConfig, path + ".averages",
                  "shuffled, but what " + rule +
                      " holds of gradients that differ from batch to batch is no function of their "
                      "mean, so that there is no such flow for it",
                  "Set " + path + ".averages to settled or fresh, or leave " + rule + " out of " +
                      path + ".rules.");
    }
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values;
    for (int64_t k = 0; k <= halvings_; ++k) {
      for (const char* value : {"learning_rate", "move", "sgd_to_plain", "sgd_to_gd", "sgd_to_sgd",
                                "sgd_se", "gd_to_plain", "gd_to_gd", "flow_error"}) {
        values.push_back("halved" + std::to_string(k) + "." + value);
      }
      for (const std::string& rule : rules_.names()) {
        const std::string stem = "halved" + std::to_string(k) + "." + rule;
        const bool settled = averages_ == kSettled;
        const bool shuffled = averages_ == kShuffled;
        values.push_back(stem + "_to_plain");
        if (settled && rules_.Make(rule)->HasScalar()) values.push_back(stem + "_to_gd");
        if (shuffled) values.push_back(stem + "_to_sgd");
        values.push_back(stem + "_to_" + rule);
        if (settled) values.push_back(stem + "_factor");
        if (shuffled) values.push_back(stem + "_se");
      }
      if (sequences_ == 0) continue;
      for (const char* value :
           {"once_spread", "redrawn_spread", "mirrored_spread", "mirrored_to_sgd"}) {
        values.push_back("halved" + std::to_string(k) + "." + value);
      }
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const std::vector<at::Tensor> batches = BatchesOfEpoch(view);
    const Epoch epoch(view.oracle, batches);
    const at::Tensor theta = view.theta.to(at::kDouble);
    const auto step = static_cast<uint64_t>(view.step);
    Stream stream(seed_, "modified_flow", step);
    const Orders orders = ChooseOrders(epoch.size(), orders_, stream);
    Stream of_sequences(seed_, "modified_flow.sequences", step);
    const Sequences sequences = DrawSequences(view.oracle, batches, sequences_, of_sequences);
    std::vector<at::Tensor> rows;
    for (int64_t k = 0; k <= halvings_; ++k) {
      const double learning_rate = std::ldexp(learning_rate_, -static_cast<int>(k));
      const Pace pace{learning_rate, n_, learning_rate * static_cast<double>(epoch.size()),
                      n_ * epoch.size()};
      rows.push_back(RowOf(epoch, pace, orders, sequences, theta));
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
    rules_.Fields(visitor, "how far an epoch ends from two flows, at GD's pace,");
    visitor.Visit({.name = "averages",
                   .help = "of the rules with memory: settled, as after a long while, on the loss "
                           "of the whole epoch; fresh, from 0 on, on the epoch's batches in "
                           "their order, where each evaluation of a flow costs a product with a "
                           "Hessian for every step so far; or shuffled, as after a long while on "
                           "the batches, mean over orders, for the heavy ball and nesterov only",
                   .paper = "Cattaneo et al. 2024",
                   .allowed = {kSettled, kFresh, kShuffled}},
                  averages_);
    visitor.Visit({.name = "orders",
                   .help = "the mean is over all orders of the batches where there are at most so "
                           "many, else over so many random ones, in pairs of opposite order; each "
                           "costs an epoch",
                   .paper = "implicit_regularization, equation 15",
                   .min = 4,
                   .max = 1e5},
                  orders_);
    visitor.Visit({.name = "sequences",
                   .help = "also how single random sequences of batches scatter, by so many of "
                           "each kind, which cost three epochs together; 0: none, else at "
                           "least 2",
                   .paper = "implicit_regularization, section 2.2",
                   .min = 0,
                   .max = 1e5},
                  sequences_);
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
    if (sequences_ != 1) return;
    throw Error(ErrorKind::kConfig, context.path + ".sequences",
                "1, and a single sequence does not scatter",
                "Give 2 or more, or 0 to do without them.");
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
                   const Sequences& sequences, const at::Tensor& theta) const {
    const Estimate sgd = MeanEnd(
        orders, theta, [&](const Order& order) { return SgdEnd(epoch, pace, order, theta); });
    const at::Tensor gd = GdEnd(epoch, pace, theta);
    const Estimate plain = End([&](const at::Tensor& w) { return epoch.Gradient(w); }, pace, theta);
    const Estimate gd_flow = ModifiedEnd(epoch, OfMean, pace, theta);
    const Estimate sgd_flow = ModifiedEnd(epoch, OfBatch, pace, theta);
    std::vector<at::Tensor> row = {at::full({}, pace.learning_rate, theta.options()),
                                   Distance(sgd.value, theta),
                                   Distance(sgd.value, plain.value),
                                   Distance(sgd.value, gd_flow.value),
                                   Distance(sgd.value, sgd_flow.value),
                                   sgd.error,
                                   Distance(gd, plain.value),
                                   Distance(gd, gd_flow.value)};
    const size_t place = row.size();
    at::Tensor error = at::maximum(plain.error, at::maximum(gd_flow.error, sgd_flow.error));
    const Flows flows{plain, gd_flow, sgd_flow};
    for (const std::string& name : rules_.names()) {
      error = at::maximum(error, AddRule(name, epoch, pace, flows, orders, theta, row));
    }
    if (!sequences.once.empty()) {
      error = at::maximum(error, AddSequences(epoch, sequences, pace, theta, row));
    }
    row.insert(row.begin() + static_cast<std::ptrdiff_t>(place), error);
    return at::stack(row);
  }

  Estimate End(const Slope& slope, const Pace& pace, const at::Tensor& theta) const {
    return FlowEnd([&](int64_t steps) { return RungeKutta(slope, pace.time, steps, theta); },
                   substeps_);
  }

  static at::Tensor OfBatch(const at::Tensor& own, const at::Tensor&) { return own; }
  static at::Tensor OfMean(const at::Tensor&, const at::Tensor& mean) { return mean; }

  /// Of the flow on gradient descent's modified loss (along = OfMean), or on SGD's (OfBatch).
  Estimate ModifiedEnd(const Epoch& epoch, const Along& along, const Pace& pace,
                       const at::Tensor& theta) const {
    const auto slope = [&](const at::Tensor& w) {
      const auto [g, product] = epoch.WithProduct(w, along);
      return g.add(product, pace.step() / 2);
    };
    return End(slope, pace, theta);
  }

  /// Adds how single sequences scatter to `row`; the error of the flow of two epochs.
  at::Tensor AddSequences(const Epoch& epoch, const Sequences& sequences, const Pace& pace,
                          const at::Tensor& theta, std::vector<at::Tensor>& row) const {
    Pace two_epochs = pace;
    two_epochs.time *= 2;
    const Estimate flow = ModifiedEnd(epoch, OfBatch, two_epochs, theta);
    Scatter once(theta);
    Scatter redrawn(theta);
    Scatter mirrored(theta);
    at::Tensor off = at::zeros({}, theta.options());
    for (size_t i = 0; i < sequences.once.size(); ++i) {
      const Order& order = sequences.once[i];
      const at::Tensor end = SgdEnd(epoch, pace, order, theta);
      const at::Tensor end_of_two = SgdEnd(epoch, pace, Reverse(order), end);
      once.Add(end);
      redrawn.Add(SgdEnd(sequences.redrawn[i], pace, order, theta));
      mirrored.Add(end_of_two);
      off = off.add(end_of_two.sub(flow.value).square().sum());
    }
    const auto count = static_cast<double>(sequences.once.size());
    row.insert(row.end(), {once.Deviation(), redrawn.Deviation(), mirrored.Deviation(),
                           off.div(count).sqrt()});
    return flow.error;
  }

  /// Of no rule with memory.
  struct Flows {
    const Estimate& plain;
    const Estimate& gd;
    const Estimate& sgd;
  };

  /// Adds the values of a rule with memory to `row`; the error of its flows' ends.
  at::Tensor AddRule(const std::string& name, const Epoch& epoch, const Pace& pace,
                     const Flows& flows, const Orders& orders, const at::Tensor& theta,
                     std::vector<at::Tensor>& row) const {
    const Remembering rule(epoch, pace, [&] { return rules_.Make(name); });
    if (averages_ == kSettled) return AddSettled(rule, pace, flows, theta, row);
    if (averages_ == kFresh) return AddFresh(rule, theta, row);
    const BatchFactors factors = rules_.OnBatches(name, epoch.size(), pace.n);
    const at::Tensor mean = epoch.Gradient(theta);
    const Estimate end = MeanEnd(orders, theta, [&](const Order& order) {
      return rule.ShuffledEnd(order, mean, factors.lag(), theta);
    });
    const auto along = [&](const at::Tensor& own, const at::Tensor& g) {
      return own.mul(factors.own).add(g, factors.mean);
    };
    const Estimate own = ModifiedEnd(epoch, along, pace, theta);
    row.insert(row.end(),
               {Distance(end.value, flows.plain.value), Distance(end.value, flows.sgd.value),
                Distance(end.value, own.value), end.error});
    return own.error;
  }

  at::Tensor AddSettled(const Remembering& rule, const Pace& pace, const Flows& flows,
                        const at::Tensor& theta, std::vector<at::Tensor>& row) const {
    const bool momentum = rule.formulas().HasScalar();
    const at::Tensor end = rule.SettledEnd(theta);
    const auto slope = [&](const at::Tensor& w) { return rule.PlainSlope(w); };
    const Estimate plain = momentum ? flows.plain : End(slope, pace, theta);
    const Estimate own =
        End([&](const at::Tensor& w) { return rule.SettledSlope(w); }, pace, theta);
    row.push_back(Distance(end, plain.value));
    if (momentum) row.push_back(Distance(end, flows.gd.value));
    row.push_back(Distance(end, own.value));
    row.push_back(rule.Factor(end.sub(plain.value), theta));
    return at::maximum(plain.error, own.error);
  }

  at::Tensor AddFresh(const Remembering& rule, const at::Tensor& theta,
                      std::vector<at::Tensor>& row) const {
    const at::Tensor end = rule.FreshEnd(theta);
    at::Tensor error = at::zeros({}, theta.options());
    for (const bool modified : {false, true}) {
      const Estimate flow = FlowEnd(
          [&](int64_t steps) { return rule.FreshFlowEnd(modified, steps, theta); }, substeps_);
      row.push_back(Distance(end, flow.value));
      error = at::maximum(error, flow.error);
    }
    return error;
  }

  double learning_rate_ = 0;
  int64_t halvings_ = 0;
  int64_t n_ = 1;
  MemoryRules rules_;
  std::string averages_ = kSettled;
  int64_t orders_ = 120;
  int64_t sequences_ = 0;
  int64_t substeps_ = 4;
  int64_t max_parameters_ = 10'000;
  int64_t max_batches_ = 100;
  uint64_t seed_ = 0;
};

const Registration<Probe, ModifiedFlow> kRegistration(
    "modified_flow",
    "the mean SGD iterate after an epoch against gradient flow on modified losses; small problems",
    // With beta2 near 1 the settled flows of large moves blow up, and rounding with them.
    {.base = R"({"every": 13, "substeps": 1, "orders": 4})",
     .variants = {
         R"({"sequences": 2, "every": 23})",
         R"({"momentum": 0.5, "rules": ["nesterov", "rmsprop", "adamw"], "epsilon": 0.1, "beta2": 0.75, "every": 29})",
         R"({"momentum": 0.5, "rules": ["adam"], "averages": "fresh", "every": 99})",
         R"({"momentum": 0.5, "averages": "shuffled", "every": 99})"}});

}  // namespace
}  // namespace sgdscope
