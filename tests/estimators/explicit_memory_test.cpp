#include <gtest/gtest.h>

#include <cmath>

#include "gradients/memory_rules.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"

// The estimator explicit_memory in closed form where the loss is quadratic, and its steps beside
// those of the rules that remember.

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr double kMomentum = 0.6;
constexpr double kBeta1 = 0.5;
constexpr double kBeta2 = 0.75;
constexpr double kEpsilon = 0.3;
constexpr double kDecay = 0.2;

Json Fields(const std::string& rule, double learning_rate) {
  Json fields = {{"rule", rule},          {"learning_rate", learning_rate},
                 {"beta1", kBeta1},       {"beta2", kBeta2},
                 {"epsilon", kEpsilon},   {"momentum", kMomentum},
                 {"weight_decay", kDecay}};
  return fields;
}

MemoryParameters Parameters() { return {kMomentum, kBeta1, kBeta2, kEpsilon, kDecay}; }

at::Tensor Estimate(const std::string& rule, double learning_rate, const OracleUnderTest& it,
                    const at::Tensor& theta) {
  const auto estimator = MakeExample<Estimator>("explicit_memory", Fields(rule, learning_rate));
  const Gradients gradients = it.oracle.Evaluate(it.batch, theta, estimator->NeedsGraph());
  return estimator->Estimate({0, it.batch, gradients, theta, it.oracle});
}

RandomMlp Network(const std::string& activation, const std::string& loss,
                  const std::vector<size_t>& widths) {
  Stream stream(71, "memory");
  RandomMlp random;
  random.mlp = {widths, activation, true, loss};
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < 7; ++i) random.examples.push_back({RandomVector(stream, 3), i % 4});
  return random;
}

/// What a rule adds to u_i, over eta, in which (H u)_i is h_u: by which factor the gradients that it
/// remembers lie behind, each weighed as the rule does.
double Memory(const std::string& rule, double g, double h_u) {
  const auto behind = [](double beta) { return beta / (1 - beta); };
  if (rule == "heavy_ball") return behind(kMomentum) * h_u;
  if (rule == "nesterov") return kMomentum * behind(kMomentum) * h_u;
  const double metric = std::abs(g) + kEpsilon;
  const double of_mean = rule.starts_with("adam") ? behind(kBeta1) : 0;
  const double of_velocity = rule == "rmsprop_momentum" ? behind(kMomentum) : 0;
  // d(g / metric) of the numerator, of the root of the mean square, and of both in the velocity.
  const double of_square = -behind(kBeta2) * std::abs(g) / metric;
  const double of_both = of_velocity * kEpsilon / metric;
  return (of_mean + of_square + of_both) / metric * h_u;
}

TEST(ExplicitMemory, IsTheClosedFormWhereTheLossIsQuadratic) {
  const RandomMlp random = Network("identity", "mean_squared_error", {3, 4});
  const OracleUnderTest it(random, at::kDouble);
  constexpr double kRate = 0.1;
  const Vector g = oracle::MeanGradient(random.mlp, random.theta, random.examples);
  for (const std::string& rule : MemoryRuleNames()) {
    const bool adaptive = rule != "heavy_ball" && rule != "nesterov";
    Vector u = g;
    for (size_t i = 0; i < g.size() && adaptive; ++i) {
      u[i] = g[i] / (std::abs(g[i]) + kEpsilon) + (rule == "adamw" ? kDecay : 0) * random.theta[i];
    }
    const Vector h_u = oracle::MeanHessianVector(random.mlp, random.theta, random.examples, u);
    Vector expected = u;
    for (size_t i = 0; i < g.size(); ++i) expected[i] += kRate * Memory(rule, g[i], h_u[i]);
    // Sums of at most 3 + 4 + 7 terms, of which a few follow one another.
    ExpectNear(ToVector(Estimate(rule, kRate, it, it.theta)), expected,
               1e-14 * oracle::Norm(expected), rule);
    EXPECT_GT(oracle::Norm(oracle::Plus(expected, -1, u)), 1e-2) << rule;
  }
}

/// With momentum it is that of a larger penalty.
TEST(ExplicitMemory, OfMomentumIsAPenalty) {
  const RandomMlp random = Network("tanh", "cross_entropy", {3, 5, 4});
  const OracleUnderTest it(random, at::kDouble);
  constexpr double kRate = 0.1;
  for (const auto& [rule, behind] :
       {std::pair<std::string, double>{"heavy_ball", kMomentum / (1 - kMomentum)},
        {"nesterov", kMomentum * kMomentum / (1 - kMomentum)}}) {
    const auto penalty =
        MakeExample<Estimator>("gradient_norm_penalty", {{"lambda", 2 * kRate * behind}});
    const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta, /*keep_graph=*/true);
    const at::Tensor expected = penalty->Estimate({0, it.batch, gradients, it.theta, it.oracle});
    ExpectNear(ToVector(Estimate(rule, kRate, it, it.theta)), ToVector(expected), 1e-15, rule);
  }
}

/// After as many steps of half the rate, the distance from where the rule comes that has long
/// remembered is an eighth; without memory it is a quarter.
TEST(ExplicitMemory, FollowsTheRuleToThirdOrder) {
  const RandomMlp random = Network("tanh", "cross_entropy", {3, 5, 4});
  const OracleUnderTest it(random, at::kDouble);
  constexpr int kSteps = 4;
  for (const std::string& name : MemoryRuleNames()) {
    const auto distances = [&](double rate) {
      const auto rule = MakeMemoryRule(name, Parameters());
      const Gradients first = it.oracle.Evaluate(it.batch, it.theta, /*keep_graph=*/true);
      const at::Tensor u = rule->Direction(first.Mean(), it.theta);
      rule->Settle(first.Mean(), it.oracle.HessianVectorProduct(first, u), rate);
      at::Tensor remembers = it.theta;
      at::Tensor forgets = it.theta;
      at::Tensor knows = it.theta;
      for (int i = 0; i < kSteps; ++i) {
        const auto gradient = [&](const at::Tensor& at) {
          return it.oracle.Evaluate(it.batch, at).Mean();
        };
        const at::Tensor none = at::zeros_like(it.theta);
        const Dual d = rule->Next({gradient(remembers), none}, {remembers, none});
        remembers = remembers.sub(d.value, rate);
        forgets = forgets.sub(rule->Direction(gradient(forgets), forgets), rate);
        knows = knows.sub(Estimate(name, rate, it, knows), rate);
      }
      return std::pair{remembers.sub(knows).norm().item<double>(),
                       remembers.sub(forgets).norm().item<double>()};
    };
    const auto [knows, forgets] = distances(4e-3);
    const auto [knows_half, forgets_half] = distances(1e-3);
    EXPECT_NEAR(std::log2(knows / knows_half) / 2, 3, 0.1) << name;
    EXPECT_NEAR(std::log2(forgets / forgets_half) / 2, 2, 0.1) << name;
  }
}

TEST(ExplicitMemory, RefusesMomentumOfZero) {
  for (const std::string rule : {"heavy_ball", "nesterov", "rmsprop_momentum"}) {
    Json fields = Fields(rule, 0.1);
    fields["momentum"] = 0;
    ExpectError(ErrorKind::kConfig, {"explicit_memory.rule", rule, "without momentum"},
                [&] { MakeExample<Estimator>("explicit_memory", fields); });
  }
}

}  // namespace
}  // namespace sgdscope
