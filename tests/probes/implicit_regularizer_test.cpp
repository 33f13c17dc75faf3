#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "tests/expect_error.h"
#include "tests/oracles.h"
#include "tests/probes/lone_probe.h"
#include "tests/random_mlp.h"

// The probe implicit_regularizer against loops over batches and examples, and both sides of
// equation 32 over all ways to cut a small set into batches.

namespace sgdscope {
namespace {

using oracle::Vector;
using Named = std::map<std::string, double>;
using Batches = std::vector<std::vector<int64_t>>;  // of each batch its examples

/// `order` cut into batches of `size`; the last one may be smaller.
Batches Cut(const std::vector<int64_t>& order, size_t size) {
  Batches batches;
  for (size_t begin = 0; begin < order.size(); begin += size) {
    const size_t end = std::min(begin + size, order.size());
    batches.emplace_back(order.begin() + static_cast<int64_t>(begin),
                         order.begin() + static_cast<int64_t>(end));
  }
  return batches;
}

std::unique_ptr<Sampler> Giving(const Batches& batches) {
  std::vector<at::Tensor> tensors;
  for (const auto& batch : batches) tensors.push_back(at::tensor(batch, at::kLong));
  return std::make_unique<GivenBatches>(tensors);
}

Named Measure(const OracleUnderTest& it, const Batches& batches,
              const Json& fields = Json::object(), uint64_t seed = 1, int64_t step = 0) {
  return LoneProbe("implicit_regularizer", fields, it, seed, Giving(batches)).Measure(step);
}

/// The definitions, one gradient of one example after the other.
struct Definition {
  double loss = 0;
  double regularizer = 0;
  double squared_norm = 0;
  double batch_error = 0;
  double gamma = 0;
  double gamma_error = 0;
  double largest = 0;  // |grad L_i|^2

  Definition(const RandomMlp& random, const Batches& batches) {
    std::vector<Vector> of_examples;
    std::vector<Vector> of_batches;
    Vector mean(random.theta.size());
    for (const auto& batch : batches) {
      of_batches.emplace_back(random.theta.size());
      for (const int64_t i : batch) {
        const oracle::Example& example = random.examples[static_cast<size_t>(i)];
        loss += oracle::LossAt(random.mlp, random.theta, example);
        of_examples.push_back(oracle::Gradient(random.mlp, random.theta, example));
        of_batches.back() = oracle::Plus(of_batches.back(), 1. / static_cast<double>(batch.size()),
                                         of_examples.back());
        mean = oracle::Plus(mean, 1, of_examples.back());
        largest = std::max(largest, oracle::Dot(of_examples.back(), of_examples.back()));
      }
    }
    const auto n = static_cast<double>(of_examples.size());
    loss /= n;
    for (double& value : mean) value /= n;
    squared_norm = oracle::Dot(mean, mean);
    double identity = 0;  // sum_k (B_k / N) (N - B_k) / (N - 1) Gamma / B_k
    for (size_t k = 0; k < batches.size(); ++k) {
      const auto size = static_cast<double>(batches[k].size());
      const Vector error = oracle::Plus(of_batches[k], -1, mean);
      regularizer += size / n * oracle::Dot(of_batches[k], of_batches[k]) / 4;
      batch_error += size / n * oracle::Dot(error, error);
      if (n > 1) identity += size / n * (n - size) / (n - 1) / size;
    }
    for (const Vector& gradient : of_examples) {
      const Vector error = oracle::Plus(gradient, -1, mean);
      gamma += oracle::Dot(error, error) / n;
    }
    gamma_error = identity * gamma;
  }
};

TEST(ImplicitRegularizer, AgainstLoopsOverBatchesAndExamples) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
      const RandomMlp random = MakeRandomMlp(index);
      Stream stream(90, "batches", index);
      const auto n = static_cast<int64_t>(random.examples.size());
      const size_t size = 1 + stream.Below(random.examples.size());
      const Batches batches = Cut(Permutation(stream, n), size);
      SCOPED_TRACE(random.Text() + ", batches of " + std::to_string(size));
      const OracleUnderTest it(random, dtype);
      const Named values = Measure(it, batches);
      const Definition expected(random, batches);
      // Products of two gradients, each off by 8 Sums() eps of the largest (oracle_test.cpp).
      const double bound = 32 * random.Sums() * Epsilon(dtype) * expected.largest;
      const double logits = it.oracle.Logits(it.batch, it.theta).abs().max().item<double>() + 1;
      EXPECT_NEAR(values.at("loss"), expected.loss,
                  8 * random.Sums() * Epsilon(dtype) * logits * logits);
      EXPECT_NEAR(values.at("regularizer"), expected.regularizer, bound);
      EXPECT_NEAR(values.at("squared_norm"), expected.squared_norm, bound);
      EXPECT_NEAR(values.at("batch_error"), expected.batch_error, bound);
      EXPECT_NEAR(values.at("gamma"), expected.gamma, bound);
      EXPECT_NEAR(values.at("gamma_error"), expected.gamma_error, bound);
    }
  }
}

/// A small network with n examples.
RandomMlp Small(size_t n, uint64_t index = 0) {
  Stream stream(91, "small", index);
  RandomMlp random;
  random.mlp.widths = {3, 4, 3};
  random.mlp.activation = "tanh";
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < n; ++i) {
    random.examples.push_back({RandomVector(stream, 3), static_cast<size_t>(stream.Below(3))});
  }
  return random;
}

/// Equation 32, exactly: the mean of batch_error over all orders, cut, is gamma_error of any.
TEST(ImplicitRegularizer, GammaSaysTheMeanErrorOverAllPartitions) {
  for (const auto& [n, size] :
       std::vector<std::pair<size_t, size_t>>{{4, 2}, {5, 2}, {5, 4}, {4, 1}}) {
    SCOPED_TRACE(std::to_string(n) + " in batches of " + std::to_string(size));
    const RandomMlp random = Small(n);
    const OracleUnderTest it(random, at::kDouble);
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), int64_t{0});
    const Named any = Measure(it, Cut(order, size));
    double sum = 0;
    double count = 0;
    do {
      sum += Measure(it, Cut(order, size), {{"gamma", false}}).at("batch_error");
      ++count;
    } while (std::ranges::next_permutation(order).found);
    const double bound =
        32 * random.Sums() * Epsilon(at::kDouble) * Definition(random, Cut(order, size)).largest;
    EXPECT_NEAR(sum / count, any.at("gamma_error"), bound);
    EXPECT_GT(any.at("gamma_error"), 1e6 * bound);
  }
}

/// Deviations by the error of 20 numbers have Student's distribution: 0.7 % exceed 3.
TEST(ImplicitRegularizer, RandomPartitionsAgreeWithGammaWithinTheirStandardError) {
  const RandomMlp random = Small(24);
  const OracleUnderTest it(random, at::kDouble);
  std::vector<int64_t> order(24);
  std::iota(order.begin(), order.end(), int64_t{0});
  int within = 0;
  double squares = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const Named values = Measure(it, Cut(order, 4), {{"partitions", 20}}, seed);
    const double error = values.at("shuffled_error") - values.at("gamma_error");
    const double deviation = error / values.at("shuffled_error_se");
    EXPECT_LT(values.at("shuffled_error_se"), 0.2 * values.at("gamma_error"));
    within += std::abs(deviation) <= 3 ? 1 : 0;
    squares += deviation * deviation;
  }
  EXPECT_GE(within, 97);
  // The mean square of 100 of them is 1.1 +- 0.2.
  EXPECT_NEAR(squares / 100, 1.1, 0.6);
}

TEST(ImplicitRegularizer, PartitionsAreAFunctionOfSeedAndStep) {
  const OracleUnderTest it(Small(9), at::kDouble);
  const Batches batches = {{0, 1, 2}, {3, 4, 5}, {6, 7, 8}};
  const auto shuffled = [&](uint64_t seed, int64_t step) {
    return Measure(it, batches, {{"partitions", 2}}, seed, step).at("shuffled_error");
  };
  EXPECT_EQ(shuffled(1, 0), shuffled(1, 0));
  EXPECT_NE(shuffled(1, 0), shuffled(2, 0));
  EXPECT_NE(shuffled(1, 0), shuffled(1, 3));
}

/// Rules with memory: Ghosh et al.'s multiple of gradient descent's regularizer, and of Cattaneo et
/// al.'s correction, coordinate by coordinate, what there is in its place.
TEST(ImplicitRegularizer, OfRulesWithMemoryAgainstLoops) {
  for (uint64_t index = 0; index < 6; ++index) {
    const RandomMlp random = Small(7, index);
    const OracleUnderTest it(random, at::kDouble);
    const double beta = 0.3 + 0.1 * static_cast<double>(index);
    const double epsilon = std::pow(10.0, -static_cast<double>(index));
    const Named values =
        Measure(it, {{0, 1, 2}, {3, 4, 5}, {6}},
                {{"momentum", beta},
                 {"rules", {"nesterov", "rmsprop", "rmsprop_momentum", "adam", "adamw"}},
                 {"beta1", 0.5},
                 {"beta2", 0.9},
                 {"epsilon", epsilon},
                 {"weight_decay", 0.3}});
    const Vector g = oracle::MeanGradient(random.mlp, random.theta, random.examples);
    const double squared_norm = oracle::Dot(g, g);
    const double bound = 1e-11;
    EXPECT_NEAR(values.at("heavy_ball.regularizer"), (1 + beta) / (1 - beta) * squared_norm / 4,
                bound * squared_norm);
    EXPECT_NEAR(values.at("nesterov.regularizer"),
                (1 - beta + 2 * beta * beta) / (1 - beta) * squared_norm / 4, bound * squared_norm);
    // On the three batches: of a step at most two before it are of the same epoch, and none of its
    // own batch.
    const double others = (1 - beta) / 3 + (1 - beta * beta) / 3;  // a mean over the three steps
    const double lag = beta / (1 - beta);
    EXPECT_NEAR(values.at("heavy_ball.on_batches"),
                (1 - lag * others) * values.at("regularizer") +
                    2 * lag * (1 + others / 2) * squared_norm / 4,
                bound * squared_norm);
    double norm = 0;
    for (const double value : g) {
      norm += std::abs(value) - epsilon * std::log(1 + std::abs(value) / epsilon);
    }
    const double back = 2 * lag;
    for (const auto& [rule, phi1, phi2, decay] :
         std::vector<std::tuple<std::string, double, double, double>>{
             {"rmsprop", 1., 19., 0.},
             {"rmsprop_momentum", 1 + back, 19 + back, 0.},
             {"adam", 3., 19., 0.},
             {"adamw", 3., 19., 0.3}}) {
      Vector u = g;
      for (size_t j = 0; j < g.size(); ++j) {
        u[j] = u[j] / (std::abs(u[j]) + epsilon) + decay * random.theta[j];
      }
      const Vector h_u = oracle::MeanHessianVector(random.mlp, random.theta, random.examples, u);
      double lowers = 0;
      double scale = 0;
      double raised = 0;
      for (size_t j = 0; j < g.size(); ++j) {
        const double metric = std::abs(g[j]) + epsilon;
        const double factor = phi1 - phi2 * std::abs(g[j]) / metric;
        lowers += h_u[j] * (h_u[j] / metric * factor + decay * u[j]);
        scale += h_u[j] * h_u[j] / metric;
        raised += factor < 0 ? 1. / static_cast<double>(g.size()) : 0;
      }
      EXPECT_NEAR(values.at(rule + ".one_norm"), norm, bound * norm) << rule;
      EXPECT_NEAR(values.at(rule + ".factor"), lowers / scale,
                  bound * std::max(phi2, std::abs(lowers / scale)))
          << rule;
      EXPECT_NEAR(values.at(rule + ".raised"), raised, bound) << rule;
    }
  }
}

/// The batches are those of the step's whole epoch, wherever in it the step is.
TEST(ImplicitRegularizer, TakesTheBatchesOfTheEpochOfTheStep) {
  Json config = SyntheticConfig({{"dtype", "float64"}});  // 7 steps an epoch
  config["probes"] = {{{"name", "implicit_regularizer"}, {"every", 1}}};
  ShortRun run(config);
  Sampler& sampler = run.experiment().sampler();
  const Oracle& oracle = run.experiment().train();
  for (int64_t step = 0; step < 16; ++step) {
    const at::Tensor theta = run.stepper().theta().clone();
    auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    double squares = 0;
    for (int64_t k = 0; k < 7; ++k) {
      const Batch batch = oracle.Load(sampler.At(step / 7 * 7 + k));
      const at::Tensor g = oracle.Evaluate(batch, theta).Mean();
      squares += static_cast<double>(batch.size()) / 45 * g.dot(g).item<double>();
    }
    EXPECT_NEAR(values["regularizer"], squares / 4, 1e-13 * squares) << step;
    const Batch all = oracle.Load(at::arange(45, at::kLong));
    const Gradients whole = oracle.Evaluate(all, theta);
    EXPECT_NEAR(values["squared_norm"], whole.Mean().dot(whole.Mean()).item<double>(),
                1e-13 * squares)
        << step;
    EXPECT_NEAR(values["loss"], MeanLoss(whole.losses).item<double>(), 1e-13) << step;
  }
}

TEST(ImplicitRegularizer, IsMeasuredOnceAnEpochUnlessToldOtherwise) {
  Json config = SyntheticConfig();
  config["probes"] = {{{"name", "implicit_regularizer"}}};
  ShortRun run(config);
  for (int64_t step = 0; step < 15; ++step) EXPECT_EQ(run.probe(0).MeasuresAt(step), step % 7 == 0);
}

/// One batch: gradient descent, without errors.
TEST(ImplicitRegularizer, TheFullBatchHasNoError) {
  const OracleUnderTest it(Small(6), at::kDouble);
  for (const Batches& batches : {Batches{{0, 1, 2, 3, 4, 5}}, Batches{{3}}}) {
    const Named values = Measure(it, batches);
    const double squared_norm = values.at("squared_norm");
    EXPECT_NEAR(values.at("batch_error"), 0, 100 * Epsilon(at::kDouble) * squared_norm);
    EXPECT_EQ(values.at("gamma_error"), 0);
    EXPECT_NEAR(values.at("regularizer"), squared_norm / 4,
                100 * Epsilon(at::kDouble) * squared_norm);
  }
}

Json WithBatchNorm(const Json& probe) {
  Json config = SyntheticConfig({{"dtype", "float64"}});
  config["data"]["shape"] = {2, 17, 16};
  config["model"] = {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}};
  config["probes"] = Json::array({probe});
  return config;
}

TEST(ImplicitRegularizer, GammaIsUndefinedWithBatchNormalization) {
  const auto read = ReadRunConfig(WithBatchNorm({{"name", "implicit_regularizer"}}));
  ExpectError(ErrorKind::kConfig, {"probes[0].gamma", "single examples", "batch normalization"},
              [&] { const Experiment experiment(*read); });
}

/// A batch is normalized by its own statistics: batch_error is from the mean of the partition.
TEST(ImplicitRegularizer, BatchesAreMeasuredWithBatchNormalization) {
  ShortRun run(
      WithBatchNorm({{"name", "implicit_regularizer"}, {"gamma", false}, {"partitions", 2}}));
  EXPECT_EQ(run.probe(0).Values(),
            (std::vector<std::string>{"loss", "regularizer", "squared_norm", "batch_error",
                                      "shuffled_error", "shuffled_error_se"}));
  const at::Tensor theta = run.stepper().theta().clone();
  auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  const Oracle& oracle = run.experiment().train();
  std::vector<at::Tensor> rows;
  std::vector<double> weights;
  for (int64_t k = 0; k < 7; ++k) {
    const Batch batch = oracle.Load(run.experiment().sampler().At(k));
    rows.push_back(oracle.Evaluate(batch, theta).Mean());
    weights.push_back(static_cast<double>(batch.size()) / 45);
  }
  const at::Tensor g = at::stack(rows);  // [m, p]
  const at::Tensor weight = at::tensor(weights, at::kDouble);
  const double squares = g.square().sum(1).dot(weight).item<double>();
  const at::Tensor error = g.sub(weight.matmul(g)).square().sum(1).dot(weight);
  EXPECT_NEAR(values["regularizer"], squares / 4, 1e-12 * squares);
  EXPECT_NEAR(values["batch_error"], error.item<double>(), 1e-12 * squares);
  EXPECT_GT(values["shuffled_error"], 0);
}

TEST(ImplicitRegularizer, OnePartitionHasNoStandardError) {
  Json config = SyntheticConfig();
  config["probes"] = {{{"name", "implicit_regularizer"}, {"partitions", 1}}};
  const auto read = ReadRunConfig(config);
  ExpectError(ErrorKind::kConfig, {"probes[0].partitions", "1", "2 or more"},
              [&] { const Experiment experiment(*read); });
}

}  // namespace
}  // namespace sgdscope
