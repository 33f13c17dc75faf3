#include "gradients/memory_rules.h"

#include <gtest/gtest.h>

#include <cmath>

#include "config/json.h"
#include "tests/example_fields.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"
#include "updates/update_rule.h"

// The rules that backward error analysis is about against those that train, and their derivatives
// and norms against finite differences.

namespace sgdscope {
namespace {

constexpr double kMomentum = 0.7;
constexpr double kDecay = 0.3;
const std::vector<std::string> kRules = {"heavy_ball",       "nesterov", "rmsprop",
                                         "rmsprop_momentum", "adam",     "adamw"};

MemoryRules Rules() {
  const Json fields = {{"momentum", kMomentum},
                       {"rules", {"nesterov", "rmsprop", "rmsprop_momentum", "adam", "adamw"}},
                       {"beta1", 0.6},
                       {"beta2", 0.8},
                       {"epsilon", 0.05},
                       {"weight_decay", kDecay}};
  MemoryRules rules;
  ReadFields(fields, "probe", [&](FieldVisitor& visitor) { rules.Fields(visitor, "all"); });
  return rules;
}

at::Tensor GradientAt(uint64_t step) {
  Stream stream(54, "g", step);
  return RandomTensor(stream, {14});
}

/// The rule of updates/ that it stands for, at the rate at which it goes as fast.
std::unique_ptr<UpdateRule> Trains(const std::string& rule, double rate) {
  if (rule.starts_with("adam")) {
    Json fields = {{"learning_rate", rate}, {"beta1", 0.6}, {"beta2", 0.8}, {"epsilon", 0.05}};
    if (rule == "adamw") fields["weight_decay"] = kDecay;
    return MakeExample<UpdateRule>(rule, fields);
  }
  if (rule.starts_with("rmsprop")) {
    const double momentum = rule == "rmsprop" ? 0 : kMomentum;
    return MakeExample<UpdateRule>("rmsprop", {{"learning_rate", rate * (1 - momentum)},
                                               {"beta2", 0.8},
                                               {"epsilon", 0.05},
                                               {"momentum", momentum}});
  }
  return MakeExample<UpdateRule>("sgd", {{"learning_rate", rate * (1 - kMomentum)},
                                         {"momentum", kMomentum},
                                         {"nesterov", rule == "nesterov"}});
}

TEST(MemoryRules, FreshTheyMoveAsTheRulesThatTrain) {
  RandomMlp random;  // 14 parameters
  random.mlp.widths = {6, 2};
  random.theta = oracle::Vector(14);
  random.examples = {{oracle::Vector(6), 1}};
  const OracleUnderTest it(random, at::kDouble);
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  for (const std::string& name : kRules) {
    const auto rule = Rules().Make(name);
    const auto trains = Trains(name, 0.1);
    trains->Allocate(it.theta);
    for (int64_t step = 0; step < 20; ++step) {
      const at::Tensor g = GradientAt(static_cast<uint64_t>(step));
      const auto same = [&g](const at::Tensor&) { return g; };
      const at::Tensor delta =
          trains->Next({step, it.batch, gradients, it.oracle, g, it.theta, same}).Delta();
      const at::Tensor none = at::zeros_like(g);
      const at::Tensor move = rule->Next({g, none}, {it.theta, none}).value.mul(-0.1);
      // 20 steps, each with a few roundings of numbers of order 1.
      ExpectNear(ToVector(move), ToVector(delta), 100 * Epsilon(at::kDouble), name);
    }
  }
}

TEST(MemoryRules, ChangesAreDerivatives) {
  constexpr double kShift = 1e-5;
  for (const std::string& name : kRules) {
    const auto plain = Rules().Make(name);
    const auto more = Rules().Make(name);
    const auto less = Rules().Make(name);
    for (uint64_t step = 0; step < 6; ++step) {
      const at::Tensor g = GradientAt(step);
      const at::Tensor change = GradientAt(100 + step);
      const Dual theta = {GradientAt(200 + step), GradientAt(300 + step)};
      const auto moved = [&](MemoryRule& rule, double by) {
        const at::Tensor none = at::zeros_like(g);
        return rule.Next({g.add(change, by), none}, {theta.value.add(theta.change, by), none})
            .value;
      };
      const at::Tensor difference = moved(*more, kShift).sub(moved(*less, -kShift)).div(2 * kShift);
      const at::Tensor exact = plain->Next({g, change}, theta).change;
      // Central differences: the third derivative, below 1 / epsilon^3 of u, times shift^2 / 6.
      ExpectNear(ToVector(exact), ToVector(difference), 2e-6, name);
    }
  }
}

/// d (Norm + lambda (<theta, g> - C)) = <H u, d theta>: with C = |theta|^2 / 2, so that g is theta,
/// u is the gradient of Norm + lambda |g|^2 / 2.
TEST(MemoryRules, TheDirectionIsTheGradientOfTheNorm) {
  for (const std::string& name : kRules) {
    const auto rule = Rules().Make(name);
    EXPECT_EQ(rule->decay(), name == "adamw" ? kDecay : 0) << name;
    const at::Tensor g = GradientAt(0);
    const auto lowered = [&](const at::Tensor& at) {
      return rule->Norm(at).add(at.dot(at), rule->decay() / 2);
    };
    oracle::Vector slopes;
    for (int64_t j = 0; j < g.size(0); ++j) {
      const at::Tensor shift = at::zeros_like(g);
      shift.select(0, j).fill_(1e-5);
      slopes.push_back(lowered(g.add(shift)).sub(lowered(g.sub(shift))).div(2e-5).item<double>());
    }
    ExpectNear(slopes, ToVector(rule->Direction(g, g)), 1e-7, name);
  }
}

/// Of full batches, of one step each and of many: what the two factors are and tend to.
TEST(MemoryRules, OnBatchesTheFactorsOfMomentumAddUpToThatOfTheFullBatch) {
  const MemoryRules rules = Rules();
  for (const std::string name : {"heavy_ball", "nesterov"}) {
    const double factor = rules.Make(name)->Factors(GradientAt(0)).select(0, 0).item<double>();
    for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {5, 1}, {5, 3}}) {
      const BatchFactors factors = rules.OnBatches(name, m, n);
      EXPECT_NEAR(factors.own + factors.mean, factor, 1e-14 * factor);
      EXPECT_NEAR(factors.lag(), (factor - 1) / 2, 1e-14 * factor);
    }
    EXPECT_NEAR(rules.OnBatches(name, 1'000'000, 1).own, 1, 1e-5);
    EXPECT_LT(rules.OnBatches(name, 5, 1).own, 1);
    EXPECT_NEAR(rules.OnBatches(name, 2, 1'000'000).own, factor, 1e-4);
  }
}

/// A weight whose gradient was 0 at all steps does not move, whatever the others do.
TEST(MemoryRules, NoGradientIsNoMove) {
  for (const std::string& name : kRules) {
    const auto rule = Rules().Make(name);
    for (int step = 0; step < 3; ++step) {
      const at::Tensor none = at::zeros({2}, at::kDouble);
      const Dual d = rule->Next({none, at::ones({2}, at::kDouble)}, {none, none});
      EXPECT_TRUE(at::equal(d.value, at::zeros_like(d.value))) << name;
      EXPECT_TRUE(d.change.isfinite().all().item<bool>()) << name;
    }
  }
}

}  // namespace
}  // namespace sgdscope
