#include "probes/memory_rules.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"

namespace sgdscope {
namespace {

constexpr const char* kHeavyBall = "heavy_ball";
constexpr const char* kNesterov = "nesterov";
constexpr const char* kRmsProp = "rmsprop";
constexpr const char* kAdam = "adam";

/// phi(beta) of equation 2.
double Phi(double beta) { return (1 + beta) / (1 - beta); }

/// An exponential average that starts at 0.
class Average {
 public:
  explicit Average(double beta) : beta_(beta) {}

  double beta() const { return beta_; }
  const Dual& Add(const Dual& x) {
    if (!now_.value.defined()) now_ = {at::zeros_like(x.value), at::zeros_like(x.value)};
    now_ = {now_.value.mul(beta_).add(x.value, 1 - beta_),
            now_.change.mul(beta_).add(x.change, 1 - beta_)};
    return now_;
  }
  void Set(const at::Tensor& value) { now_ = {value, at::zeros_like(value)}; }

 private:
  double beta_;
  Dual now_;
};

class Momentum final : public MemoryRule {
 public:
  Momentum(double beta, bool nesterov) : velocity_(beta), nesterov_(nesterov) {}

  at::Tensor Direction(const at::Tensor& g) const override { return g; }
  at::Tensor Scale(const at::Tensor& g) const override { return at::ones_like(g); }
  at::Tensor Factors(const at::Tensor& g) const override {
    const double beta = velocity_.beta();
    return at::full_like(g, nesterov_ ? 1 - beta + beta * Phi(beta) : Phi(beta));
  }
  at::Tensor Norm(const at::Tensor& g) const override { return g.dot(g).div(2); }
  bool HasScalar() const override { return true; }

  // The mean of k >= 1 with the weights (1 - beta) beta^(k-1) is 1 / (1 - beta).
  void Settle(const at::Tensor& g, const at::Tensor& h_u, double s) override {
    velocity_.Set(g.add(h_u, s / (1 - velocity_.beta())));
  }

  Dual Next(const Dual& g) override {
    const Dual& velocity = velocity_.Add(g);
    if (!nesterov_) return velocity;
    const double beta = velocity_.beta();
    return {velocity.value.mul(beta).add(g.value, 1 - beta),
            velocity.change.mul(beta).add(g.change, 1 - beta)};
  }

 private:
  Average velocity_;
  bool nesterov_;
};

class Adaptive final : public MemoryRule {
 public:
  Adaptive(double beta1, double beta2, double epsilon, bool corrects)
      : mean_(beta1), square_(beta2), epsilon_(epsilon), corrects_(corrects) {}

  at::Tensor Direction(const at::Tensor& g) const override { return g.mul(Scale(g)); }
  at::Tensor Scale(const at::Tensor& g) const override {
    return g.abs().add(epsilon_).reciprocal();
  }
  at::Tensor Factors(const at::Tensor& g) const override {
    return g.abs().mul(Scale(g)).mul(-Phi(square_.beta())).add(Phi(mean_.beta()));
  }
  at::Tensor Norm(const at::Tensor& g) const override {
    return g.abs().sub(g.abs().div(epsilon_).log1p(), epsilon_).sum();
  }
  bool HasScalar() const override { return false; }

  // Of k >= 1 with the weights (1 - beta) beta^(k-1) the variance is beta / (1 - beta)^2.
  void Settle(const at::Tensor& g, const at::Tensor& h_u, double s) override {
    const auto mean = [&](double beta) { return g.add(h_u, s / (1 - beta)); };
    mean_.Set(mean(mean_.beta()));
    const double beta = square_.beta();
    const double variance = beta / ((1 - beta) * (1 - beta));
    square_.Set(mean(beta).square().add(h_u.square(), s * s * variance));
    corrects_ = false;
  }

  Dual Next(const Dual& g) override {
    ++steps_;
    const Dual& m = mean_.Add(g);
    const Dual& q = square_.Add({g.value.square(), g.value.mul(g.change).mul(2)});
    const double correction = Correction(mean_.beta());
    const double root_correction = std::sqrt(Correction(square_.beta()));
    const at::Tensor root = q.value.sqrt().div(root_correction);
    const at::Tensor root_change = q.change.div(q.value.sqrt().mul(2 * root_correction))
                                       .masked_fill(q.value.eq(0), 0);  // no gradient, ever
    const at::Tensor metric = root.add(epsilon_);
    const at::Tensor d = m.value.div(correction).div(metric);
    return {d, m.change.div(correction).sub(d.mul(root_change)).div(metric)};
  }

 private:
  double Correction(double beta) const { return corrects_ ? 1 - std::pow(beta, steps_) : 1; }

  Average mean_;
  Average square_;
  double epsilon_;
  bool corrects_;  // for the averages' start at 0
  int64_t steps_ = 0;
};

}  // namespace

void MemoryRules::Fields(FieldVisitor& visitor, const std::string& measured) {
  visitor.Visit({.name = "momentum",
                 .help = "beta: above 0 also " + measured + " of the heavy ball",
                 .paper = "Ghosh et al. 2023",
                 .min = 0,
                 .max = 1,
                 .below_max = true},
                momentum_);
  visitor.Visit({.name = "rules",
                 .help = "also " + measured +
                         " of these: nesterov with the beta of momentum, "
                         "rmsprop with beta2 and epsilon, adam with all three",
                 .paper = "Cattaneo et al. 2024",
                 .allowed = {kNesterov, kRmsProp, kAdam}},
                others_);
  visitor.Visit({.name = "beta1",
                 .help = "adam's decay of the mean of gradients",
                 .min = 0,
                 .max = 1,
                 .below_max = true},
                beta1_);
  visitor.Visit({.name = "beta2",
                 .help = "rmsprop's and adam's decay of the mean of squared gradients",
                 .min = 0,
                 .max = 1,
                 .below_max = true},
                beta2_);
  visitor.Visit({.name = "epsilon",
                 .help = "rmsprop and adam: added to the root of the mean square. Their flows are "
                         "near as long as a step changes a gradient by less than itself or epsilon",
                 .min = 0,
                 .above_min = true},
                epsilon_);
}

void MemoryRules::Check(const std::string& path) const {
  if (std::set<std::string>(others_.begin(), others_.end()).size() < others_.size()) {
    throw Error(ErrorKind::kConfig, path + ".rules", "a rule is named twice", "Name each once.");
  }
  if (momentum_ == 0 && std::ranges::find(others_, kNesterov) != others_.end()) {
    throw Error(ErrorKind::kConfig, path + ".rules",
                "nesterov is named, but without momentum it is gradient descent",
                "Set " + path + ".momentum above 0, or leave out nesterov.");
  }
}

std::vector<std::string> MemoryRules::names() const {
  std::vector<std::string> names = others_;
  if (momentum_ > 0) names.insert(names.begin(), kHeavyBall);
  return names;
}

std::unique_ptr<MemoryRule> MemoryRules::Make(const std::string& name) const {
  if (name == kHeavyBall || name == kNesterov) {
    return std::make_unique<Momentum>(momentum_, name == kNesterov);
  }
  const bool adam = name == kAdam;
  return std::make_unique<Adaptive>(adam ? beta1_ : 0, beta2_, epsilon_, adam);
}

}  // namespace sgdscope
