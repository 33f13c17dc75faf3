#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "estimators/estimator.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

// The estimator explicit_sgd against equations 12 and 13 by loops in double, and against SGD
// itself.

namespace sgdscope {
namespace {

using oracle::Example;
using oracle::Vector;
using Order = std::vector<int64_t>;

Order Ascending(size_t n) {
  Order order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

/// The estimate on a batch at theta.
at::Tensor Estimate(const OracleUnderTest& it, const Batch& batch, const at::Tensor& theta,
                    size_t updates, double learning_rate) {
  const auto estimator = MakeExample<Estimator>(
      "explicit_sgd", {{"updates", updates}, {"learning_rate", learning_rate}});
  const Gradients gradients = it.oracle.Evaluate(batch, theta);
  return estimator->Estimate({0, batch, gradients, theta, it.oracle});
}

/// Equal parts of a network's examples, in their order.
std::vector<std::vector<Example>> Parts(const RandomMlp& random, size_t updates) {
  const size_t size = random.examples.size() / updates;
  std::vector<std::vector<Example>> parts(updates);
  for (size_t i = 0; i < random.examples.size(); ++i) {
    parts[i / size].push_back(random.examples[i]);
  }
  return parts;
}

/// The size of what the estimate is made of, which rounding is relative to.
double Scale(const RandomMlp& random, double learning_rate) {
  double gradient = 0, product = 0;
  for (const Example& example : random.examples) {
    const Vector g = oracle::Gradient(random.mlp, random.theta, example);
    gradient = std::max(gradient, oracle::Norm(g));
    for (const Example& other : random.examples) {
      const Vector h_g = oracle::HessianVector(random.mlp, random.theta, other, g);
      product = std::max(product, oracle::Norm(h_g));
    }
  }
  return gradient + learning_rate * (product + gradient * gradient);
}

TEST(ExplicitSgd, IsTheGradientOfTheModifiedLoss) {
  int told_apart = 0;
  for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const size_t n = random.examples.size();
    for (size_t m = 2; m <= n; ++m) {
      if (n % m != 0) continue;
      SCOPED_TRACE(random.Text() + ", updates " + std::to_string(m));
      // g + (eta / 2) ((1/m) sum_k H_k g_k - H g)
      constexpr double kRate = 0.3;
      const Vector g = oracle::MeanGradient(random.mlp, random.theta, random.examples);
      Vector expected = oracle::Plus(
          g, -kRate / 2, oracle::MeanHessianVector(random.mlp, random.theta, random.examples, g));
      for (const auto& part : Parts(random, m)) {
        const Vector g_k = oracle::MeanGradient(random.mlp, random.theta, part);
        expected = oracle::Plus(expected, kRate / 2 / static_cast<double>(m),
                                oracle::MeanHessianVector(random.mlp, random.theta, part, g_k));
      }
      for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
        const OracleUnderTest it(random, dtype);
        const double rounding = 32 * random.Sums() * Epsilon(dtype) * Scale(random, kRate);
        ExpectNear(ToVector(Estimate(it, it.batch, it.theta, m, kRate)), expected, rounding, "");
        const double added = oracle::Norm(oracle::Plus(expected, -1, g));
        told_apart += dtype == at::kDouble && added > 1e6 * rounding;
      }
    }
  }
  EXPECT_GT(told_apart, 100);  // dead relus add nothing
}

/// A smooth network with n examples.
RandomMlp Smooth(size_t n, uint64_t index) {
  Stream stream(91, "explicit_sgd", index);
  RandomMlp random;
  random.mlp.widths = {3, 4, 3};
  random.mlp.activation = "tanh";
  random.mlp.loss = index % 2 == 0 ? "cross_entropy" : "mean_squared_error";
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < n; ++i) {
    random.examples.push_back({RandomVector(stream, 3), static_cast<size_t>(stream.Below(3))});
  }
  return random;
}

/// Two updates: what is added is -1/2 of the first term of equation 12,
/// -(eta / 8) grad |g_B - g_C|^2 = -(eta / 4) (H_B - H_C) (g_B - g_C).
TEST(ExplicitSgd, OfTwoUpdatesIsEquations12And13) {
  for (uint64_t index = 0; index < 10; ++index) {
    constexpr double kRate = 0.3;
    const RandomMlp random = Smooth(6, index);
    const auto parts = Parts(random, 2);
    const auto gradient = [&](size_t k) {
      return oracle::MeanGradient(random.mlp, random.theta, parts[k]);
    };
    const Vector difference = oracle::Plus(gradient(0), -1, gradient(1));
    const auto product = [&](size_t k) {
      return oracle::MeanHessianVector(random.mlp, random.theta, parts[k], difference);
    };
    const Vector delta_g = oracle::Plus(Vector(difference.size()), -kRate / 4,
                                        oracle::Plus(product(0), -1, product(1)));
    const Vector g = oracle::MeanGradient(random.mlp, random.theta, random.examples);
    const OracleUnderTest it(random, at::kDouble);
    ExpectNear(ToVector(Estimate(it, it.batch, it.theta, 2, kRate)), oracle::Plus(g, -0.5, delta_g),
               32 * random.Sums() * Epsilon(at::kDouble) * Scale(random, kRate), random.Text());
  }
}

/// In the mean over all ways to cut N examples into m parts, the loss is modified by
/// ((m - 1) / 4) eta tr Sigma / N exactly, with the unbiased Sigma of these examples.
TEST(ExplicitSgd, IsTheGradientOfTheMeanGeneralizationGapInTheMeanOverCuts) {
  for (const auto& [n, m] :
       std::vector<std::pair<size_t, size_t>>{{4, 2}, {6, 2}, {6, 3}, {4, 4}}) {
    SCOPED_TRACE(std::to_string(n) + " examples in " + std::to_string(m) + " parts");
    constexpr double kRate = 0.3;
    const RandomMlp random = Smooth(n, n + m);
    const OracleUnderTest it(random, at::kDouble);
    const size_t size = n / m;
    at::Tensor sum = at::zeros_like(it.theta);
    double cuts = 0;
    Order order = Ascending(n);
    do {  // each cut once: in ascending order within the parts
      bool ascending = true;
      for (size_t i = 1; i < n; ++i) ascending &= i % size == 0 || order[i - 1] < order[i];
      if (!ascending) continue;
      const Batch batch = it.oracle.Load(at::tensor(order, at::kLong));
      sum = sum.add(Estimate(it, batch, it.theta, m, kRate));
      ++cuts;
    } while (std::ranges::next_permutation(order).found);

    const Vector g = oracle::MeanGradient(random.mlp, random.theta, random.examples);
    // grad tr Sigma = (2 / (N - 1)) sum_i H_i (g_i - g)
    const auto examples = static_cast<double>(n);
    const double factor = static_cast<double>(m - 1) / 4 * kRate / examples * 2 / (examples - 1);
    Vector expected = g;
    for (const Example& example : random.examples) {
      const Vector error = oracle::Plus(oracle::Gradient(random.mlp, random.theta, example), -1, g);
      expected = oracle::Plus(expected, factor,
                              oracle::HessianVector(random.mlp, random.theta, example, error));
    }
    ExpectNear(ToVector(sum.div(cuts)), expected,
               32 * random.Sums() * Epsilon(at::kDouble) * Scale(random, kRate), "");
  }
}

/// m steps with `gradient`, which is a function of the step and of theta.
at::Tensor Walk(const at::Tensor& theta, size_t steps, double rate,
                const std::function<at::Tensor(size_t, const at::Tensor&)>& gradient) {
  at::Tensor w = theta;
  for (size_t k = 0; k < steps; ++k) w = w.sub(gradient(k, w), rate);
  return w;
}

/// How far m steps of gradient descent end from the mean, over all orders of the parts, of m steps
/// of SGD: plain, and explicit.
struct Distances {
  double plain;
  double explicit_sgd;
};

Distances DistancesAt(const OracleUnderTest& it, size_t m, double rate) {
  const int64_t size = it.batch.size() / static_cast<int64_t>(m);
  at::Tensor mean = at::zeros_like(it.theta);
  double orders = 0;
  Order order = Ascending(m);
  do {
    const at::Tensor end = Walk(it.theta, m, rate, [&](size_t k, const at::Tensor& w) {
      return it.oracle.Evaluate(Part(it.batch, order[k] * size, size), w).Mean();
    });
    mean = mean.add(end);
    ++orders;
  } while (std::ranges::next_permutation(order).found);
  mean = mean.div(orders);
  const at::Tensor plain = Walk(it.theta, m, rate, [&](size_t, const at::Tensor& w) {
    return it.oracle.Evaluate(it.batch, w).Mean();
  });
  const at::Tensor regularized = Walk(it.theta, m, rate, [&](size_t, const at::Tensor& w) {
    return Estimate(it, it.batch, w, m, rate);
  });
  return {plain.sub(mean).norm().item<double>(), regularized.sub(mean).norm().item<double>()};
}

/// The distance falls with the third power of eta, that of plain gradient descent with the second.
TEST(ExplicitSgd, EmulatesTheMeanOfSgdToSecondOrder) {
  for (const size_t m : {2, 3, 4}) {
    for (uint64_t index = 0; index < 4; ++index) {
      const OracleUnderTest it(Smooth(2 * m, index), at::kDouble);
      // So small that the next order adds less than 5 %, and rounding nothing.
      const double rate = std::ldexp(1, -10);
      const Distances whole = DistancesAt(it, m, rate);
      const Distances half = DistancesAt(it, m, rate / 2);
      EXPECT_NEAR(std::log2(whole.plain / half.plain), 2, 0.05) << m << ", " << index;
      EXPECT_NEAR(std::log2(whole.explicit_sgd / half.explicit_sgd), 3, 0.05) << m << ", " << index;
    }
  }
}

/// Each part by its own statistics: without a regularizer, the mean of the parts' gradients.
TEST(ExplicitSgd, NormalizesThePartsByThemselves) {
  Json json = SyntheticConfig({{"dtype", "float64"}, {"batch_size", 15}});
  json["data"]["shape"] = {2, 8, 8};
  json["model"] = {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}};
  ShortRun run(json);
  const Oracle& oracle = run.experiment().train();
  const at::Tensor theta = run.stepper().theta();
  const Batch batch = oracle.Load(at::arange(15, at::kLong));
  const Gradients gradients = oracle.Evaluate(batch, theta);
  const auto estimator =
      MakeExample<Estimator>("explicit_sgd", {{"updates", 3}, {"learning_rate", 1e-30}});
  const at::Tensor g = estimator->Estimate({0, batch, gradients, theta, oracle});
  at::Tensor mean = at::zeros_like(theta);
  for (int64_t k = 0; k < 3; ++k) {
    mean = mean.add(oracle.Evaluate(Part(batch, 5 * k, 5), theta).Mean(), 1.0 / 3);
  }
  const double size = mean.norm().item<double>();
  EXPECT_LE(g.sub(mean).norm().item<double>(), 10 * Epsilon(at::kDouble) * size);
  EXPECT_GT(g.sub(gradients.Mean()).norm().item<double>(), 1e-3 * size);
}

TEST(ExplicitSgd, RefusesBatchesThatItCannotCut) {
  const auto build = [](const Json& gradient, const Json& changes) {
    Json json = SyntheticConfig(changes);
    json["gradient"] = {{"name", "explicit_sgd"}, {"updates", 2}, {"learning_rate", 0.1}};
    for (const auto& [key, value] : gradient.items()) json["gradient"][key] = value;
    const auto config = ReadRunConfig(json);
    const Experiment experiment(*config);
  };
  const auto refused = [&](const Json& gradient, const Json& changes,
                           const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { build(gradient, changes); });
  };
  refused({{"updates", 1}}, {}, {"gradient.updates", "1"});
  refused({{"learning_rate", 0}}, {}, {"gradient.learning_rate", "0"});
  refused({}, {}, {"gradient.updates", "batch of 7 examples", "2 equal parts"});
  refused({{"updates", 14}}, {}, {"gradient.updates", "batch of 7 examples", "14 equal parts"});
  refused({}, {{"batch_size", 6}}, {"gradient.updates", "batch of 3 examples", "drop_last"});
  build({}, {{"batch_size", 6}, {"sampler", {{"name", "shuffle"}, {"drop_last", true}}}});
  build({}, {{"batch_size", 6}, {"sampler", {{"name", "replacement"}}}});
  build({{"updates", 3}}, {{"batch_size", 6}});
  build({{"updates", 9}}, {{"batch_size", 45}});
}

}  // namespace
}  // namespace sgdscope
