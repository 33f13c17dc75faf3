#include "gradients/memory_rules.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"

namespace sgdscope {
namespace {

constexpr const char* kHeavyBall = "heavy_ball";
constexpr const char* kNesterov = "nesterov";
constexpr const char* kRmsProp = "rmsprop";
constexpr const char* kRmsPropMomentum = "rmsprop_momentum";
constexpr const char* kAdam = "adam";
constexpr const char* kAdamW = "adamw";

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

  at::Tensor Direction(const at::Tensor& g, const at::Tensor&) const override { return g; }
  at::Tensor Scale(const at::Tensor& g) const override { return at::ones_like(g); }
  at::Tensor Factors(const at::Tensor& g) const override {
    const double beta = velocity_.beta();
    return at::full_like(g, nesterov_ ? 1 - beta + beta * Phi(beta) : Phi(beta));
  }
  at::Tensor OwnFactors(const at::Tensor& g) const override { return at::ones_like(g); }
  at::Tensor Norm(const at::Tensor& g) const override { return g.dot(g).div(2); }
  bool HasScalar() const override { return true; }

  // The mean of k >= 1 with the weights (1 - beta) beta^(k-1) is 1 / (1 - beta).
  void Settle(const at::Tensor& g, const at::Tensor& h_u, double s) override {
    velocity_.Set(g.add(h_u, s / (1 - velocity_.beta())));
  }

  Dual Next(const Dual& g, const Dual&) override {
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

/// What the adaptive rules are made of: 0 is what a rule has not.
struct Parts {
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double momentum = 0;
  double decay = 0;
  bool corrects = false;  // for the averages' start at 0
};

class Adaptive final : public MemoryRule {
 public:
  explicit Adaptive(const Parts& parts)
      : mean_(parts.beta1),
        square_(parts.beta2),
        velocity_(parts.momentum),
        epsilon_(parts.epsilon),
        decay_(parts.decay),
        corrects_(parts.corrects) {}

  at::Tensor Direction(const at::Tensor& g, const at::Tensor& theta) const override {
    return g.mul(Scale(g)).add(theta, decay_);
  }
  at::Tensor Scale(const at::Tensor& g) const override {
    return g.abs().add(epsilon_).reciprocal();
  }
  at::Tensor Factors(const at::Tensor& g) const override {
    const double further_back = Phi(velocity_.beta()) - 1;
    return g.abs()
        .mul(Scale(g))
        .mul(-Phi(square_.beta()) - further_back)
        .add(Phi(mean_.beta()) + further_back);
  }
  at::Tensor OwnFactors(const at::Tensor& g) const override { return Scale(g).mul(epsilon_); }
  at::Tensor Norm(const at::Tensor& g) const override {
    return g.abs().sub(g.abs().div(epsilon_).log1p(), epsilon_).sum();
  }
  bool HasScalar() const override { return false; }
  double decay() const override { return decay_; }

  void Settle(const at::Tensor& g, const at::Tensor& h_u, double s) override {
    const auto mean = [&](int64_t k) { return Since(k, mean_, g, h_u, s); };
    const double beta = square_.beta();
    const double variance = beta / ((1 - beta) * (1 - beta));
    const auto square = [&](int64_t k) {
      return Since(k, square_, g, h_u, s).square().add(h_u.square(), s * s * variance);
    };
    mean_.Set(mean(1));
    square_.Set(square(1));
    at::Tensor velocity = at::zeros_like(g);
    double rest = 1;  // of the weights (1 - beta) beta^(k-1)
    for (int64_t k = 1; rest > kNothing; ++k, rest *= velocity_.beta()) {
      const at::Tensor d = mean(k).div(square(k).sqrt().add(epsilon_));
      velocity = velocity.add(d, (1 - velocity_.beta()) * rest);
    }
    velocity_.Set(velocity);
    corrects_ = false;
  }

  Dual Next(const Dual& g, const Dual& theta) override {
    const Dual& velocity = velocity_.Add(Scaled(g));
    return {velocity.value.add(theta.value, decay_), velocity.change.add(theta.change, decay_)};
  }

 private:
  static constexpr double kNothing = 1e-17;

  /// Where the gradient was g + k s H u, k steps ago, the mean of an average k steps ago. Of i >= 0
  /// with the weights (1 - beta) beta^i the mean is beta / (1 - beta), the variance beta / (1 -
  /// beta)^2.
  static at::Tensor Since(int64_t k, const Average& average, const at::Tensor& g,
                          const at::Tensor& h_u, double s) {
    const double beta = average.beta();
    return g.add(h_u, s * (static_cast<double>(k) + beta / (1 - beta)));
  }

  /// The mean over the root of the mean square, after the next gradient.
  Dual Scaled(const Dual& g) {
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

  double Correction(double beta) const { return corrects_ ? 1 - std::pow(beta, steps_) : 1; }

  Average mean_;
  Average square_;
  Average velocity_;
  double epsilon_;
  double decay_;
  bool corrects_;
  int64_t steps_ = 0;
};

}  // namespace

void MemoryParameters::AdaptiveFields(FieldVisitor& visitor) {
  visitor.Visit({.name = "beta1",
                 .help = "adam's decay of the mean of gradients",
                 .min = 0,
                 .max = 1,
                 .below_max = true},
                beta1);
  visitor.Visit({.name = "beta2",
                 .help = "rmsprop's and adam's decay of the mean of squared gradients",
                 .min = 0,
                 .max = 1,
                 .below_max = true},
                beta2);
  visitor.Visit({.name = "epsilon",
                 .help = "rmsprop and adam: added to the root of the mean square. Their flows are "
                         "near as long as a step changes a gradient by less than itself or epsilon",
                 .min = 0,
                 .above_min = true},
                epsilon);
  visitor.Visit({.name = "weight_decay",
                 .help = "adamw's: each step also takes learning_rate * weight_decay of theta from "
                         "it",
                 .paper = "Cattaneo and Shigida 2025",
                 .min = 0},
                weight_decay);
}

void MemoryParameters::CheckMomentum(const std::string& rule, const std::string& path,
                                     const std::string& field) const {
  if (momentum > 0) return;
  for (const auto& [name, without] :
       {std::pair<std::string, const char*>{kHeavyBall, "gradient descent"},
        {kNesterov, "gradient descent"},
        {kRmsPropMomentum, kRmsProp}}) {
    if (rule != name) continue;
    throw Error(ErrorKind::kConfig, path + "." + field,
                name + " is named, but without momentum it is " + without,
                "Set " + path + ".momentum above 0, or leave out " + name + ".");
  }
}

std::vector<std::string> MemoryRuleNames() {
  return {kHeavyBall, kNesterov, kRmsProp, kRmsPropMomentum, kAdam, kAdamW};
}

std::unique_ptr<MemoryRule> MakeMemoryRule(const std::string& name,
                                           const MemoryParameters& parameters) {
  if (name == kHeavyBall || name == kNesterov) {
    return std::make_unique<Momentum>(parameters.momentum, name == kNesterov);
  }
  Parts parts{.beta2 = parameters.beta2, .epsilon = parameters.epsilon};
  if (name == kRmsPropMomentum) parts.momentum = parameters.momentum;
  if (name == kAdamW) parts.decay = parameters.weight_decay;
  parts.corrects = name == kAdam || name == kAdamW;
  if (parts.corrects) parts.beta1 = parameters.beta1;
  return std::make_unique<Adaptive>(parts);
}

void MemoryRules::Fields(FieldVisitor& visitor, const std::string& measured) {
  visitor.Visit({.name = "momentum",
                 .help = "beta: above 0 also " + measured + " of the heavy ball",
                 .paper = "Ghosh et al. 2023",
                 .min = 0,
                 .max = 1,
                 .below_max = true},
                parameters_.momentum);
  visitor.Visit({.name = "rules",
                 .help = "also " + measured +
                         " of these: nesterov with the beta of momentum, rmsprop with beta2 and "
                         "epsilon, rmsprop_momentum with all three, adam with beta1, beta2 and "
                         "epsilon, adamw also with weight_decay",
                 .paper = "Cattaneo et al. 2024",
                 .allowed = {kNesterov, kRmsProp, kRmsPropMomentum, kAdam, kAdamW}},
                others_);
  parameters_.AdaptiveFields(visitor);
}

void MemoryRules::Check(const std::string& path) const {
  if (std::set<std::string>(others_.begin(), others_.end()).size() < others_.size()) {
    throw Error(ErrorKind::kConfig, path + ".rules", "a rule is named twice", "Name each once.");
  }
  for (const std::string& rule : others_) parameters_.CheckMomentum(rule, path, "rules");
}

std::vector<std::string> MemoryRules::names() const {
  std::vector<std::string> names = others_;
  if (parameters_.momentum > 0) names.insert(names.begin(), kHeavyBall);
  return names;
}

std::unique_ptr<MemoryRule> MemoryRules::Make(const std::string& name) const {
  return MakeMemoryRule(name, parameters_);
}

BatchFactors MemoryRules::OnBatches(const std::string& name, int64_t m, int64_t n) const {
  const double beta = parameters_.momentum;
  const double lag = (name == kNesterov ? beta : 1) * beta / (1 - beta);
  const auto mean_power = [&](int64_t i) {  // S_i
    const auto count = static_cast<double>(i);
    return (1 - std::pow(beta, count)) / (count * (1 - beta));
  };
  const double of_batch = mean_power(n);
  const double of_others = of_batch - mean_power(m * n);  // 0 where there are none
  const double c = 1 - of_batch - of_others / std::max(static_cast<double>(m - 1), 1.);
  return {1 + 2 * lag * c, 2 * lag * (1 - c)};
}

}  // namespace sgdscope
