#include "probes/memory_rules.h"

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
const std::vector<std::string> kRules = {"heavy_ball", "nesterov", "rmsprop", "adam"};

MemoryRules Rules() {
  const Json fields = {{"momentum", kMomentum},
                       {"rules", {"nesterov", "rmsprop", "adam"}},
                       {"beta1", 0.6},
                       {"beta2", 0.8},
                       {"epsilon", 0.05}};
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
  if (rule == "adam") {
    return MakeExample<UpdateRule>(
        rule, {{"learning_rate", rate}, {"beta1", 0.6}, {"beta2", 0.8}, {"epsilon", 0.05}});
  }
  if (rule == "rmsprop") {
    return MakeExample<UpdateRule>(rule,
                                   {{"learning_rate", rate}, {"beta2", 0.8}, {"epsilon", 0.05}});
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
      const at::Tensor move = rule->Next({g, at::zeros_like(g)}).value.mul(-0.1);
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
      const auto moved = [&](MemoryRule& rule, double by) {
        return rule.Next({g.add(change, by), at::zeros_like(g)}).value;
      };
      const at::Tensor difference = moved(*more, kShift).sub(moved(*less, -kShift)).div(2 * kShift);
      const at::Tensor exact = plain->Next({g, change}).change;
      // Central differences: the third derivative, below 1 / epsilon^3 of u, times shift^2 / 6.
      ExpectNear(ToVector(exact), ToVector(difference), 2e-6, name);
    }
  }
}

/// d Norm = <H u, d theta>: with H = 1, u is the norm's gradient by g.
TEST(MemoryRules, TheDirectionIsTheGradientOfTheNorm) {
  for (const std::string& name : kRules) {
    const auto rule = Rules().Make(name);
    const at::Tensor g = GradientAt(0);
    oracle::Vector slopes;
    for (int64_t j = 0; j < g.size(0); ++j) {
      const at::Tensor shift = at::zeros_like(g);
      shift.select(0, j).fill_(1e-5);
      slopes.push_back(
          rule->Norm(g.add(shift)).sub(rule->Norm(g.sub(shift))).div(2e-5).item<double>());
    }
    ExpectNear(slopes, ToVector(rule->Direction(g)), 1e-7, name);
  }
}

/// A weight whose gradient was 0 at all steps does not move, whatever the others do.
TEST(MemoryRules, NoGradientIsNoMove) {
  for (const std::string& name : kRules) {
    const auto rule = Rules().Make(name);
    for (int step = 0; step < 3; ++step) {
      const Dual d = rule->Next({at::zeros({2}, at::kDouble), at::ones({2}, at::kDouble)});
      EXPECT_TRUE(at::equal(d.value, at::zeros_like(d.value))) << name;
      EXPECT_TRUE(d.change.isfinite().all().item<bool>()) << name;
    }
  }
}

}  // namespace
}  // namespace sgdscope
