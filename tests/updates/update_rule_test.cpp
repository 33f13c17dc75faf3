#include "updates/update_rule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <utility>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

constexpr int64_t kSize = 16;

/// Gradients that a run could meet: of one p, another one at each step.
at::Tensor GradientAt(int64_t step, at::ScalarType dtype) {
  Stream stream(50, "g", static_cast<uint64_t>(step));
  return RandomTensor(stream, {kSize}, dtype);
}

/// A linear model of kSize parameters, 3 inputs, 4 classes and biases, and a batch of 6 examples.
struct Problem {
  explicit Problem(at::ScalarType dtype)
      : it(Made(), dtype), gradients(it.oracle.Evaluate(it.batch, it.theta)) {}

  static RandomMlp Made() {
    Stream stream(53, "problem");
    RandomMlp made;
    made.mlp.widths = {3, 4};
    made.theta = RandomVector(stream, kSize);
    for (size_t i = 0; i < 6; ++i) made.examples.push_back({RandomVector(stream, 3), i % 4});
    return made;
  }

  OracleUnderTest it;
  Gradients gradients;
};

const Problem& ProblemOf(at::ScalarType dtype) {
  static const Problem single(at::kFloat);
  static const Problem twice(at::kDouble);
  return dtype == at::kFloat ? single : twice;
}

const ParameterTable& Layout() { return ProblemOf(at::kDouble).it.oracle.table(); }

/// A step's view of g, wherever it is from, at any theta.
StepGradient ViewOf(int64_t step, const at::Tensor& g, const at::Tensor& theta,
                    std::function<at::Tensor(const at::Tensor&)> at) {
  const auto& [it, gradients] = ProblemOf(g.scalar_type());
  return {step, it.batch, gradients, it.oracle, g, theta, std::move(at)};
}

/// The same where the gradient is the same at every theta.
StepGradient ViewOf(int64_t step, const at::Tensor& g, const at::Tensor& theta) {
  return ViewOf(step, g, theta, [&g](const at::Tensor&) { return g; });
}

/// A rule on its way, applied as the trainer does.
struct Walk {
  Walk(const LeafCase& rule_case, at::ScalarType dtype)
      : dtype(dtype), rule(MakeExample<UpdateRule>(rule_case.name, rule_case.fields)) {
    Stream stream(51, "theta");
    theta = RandomTensor(stream, {kSize}, dtype);
    rule->Prepare(Layout());
    rule->Allocate(theta);
  }
  void Step() {
    const at::Tensor g = GradientAt(step, dtype);
    const Update update = rule->Next(ViewOf(step, g, theta));
    theta = theta.add(update.direction, update.scale);
    ++step;
  }

  at::ScalarType dtype;
  std::unique_ptr<UpdateRule> rule;
  at::Tensor theta;
  int64_t step = 0;
};

TEST(UpdateRuleContract, ModifiesNeitherGradientNorTheta) {
  for (const LeafCase& rule_case : AllLeaves<UpdateRule>()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      Walk walk(rule_case, dtype);
      for (; walk.step < 12; ++walk.step) {
        const at::Tensor g = GradientAt(walk.step, dtype);
        const at::Tensor theta = walk.theta.clone();
        const Update update = walk.rule->Next(ViewOf(walk.step, g, walk.theta));
        EXPECT_TRUE(SameBits(g, GradientAt(walk.step, dtype))) << rule_case.Text();
        EXPECT_TRUE(SameBits(walk.theta, theta)) << rule_case.Text();
        ASSERT_EQ(update.direction.sizes(), walk.theta.sizes()) << rule_case.Text();
        EXPECT_EQ(update.direction.scalar_type(), dtype) << rule_case.Text();
        EXPECT_FALSE(update.direction.requires_grad()) << rule_case.Text();
        EXPECT_TRUE(update.direction.isfinite().all().item<bool>()) << rule_case.Text();
        EXPECT_TRUE(SameBits(update.Delta(), update.direction.mul(update.scale)))
            << rule_case.Text();
        walk.theta = walk.theta.add(update.direction, update.scale);
      }
      EXPECT_FALSE(at::equal(walk.theta, Walk(rule_case, dtype).theta))
          << rule_case.Text() << " never moved";
    }
  }
}

TEST(UpdateRuleContract, IsDeterministic) {
  for (const LeafCase& rule_case : AllLeaves<UpdateRule>()) {
    Walk one(rule_case, at::kFloat);
    Walk other(rule_case, at::kFloat);
    for (int i = 0; i < 12; ++i) {
      one.Step();
      other.Step();
      ASSERT_TRUE(SameBits(one.theta, other.theta)) << rule_case.Text() << ", step " << i;
    }
  }
}

/// What a checkpoint does, after every number of steps: save, copy into a fresh rule, go on.
TEST(UpdateRuleContract, StateIsAllThatARestartNeeds) {
  for (const LeafCase& rule_case : AllLeaves<UpdateRule>()) {
    for (int before = 0; before < 8; ++before) {
      Walk walk(rule_case, at::kFloat);
      for (int i = 0; i < before; ++i) walk.Step();

      Walk restarted(rule_case, at::kFloat);
      restarted.theta = walk.theta.clone();
      restarted.step = walk.step;
      const auto saved = walk.rule->State();
      const auto live = restarted.rule->State();
      ASSERT_EQ(saved.size(), live.size()) << rule_case.Text();
      for (const auto& [name, tensor] : saved) {
        ASSERT_TRUE(live.contains(name)) << rule_case.Text() << " " << name;
        ASSERT_EQ(tensor.sizes(), live.at(name).sizes()) << rule_case.Text() << " " << name;
        live.at(name).copy_(tensor);
      }
      for (int i = 0; i < 6; ++i) {
        walk.Step();
        restarted.Step();
        ASSERT_TRUE(SameBits(walk.theta, restarted.theta))
            << rule_case.Text() << ", " << before << " steps before and " << i
            << " after the restart";
      }
    }
  }
}

/// Twenty steps in float64 against a scalar loop. Each step rounds a few times: 20 steps of |delta|
/// <= 0.5, velocities of at most 1/(1 - momentum) = 10 gradients, give about 20 * 4 * 10 * 0.5 eps
/// = 1e-13 in the worst case for each number, 1e-14 in practice.
template <class Loop>
void ExpectWalkOf(const LeafCase& rule_case, Loop loop) {
  Walk walk(rule_case, at::kDouble);
  oracle::Vector theta = ToVector(walk.theta);
  for (int i = 0; i < 20; ++i) {
    const at::Tensor g = GradientAt(walk.step, at::kDouble);
    const oracle::Vector delta = loop.Delta(ToVector(g), theta);
    const Update update = walk.rule->Next(ViewOf(walk.step, g, walk.theta));
    ExpectNear(ToVector(update.Delta()), delta, 2e-14 * oracle::Norm(delta),
               rule_case.Text() + ", step " + std::to_string(i));
    walk.theta = walk.theta.add(update.direction, update.scale);
    ++walk.step;
    theta = oracle::Plus(theta, 1, delta);
  }
  ExpectNear(ToVector(walk.theta), theta, 2e-14 * oracle::Norm(theta), rule_case.Text());
}

TEST(UpdateRuleValues, Sgd) {
  using Loop = oracle::SgdLoop;
  ExpectWalkOf({"sgd", {{"learning_rate", 0.1}}}, Loop{.rate = 0.1});
  ExpectWalkOf({"sgd", {{"learning_rate", 0.1}, {"momentum", 0.9}}},
               Loop{.rate = 0.1, .momentum = 0.9});
  ExpectWalkOf({"sgd", {{"learning_rate", 0.1}, {"momentum", 0.8}, {"nesterov", true}}},
               Loop{.rate = 0.1, .momentum = 0.8, .nesterov = true});
  ExpectWalkOf({"sgd", {{"learning_rate", 0.1}, {"weight_decay", 0.3}}},
               Loop{.rate = 0.1, .decay = 0.3});
  ExpectWalkOf({"sgd", {{"learning_rate", 0.1}, {"momentum", 0.9}, {"weight_decay", 0.3}}},
               Loop{.rate = 0.1, .momentum = 0.9, .decay = 0.3});
  ExpectWalkOf(
      {"sgd",
       {{"learning_rate", 0.1}, {"momentum", 0.9}, {"nesterov", true}, {"weight_decay", 0.3}}},
      Loop{.rate = 0.1, .momentum = 0.9, .nesterov = true, .decay = 0.3});
}

TEST(UpdateRuleValues, Adam) {
  using Loop = oracle::AdamLoop;
  ExpectWalkOf({"adam", {{"learning_rate", 0.01}}}, Loop{.rate = 0.01});
  ExpectWalkOf(
      {"adam", {{"learning_rate", 0.01}, {"beta1", 0.5}, {"beta2", 0.7}, {"epsilon", 0.1}}},
      Loop{.rate = 0.01, .beta1 = 0.5, .beta2 = 0.7, .epsilon = 0.1});
  ExpectWalkOf({"adam", {{"learning_rate", 0.01}, {"beta1", 0.0}, {"beta2", 0.0}}},
               Loop{.rate = 0.01, .beta1 = 0, .beta2 = 0});
}

/// The velocity's first value is the gradient, and later ones take 1 - dampening of it.
TEST(UpdateRuleValues, SgdWithDampening) {
  struct Loop {
    double dampening;
    oracle::Vector velocity = {};

    oracle::Vector Delta(const oracle::Vector& g, const oracle::Vector& theta) {
      const oracle::Vector d = oracle::Plus(g, 0.3, theta);
      const bool first = velocity.empty();
      velocity.resize(g.size());
      for (size_t i = 0; i < g.size(); ++i) {
        velocity[i] = 0.9 * velocity[i] + (first ? 1 : 1 - dampening) * d[i];
      }
      return oracle::Plus(oracle::Vector(g.size()), -0.1, velocity);
    }
  };
  for (const double dampening : {0.2, 0.9}) {
    ExpectWalkOf({"sgd",
                  {{"learning_rate", 0.1},
                   {"momentum", 0.9},
                   {"dampening", dampening},
                   {"weight_decay", 0.3}}},
                 Loop{dampening});
  }
}

TEST(UpdateRuleValues, AdamW) {
  struct Loop {
    oracle::AdamLoop adam;
    double decay;

    oracle::Vector Delta(const oracle::Vector& g, const oracle::Vector& theta) {
      return oracle::Plus(adam.Delta(g, theta), -adam.rate * decay, theta);
    }
  };
  ExpectWalkOf({"adamw", {{"learning_rate", 0.01}}}, Loop{{.rate = 0.01}, 0.01});
  ExpectWalkOf(
      {"adamw", {{"learning_rate", 0.01}, {"beta1", 0.5}, {"epsilon", 0.1}, {"weight_decay", 3}}},
      Loop{{.rate = 0.01, .beta1 = 0.5, .epsilon = 0.1}, 3});
}

TEST(UpdateRuleValues, AdamWWithoutDecayIsAdamBitForBit) {
  Walk adamw({"adamw", {{"weight_decay", 0}, {"learning_rate", 0.1}}}, at::kFloat);
  Walk adam({"adam", {{"learning_rate", 0.1}}}, at::kFloat);
  for (int i = 0; i < 5; ++i) {
    adamw.Step();
    adam.Step();
    EXPECT_TRUE(SameBits(adamw.theta, adam.theta)) << i;
  }
}

/// A schedule may fall below the smallest number: then nothing moves.
TEST(UpdateRuleValues, AdamAndAdamWStandStillAtALearningRateOfZero) {
  const Json rate = {{"name", "step_decay"}, {"value", 0.1}, {"factor", 1e-3}, {"every", 1e-3}};
  for (const char* name : {"adam", "adamw"}) {
    Walk walk({name, {{"learning_rate", rate}}}, at::kDouble);
    walk.rule->PrepareLearningRate({1000, 1}, "update");
    walk.step = 999;
    ASSERT_EQ(walk.rule->LearningRate(walk.step), 0);
    const at::Tensor before = walk.theta.clone();
    walk.Step();
    EXPECT_TRUE(walk.theta.equal(before)) << name;
  }
}

TEST(UpdateRuleValues, RmsProp) {
  struct Loop {
    double beta2 = 0.99;
    double epsilon = 1e-8;
    double momentum = 0;
    oracle::Vector square = {};
    oracle::Vector velocity = {};

    oracle::Vector Delta(const oracle::Vector& g, const oracle::Vector&) {
      square.resize(g.size());
      velocity.resize(g.size());
      for (size_t i = 0; i < g.size(); ++i) {
        square[i] = beta2 * square[i] + (1 - beta2) * g[i] * g[i];
        velocity[i] = momentum * velocity[i] + g[i] / (std::sqrt(square[i]) + epsilon);
      }
      return oracle::Plus(oracle::Vector(g.size()), -0.02, velocity);
    }
  };
  ExpectWalkOf({"rmsprop", {{"learning_rate", 0.02}}}, Loop{});
  ExpectWalkOf(
      {"rmsprop", {{"learning_rate", 0.02}, {"beta2", 0.6}, {"epsilon", 0.1}, {"momentum", 0.9}}},
      Loop{0.6, 0.1, 0.9});
}

TEST(UpdateRuleValues, LionAndSignSgd) {
  struct Loop {
    double beta1, beta2, decay;
    oracle::Vector m = {};

    oracle::Vector Delta(const oracle::Vector& g, const oracle::Vector& theta) {
      m.resize(g.size());
      oracle::Vector delta(g.size());
      for (size_t i = 0; i < g.size(); ++i) {
        const double c = beta1 * m[i] + (1 - beta1) * g[i];
        m[i] = beta2 * m[i] + (1 - beta2) * g[i];
        delta[i] = -0.02 * ((c > 0 ? 1 : -1) + decay * theta[i]);
      }
      return delta;
    }
  };
  ExpectWalkOf({"lion", {{"learning_rate", 0.02}}}, Loop{0.9, 0.99, 0});
  ExpectWalkOf(
      {"lion", {{"learning_rate", 0.02}, {"beta1", 0.3}, {"beta2", 0}, {"weight_decay", 2}}},
      Loop{0.3, 0, 2});
  ExpectWalkOf({"sign_sgd", {{"learning_rate", 0.02}}}, Loop{0, 0, 0});
  ExpectWalkOf({"sign_sgd", {{"learning_rate", 0.02}, {"momentum", 0.8}}}, Loop{0.8, 0.8, 0});
}

TEST(UpdateRuleValues, TheSignOfZeroIsZeroAndThatOfNanNan) {
  const auto rule = MakeExample<UpdateRule>("sign_sgd", {{"learning_rate", 0.5}});
  const at::Tensor g = at::tensor(std::vector<double>{0, NAN, -INFINITY, 1e-300}, at::kDouble);
  rule->Allocate(g);
  EXPECT_TRUE(rule->State().empty());
  const oracle::Vector delta = ToVector(rule->Next(ViewOf(0, g, g)).Delta());
  EXPECT_EQ(delta[0], 0);
  EXPECT_TRUE(std::isnan(delta[1]));
  EXPECT_EQ(delta[2], 0.5);
  EXPECT_EQ(delta[3], -0.5);
}

/// Gradients of a length around 4: some are clipped to 4, some not, and weight decay comes after.
TEST(UpdateRuleValues, ClipsTheNormOfGradients) {
  struct Loop {
    oracle::SgdLoop sgd;
    int clipped = 0;

    oracle::Vector Delta(const oracle::Vector& g, const oracle::Vector& theta) {
      const double norm = oracle::Norm(g);
      clipped += norm > 4 ? 1 : 0;
      return sgd.Delta(oracle::Plus(oracle::Vector(g.size()), std::min(1., 4 / norm), g), theta);
    }
  };
  const LeafCase clipping = {
      "sgd", {{"learning_rate", 0.1}, {"momentum", 0.9}, {"weight_decay", 0.3}, {"clip_norm", 4}}};
  Loop loop{{.rate = 0.1, .momentum = 0.9, .decay = 0.3}};
  ExpectWalkOf<Loop&>(clipping, loop);
  EXPECT_GT(loop.clipped, 3);
  EXPECT_LT(loop.clipped, 17);
}

/// Whatever gradient the rule asks for is clipped, so that no move is longer than it may be.
TEST(UpdateRuleValues, EveryRuleIsGivenClippedGradients) {
  const at::Tensor g = GradientAt(0, at::kDouble).mul(1e6);
  const at::Tensor clipped = g.mul(0.5 / oracle::Norm(ToVector(g)));
  for (const LeafCase& rule_case : AllLeaves<UpdateRule>()) {
    LeafCase clipping = rule_case;
    clipping.fields["clip_norm"] = 0.5;
    LeafCase plain = rule_case;
    plain.fields.erase("clip_norm");
    Walk with(clipping, at::kDouble);
    Walk without(plain, at::kDouble);
    const auto delta = [&](Walk& walk, const at::Tensor& shown) {
      return ToVector(walk.rule->Next(ViewOf(0, shown, walk.theta)).Delta());
    };
    const oracle::Vector expected = delta(without, clipped);
    ExpectNear(delta(with, g), expected, 1e-13 * oracle::Norm(expected), rule_case.Text());
  }
}

/// What is not finite stays so, and no gradient is clipped to nothing.
TEST(UpdateRuleValues, ClippingLeavesZeroAndNanAlone) {
  const auto rule = MakeExample<UpdateRule>("sgd", {{"learning_rate", 1}, {"clip_norm", 0.5}});
  const auto next = [&](const oracle::Vector& numbers) {
    const at::Tensor g = ToTensor(numbers, {2});
    return rule->Next(ViewOf(0, g, g)).direction;
  };
  EXPECT_EQ(ToVector(next({0, 0})), (oracle::Vector{0, 0}));
  EXPECT_TRUE(next({1, INFINITY}).isnan().any().item<bool>());
  EXPECT_TRUE(next({1, NAN}).isnan().all().item<bool>());
}

/// The first step of Adam has the size of the learning rate, whatever the gradient's.
TEST(UpdateRuleValues, AdamByHand) {
  const auto rule = MakeExample<UpdateRule>("adam", {{"learning_rate", 0.01}, {"epsilon", 1e-30}});
  const at::Tensor g = at::tensor(std::vector<double>{1e-3, -400}, at::kDouble);
  const at::Tensor theta = at::zeros_like(g);
  rule->Allocate(theta);
  ExpectNear(ToVector(rule->Next(ViewOf(0, g, theta)).Delta()), {-0.01, 0.01}, 1e-16, "adam");
}

TEST(UpdateRuleValues, PlainSgdNeedsNoStateAndNoCopy) {
  const auto rule = MakeExample<UpdateRule>("sgd");
  const at::Tensor g = GradientAt(0, at::kFloat);
  rule->Allocate(g);
  EXPECT_TRUE(rule->State().empty());
  EXPECT_TRUE(rule->Next(ViewOf(0, g, g)).direction.is_same(g));
}

/// One block after another on fresh gradients, by the definition.
TEST(UpdateRuleValues, Sequential) {
  // The gradient of 1/2 <theta, A theta>, which every block changes for those after it.
  Stream stream(52, "A");
  ParameterTable layout = Layout();
  layout.Add("row", {1}, 1, 1, false);
  const int64_t size = layout.size();
  const at::Tensor a = RandomTensor(stream, {size, size});
  const auto gradient_at = [&a](const at::Tensor& theta) {
    return a.add(a.t()).mv(theta).mul(0.5);
  };
  for (const std::string& block : BlockNames()) {
    const auto rule =
        MakeExample<UpdateRule>("sequential", {{"learning_rate", 0.1}, {"block", block}});
    rule->Prepare(layout);
    const at::Tensor theta = RandomTensor(stream, {size});
    rule->Allocate(theta);
    const at::Tensor g = gradient_at(theta);
    const Update update = rule->Next(ViewOf(0, g, theta, gradient_at));

    at::Tensor expected = theta.clone();
    for (const at::Tensor& places : layout.Blocks(block)) {
      const at::Tensor fresh = gradient_at(expected);
      for (const double place : ToVector(places)) {
        const auto i = static_cast<int64_t>(place);
        expected[i] = expected[i] - 0.1 * fresh[i];
      }
    }
    ExpectNear(ToVector(theta.add(update.Delta())), ToVector(expected), 1e-13, block);
    const double change = oracle::Norm(oracle::Plus(ToVector(update.Delta()), 0.1, ToVector(g)));
    EXPECT_GT(change, 1e-2) << block << ": no other than gradient descent";
  }
}

/// n steps of a plain loop on the gradient of 1/2 <theta, A theta> + <b, theta>.
TEST(UpdateRuleValues, NStepIsNPlainSteps) {
  Stream stream(53, "A");
  const at::Tensor a = RandomTensor(stream, {kSize, kSize});
  const at::Tensor b = RandomTensor(stream, {kSize});
  const auto gradient_at = [&](const at::Tensor& theta) {
    return a.add(a.t()).mv(theta).mul(0.5).add(b);
  };
  for (const int64_t n : {1, 2, 3, 16}) {
    const double rate = 0.02;
    const auto rule = MakeExample<UpdateRule>("n_step", {{"learning_rate", rate}, {"n", n}});
    const at::Tensor theta = RandomTensor(stream, {kSize});
    const at::Tensor g = gradient_at(theta);
    int64_t calls = 0;
    const Update update = rule->Next(ViewOf(0, g, theta, [&](const at::Tensor& elsewhere) {
      ++calls;
      return gradient_at(elsewhere);
    }));
    EXPECT_EQ(calls, n - 1);
    at::Tensor expected = theta.clone();
    for (int64_t k = 0; k < n; ++k) expected = expected.sub(gradient_at(expected).mul(rate));
    // Each move rounds numbers of this size a few times, and makes earlier errors grow by at most
    // 1 + rate |A|, with |A| < 2 sqrt(kSize): 12 times in 16 moves.
    const double size = oracle::Norm(ToVector(expected)) + oracle::Norm(ToVector(theta));
    const double bound = 12 * static_cast<double>(n * kSize) * Epsilon(at::kDouble) * size;
    ExpectNear(ToVector(theta.add(update.Delta())), ToVector(expected), bound,
               "n = " + std::to_string(n));
    EXPECT_EQ(update.scale, -static_cast<double>(n) * rate);
    if (n == 1) continue;
    const oracle::Vector plain = ToVector(g.mul(-static_cast<double>(n) * rate));
    EXPECT_GT(oracle::Norm(oracle::Plus(ToVector(update.Delta()), -1, plain)), 1e-3 * size)
        << "no other than a single step of " << n << " times the rate";
  }
}

/// Each move is on the penalized and clipped gradient at the weights that it starts from.
TEST(UpdateRuleValues, NStepDecaysAndClipsAtEachMove) {
  Stream stream(54, "A");
  const at::Tensor a = RandomTensor(stream, {kSize, kSize});
  const auto gradient_at = [&](const at::Tensor& theta) { return a.add(a.t()).mv(theta); };
  const auto clipped = [](const at::Tensor& g) {
    return g.mul(std::min(1., 20 / oracle::Norm(ToVector(g))));
  };
  for (const int64_t n : {1, 2, 5}) {
    const auto rule = MakeExample<UpdateRule>(
        "n_step", {{"learning_rate", 0.02}, {"n", n}, {"weight_decay", 0.7}, {"clip_norm", 20}});
    const at::Tensor theta = RandomTensor(stream, {kSize});
    const at::Tensor g = gradient_at(theta);
    const Update update = rule->Next(ViewOf(0, g, theta, gradient_at));
    at::Tensor expected = theta.clone();
    for (int64_t k = 0; k < n; ++k) {
      expected = expected.sub(clipped(gradient_at(expected)).add(expected, 0.7), 0.02);
    }
    // As above: errors grow by at most 1 + 0.04 |A| a move, less than 2 in 5 of them.
    const double size = oracle::Norm(ToVector(expected)) + oracle::Norm(ToVector(theta));
    ExpectNear(ToVector(theta.add(update.Delta())), ToVector(expected),
               20 * static_cast<double>(n * kSize) * Epsilon(at::kDouble) * size,
               "n = " + std::to_string(n));
  }
}

/// In float, 10,000 additions of the same number are off by 1e-4 of their sum.
TEST(UpdateRuleValues, ManyMovesOfNStepAreSummedInDouble) {
  constexpr int64_t n = 10'000;
  const auto rule = MakeExample<UpdateRule>("n_step", {{"learning_rate", 1e-9}, {"n", n}});
  const at::Tensor g = at::full({kSize}, 0.1, at::kFloat);
  const Update update =
      rule->Next(ViewOf(0, g, at::zeros_like(g), [&](const at::Tensor&) { return g; }));
  EXPECT_TRUE(SameBits(update.direction, g));
}

TEST(UpdateRuleValues, ANStepOfOneIsPlainSgdBitForBit) {
  Walk n_step({"n_step", {{"n", 1}, {"learning_rate", 0.3}}}, at::kFloat);
  Walk sgd({"sgd", {{"learning_rate", 0.3}}}, at::kFloat);
  for (int i = 0; i < 10; ++i) {
    n_step.Step();
    sgd.Step();
    EXPECT_TRUE(SameBits(n_step.theta, sgd.theta)) << i;
  }
}

TEST(UpdateRuleFields, NesterovNeedsMomentum) {
  ExpectError(ErrorKind::kConfig, {"sgd.nesterov", "momentum"},
              [] { MakeExample<UpdateRule>("sgd", {{"nesterov", true}}); });
  MakeExample<UpdateRule>("sgd", {{"nesterov", true}, {"momentum", 0.5}});
}

TEST(UpdateRuleFields, DampeningNeedsMomentumOfItsOwn) {
  ExpectError(ErrorKind::kConfig, {"sgd.dampening", "momentum"},
              [] { MakeExample<UpdateRule>("sgd", {{"dampening", 0.5}}); });
  ExpectError(ErrorKind::kConfig, {"sgd.dampening", "Nesterov"}, [] {
    MakeExample<UpdateRule>("sgd", {{"dampening", 0.5}, {"momentum", 0.5}, {"nesterov", true}});
  });
}

TEST(UpdateRuleFields, OutOfRangeIsRefused) {
  const auto refuse = [](const std::string& rule, const std::string& field, double value) {
    ExpectError(ErrorKind::kConfig, {rule + "." + field},
                [&] { MakeExample<UpdateRule>(rule, {{field, value}}); });
  };
  refuse("sgd", "learning_rate", 0);
  refuse("sgd", "learning_rate", -1);
  refuse("sgd", "momentum", 1);
  refuse("sgd", "momentum", -0.1);
  refuse("sgd", "weight_decay", -1e-9);
  refuse("sgd", "dampening", 1);
  refuse("sgd", "clip_norm", 0);
  refuse("adam", "beta1", 1);
  refuse("adam", "beta2", 1);
  refuse("adam", "epsilon", 0);
  refuse("n_step", "n", 0);
  refuse("inverse_covariance", "rho", 0);
  refuse("inverse_covariance", "refresh", 0);
}

/// A schedule of a run of 1000 steps, ten an epoch.
std::unique_ptr<Schedule> MakeSchedule(const std::string& name, const Json& fields,
                                       const RunLength& length = {1000, 10}) {
  auto schedule = MakeExample<Schedule>(name, fields);
  schedule->Prepare(length, name);
  return schedule;
}

TEST(ScheduleContract, IsAFiniteFunctionOfTheStep) {
  for (const LeafCase& leaf : AllLeaves<Schedule>()) {
    const auto schedule = MakeSchedule(leaf.name, leaf.fields);
    for (const int64_t step : {int64_t{0}, int64_t{1}, int64_t{1000}, int64_t{1} << 40}) {
      const double value = schedule->At(step);
      EXPECT_TRUE(std::isfinite(value)) << leaf.Text() << " at " << step;
      schedule->At(7);
      EXPECT_EQ(schedule->At(step), value) << leaf.Text() << " at " << step;
    }
  }
}

TEST(ScheduleContract, IsPositiveDuringTheRun) {
  for (const LeafCase& leaf : AllLeaves<Schedule>()) {
    const auto schedule = MakeSchedule(leaf.name, leaf.fields);
    for (int64_t step = 0; step < 1000; ++step) {
      ASSERT_GT(schedule->At(step), 0) << leaf.Text() << " at " << step;
    }
  }
}

TEST(ScheduleContract, IsTheSameAfterPreparingAnew) {
  for (const LeafCase& leaf : AllLeaves<Schedule>()) {
    const auto schedule = MakeSchedule(leaf.name, leaf.fields);
    const auto again = MakeSchedule(leaf.name, leaf.fields, {500, 5});
    again->Prepare({1000, 10}, leaf.name);
    for (const int64_t step : {0, 7, 19, 20, 499, 500, 700, 999}) {
      EXPECT_EQ(again->At(step), schedule->At(step)) << leaf.Text() << " at " << step;
    }
  }
}

/// implicit_regularization, section 4: constant for the first half, then halved every tenth.
TEST(ScheduleValues, StepDecayHalvesEveryTenthOfTheSecondHalf) {
  for (const int64_t steps : {10, 1000, 7030, 78200}) {
    const auto decay = MakeSchedule("step_decay", {{"value", 0.75}}, {steps, 1});
    const int64_t tenth = steps / 10;
    for (int64_t k = 0; k < 10; ++k) {
      const double expected = k < 5 ? 0.75 : std::ldexp(0.75, static_cast<int>(4 - k));
      EXPECT_EQ(decay->At(k * tenth), expected) << steps << " " << k;
      EXPECT_EQ(decay->At((k + 1) * tenth - 1), expected) << steps << " " << k;
    }
  }
}

/// Whole numbers of steps: drops where hold + k every says, for shares that double can't hold.
TEST(ScheduleValues, StepDecayDropsAtTheStepsOfItsShares) {
  for (int64_t hold = 0; hold <= 100; ++hold) {
    for (const int64_t every : {1, 7, 29, 100}) {
      const auto decay = MakeSchedule("step_decay",
                                      {{"value", 1},
                                       {"factor", 0.5},
                                       {"hold", static_cast<double>(hold) / 100},
                                       {"every", static_cast<double>(every) / 100}},
                                      {100, 1});
      for (int64_t step = 0; step < 100; ++step) {
        const int64_t drops = step < hold ? 0 : (step - hold) / every + 1;
        ASSERT_EQ(decay->At(step), std::ldexp(1, -static_cast<int>(drops)))
            << hold << " " << every << " " << step;
      }
    }
  }
}

TEST(ScheduleValues, CosineGoesFromValueToFinal) {
  const auto cosine = MakeSchedule("cosine", {{"value", 0.5}, {"final", 0.1}});
  EXPECT_EQ(cosine->At(0), 0.5);
  for (int64_t step = 1; step < 1000; ++step) {
    ASSERT_LT(cosine->At(step), cosine->At(step - 1));
    // The curve is symmetric about its middle, (value + final) / 2 at half of the run.
    ASSERT_NEAR(cosine->At(step) + cosine->At(1000 - step), 0.6, 1e-15);
  }
  EXPECT_NEAR(cosine->At(250), 0.3 + 0.2 * std::sqrt(0.5), 1e-15);
  EXPECT_EQ(cosine->At(1000), 0.1);
  EXPECT_EQ(cosine->At(5000), 0.1);
  EXPECT_EQ(MakeSchedule("cosine", {{"value", 0.5}})->At(1000), 0);
}

TEST(ScheduleValues, WarmupRisesLinearlyAndThenRunsTheRest) {
  const Json cosine = {{"name", "cosine"}, {"value", 0.5}};
  const auto rest = MakeSchedule("cosine", {{"value", 0.5}}, {900, 10});
  for (const Json& length : {Json{{"steps", 100}}, Json{{"epochs", 10}}}) {
    Json fields = length;
    fields["then"] = cosine;
    const auto warmup = MakeSchedule("warmup", fields);
    for (int64_t step = 0; step < 1000; ++step) {
      const double rising = 0.5 * static_cast<double>(step + 1) / 101;
      ASSERT_EQ(warmup->At(step), step < 100 ? rising : rest->At(step - 100)) << step;
    }
  }
  EXPECT_EQ(MakeSchedule("warmup", {{"steps", 1}, {"then", 0.25}})->At(0), 0.125);
}

TEST(ScheduleValues, WarmupsNest) {
  const Json inner = {{"name", "warmup"}, {"steps", 3}, {"then", 1}};
  const auto outer = MakeSchedule("warmup", {{"steps", 1}, {"then", inner}});
  EXPECT_EQ(outer->At(0), 0.125);
  EXPECT_EQ(outer->At(1), 0.25);
  EXPECT_EQ(outer->At(3), 0.75);
  EXPECT_EQ(outer->At(4), 1);
}

/// noise_enhancement, section 3: from the first time that the training loss is at most L*.
TEST(ScheduleValues, DropAtLossDropsOnceAndForAll) {
  const auto drop = MakeSchedule("drop_at_loss", {{"value", 0.5}, {"train_loss", 0.01}});
  EXPECT_EQ(drop->AwaitedLoss(), 0.01);
  drop->Observe(0, 2.3);
  drop->Observe(100, std::nextafter(0.01, 1));
  drop->Observe(150, NAN);
  EXPECT_EQ(drop->At(1'000'000), 0.5);
  drop->Observe(200, 0.01);
  for (const double later : {0.005, 0.5}) {
    for (const int64_t step : {0, 199}) EXPECT_EQ(drop->At(step), 0.5);
    for (const int64_t step : {200, 201, 1'000'000}) EXPECT_EQ(drop->At(step), 0.25);
    drop->Observe(300, later);
  }
  const Json fields = {{"value", 0.5}, {"train_loss", 0.01}, {"factor", 0.1}};
  const auto tenth = MakeSchedule("drop_at_loss", fields);
  const auto resumed = MakeSchedule("drop_at_loss", fields);
  tenth->Observe(7, 0);
  resumed->State().at("dropped_at").copy_(tenth->State().at("dropped_at"));
  EXPECT_EQ(resumed->At(6), 0.5);
  EXPECT_EQ(resumed->At(7), 0.5 * 0.1);
}

TEST(ScheduleValues, AWarmupPassesOnWhatIsMeasuredAfterIt) {
  const Json drop = {{"name", "drop_at_loss"}, {"value", 0.5}, {"train_loss", 0.01}};
  const auto warmup = MakeSchedule("warmup", {{"steps", 9}, {"then", drop}});
  EXPECT_EQ(warmup->AwaitedLoss(), 0.01);
  warmup->Observe(8, 0);
  EXPECT_EQ(warmup->At(9), 0.5);
  warmup->Observe(9, 0);
  EXPECT_EQ(warmup->At(9), 0.25);
  EXPECT_EQ(warmup->At(4), 0.25);  // half way up to 0.5, as it was
  EXPECT_TRUE(warmup->State().contains("dropped_at"));
}

TEST(ScheduleFields, WarmupNeedsOneLengthThatFitsIntoTheRun) {
  ExpectError(ErrorKind::kConfig, {"warmup", "neither steps nor epochs"},
              [] { MakeExample<Schedule>("warmup"); });
  ExpectError(ErrorKind::kConfig, {"warmup", "both steps and epochs"},
              [] { MakeSchedule("warmup", {{"steps", 1}, {"epochs", 1}}); });
  ExpectError(ErrorKind::kConfig, {"warmup.steps", "1000", "leaves nothing"},
              [] { MakeSchedule("warmup", {{"steps", 1000}}); });
  ExpectError(ErrorKind::kConfig, {"warmup.epochs", "1000", "leaves nothing"},
              [] { MakeSchedule("warmup", {{"epochs", 100}}); });
  MakeSchedule("warmup", {{"steps", 999}});
}

TEST(ScheduleFields, EveryRuleTakesASchedule) {
  const Json decay = {{"name", "step_decay"}, {"value", 0.5}};
  for (const auto& [name, entry] : Registry<UpdateRule>::entries()) {
    Json fields = BaseFields<UpdateRule>(name);
    EXPECT_FALSE(MakeExample<UpdateRule>(name, fields)->LearningRateVaries()) << name;
    fields["learning_rate"] = decay;
    const auto rule = MakeExample<UpdateRule>(name, fields);
    EXPECT_TRUE(rule->LearningRateVaries()) << name;
    rule->PrepareLearningRate({10, 1}, name);
    rule->Prepare(Layout());
    const at::Tensor g = GradientAt(0, at::kDouble);
    rule->Allocate(g);
    EXPECT_EQ(rule->LearningRate(9), 0.5 / 32) << name;
    const auto delta_at = [&](int64_t step) {
      const auto fresh = MakeExample<UpdateRule>(name, fields);
      fresh->PrepareLearningRate({10, 1}, name);
      fresh->Prepare(Layout());
      fresh->Allocate(g);
      return oracle::Norm(ToVector(fresh->Next(ViewOf(step, g, g)).Delta()));
    };
    EXPECT_GT(delta_at(4), 1.5 * delta_at(5)) << name;
  }
}

TEST(ScheduleValues, ConstantIsTheNumberItStandsFor) {
  const auto constant = MakeExample<Schedule>("constant", {{"value", 0.3}});
  EXPECT_EQ(constant->At(0), 0.3);
  EXPECT_EQ(constant->At(123456), 0.3);
  const at::Tensor g = GradientAt(0, at::kDouble);
  const Json spelled = {{"name", "constant"}, {"value", 0.25}};
  for (const Json& rate : {Json(0.25), spelled}) {
    const auto rule = MakeExample<UpdateRule>("sgd", {{"learning_rate", rate}});
    EXPECT_EQ(rule->Next(ViewOf(3, g, g)).scale, -0.25) << rate;
  }
}

/// Rules that say where they become unstable, with hyper-parameters that move it. The metric of Adam
/// and of RMSProp does not change where epsilon is all of it.
std::vector<LeafCase> RulesThatKnowStability() {
  std::vector<LeafCase> rules;
  for (const double momentum : {0.0, 0.5, 0.9}) {
    rules.push_back({"sgd", {{"momentum", momentum}}});
    rules.push_back({"sgd", {{"momentum", momentum}, {"weight_decay", 0.7}}});
    if (momentum > 0) {
      rules.push_back({"sgd", {{"momentum", momentum}, {"nesterov", true}}});
      rules.push_back({"sgd", {{"momentum", momentum}, {"nesterov", true}, {"weight_decay", 0.7}}});
    }
    const Json flat = {{"epsilon", 1e9}, {"learning_rate", 3e8}};
    rules.push_back({"adam", {{"beta1", momentum}}});
    rules.push_back({"adamw", {{"beta1", momentum}, {"weight_decay", 1e-9}}});
    rules.push_back({"rmsprop", {{"momentum", momentum}}});
    for (size_t i = rules.size() - 3; i < rules.size(); ++i) rules[i].fields.update(flat);
  }
  rules.push_back({"sgd", {{"momentum", 0.9}, {"dampening", 0.9}, {"weight_decay", 0.7}}});
  rules.push_back({"n_step", {{"n", 1}}});
  rules.push_back({"n_step", {{"n", 3}}});
  rules.push_back({"n_step", {{"n", 3}, {"weight_decay", 0.7}}});
  return rules;
}

constexpr double kLarge = 1e3;

/// |theta| after many steps, or once it is above kLarge, on the loss h theta^2 / 2, where h is this
/// share of the threshold.
double SizeAfterSteps(const LeafCase& rule_case, double share) {
  const auto rule = MakeExample<UpdateRule>(rule_case.name, rule_case.fields);
  at::Tensor theta = at::ones({1}, at::kDouble);
  rule->Allocate(theta);
  double h = 0;
  for (int64_t step = 0; step < 3000; ++step) {
    // Adam's early steps are corrected for a bias that is gone after some hundred.
    const int64_t late = rule_case.name.starts_with("adam") ? step + 1000 : step;
    const auto at = [&](const at::Tensor& where) { return where.mul(h); };
    const at::Tensor g = at(theta);
    const Update update = rule->Next(ViewOf(late, g, theta, at));
    if (h == 0) {  // known from the first step on, which did not move
      const double metric =
          update.stability.metric.defined() ? update.stability.metric.item<double>() : 1;
      h = share * update.stability.threshold * metric;
      continue;
    }
    theta = theta.add(update.direction, update.scale);
    if (theta.abs().item<double>() > kLarge) break;  // Adam would now change its metric
  }
  return theta.abs().item<double>();
}

TEST(Stability, ThetaStaysBoundedUpToTheThreshold) {
  for (const LeafCase& rule_case : RulesThatKnowStability()) {
    EXPECT_LT(SizeAfterSteps(rule_case, 0.98), 1e-3) << rule_case.Text();
    EXPECT_GT(SizeAfterSteps(rule_case, 1.02), kLarge) << rule_case.Text();
  }
}

TEST(Stability, IsKnownWhereTheRuleSaysSo) {
  for (const LeafCase& rule_case : AllLeaves<UpdateRule>()) {
    Walk walk(rule_case, at::kDouble);
    for (; walk.step < 3; ++walk.step) {
      const at::Tensor g = GradientAt(walk.step, at::kDouble);
      const Update update = walk.rule->Next(ViewOf(walk.step, g, walk.theta));
      EXPECT_EQ(std::isfinite(update.stability.threshold), walk.rule->KnowsStability())
          << rule_case.Text();
    }
  }
}

TEST(Stability, RmsPropsMetricIsWhatItDividesBy) {
  Walk walk({"rmsprop", {{"learning_rate", 0.01}}}, at::kDouble);
  for (; walk.step < 8; ++walk.step) {
    const at::Tensor g = GradientAt(walk.step, at::kDouble);
    const Update update = walk.rule->Next(ViewOf(walk.step, g, walk.theta));
    ExpectNear(ToVector(update.direction.mul(update.stability.metric)), ToVector(g), 1e-14, "g");
    EXPECT_EQ(update.stability.threshold, 2 / 0.01);
  }
}

/// -scale P^-1 m with the m of a plain loop.
TEST(Stability, AdamsMetricIsWhatItDividesBy) {
  Walk walk({"adam", {{"learning_rate", 0.01}}}, at::kDouble);
  oracle::Vector m(kSize);
  for (; walk.step < 8; ++walk.step) {
    const at::Tensor g = GradientAt(walk.step, at::kDouble);
    const Update update = walk.rule->Next(ViewOf(walk.step, g, walk.theta));
    const oracle::Vector numbers = ToVector(g);
    for (size_t i = 0; i < m.size(); ++i) m[i] = 0.9 * m[i] + (1 - 0.9) * numbers[i];
    ExpectNear(ToVector(update.direction.mul(update.stability.metric)), m, 1e-14, "m");
    EXPECT_NEAR(update.stability.threshold * -update.scale, (2 + 2 * 0.9) / (1 - 0.9), 1e-12);
  }
}

}  // namespace
}  // namespace sgdscope
