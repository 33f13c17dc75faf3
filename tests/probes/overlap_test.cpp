#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/distinct.h"
#include "tests/expect_error.h"
#include "tests/oracles.h"
#include "tests/probes/lone_probe.h"
#include "tests/random_mlp.h"

// The probe overlap against loops over the pairs that it draws, and what it predicts against the
// mean over all pairs that there are.

namespace sgdscope {
namespace {

using oracle::Vector;
using Named = std::map<std::string, double>;

/// |A|, |B| and |A n B|.
struct Sizes {
  int64_t a;
  int64_t b;
  int64_t shared;
};

std::vector<oracle::Example> Examples(const RandomMlp& random, const at::Tensor& indices) {
  std::vector<oracle::Example> examples;
  for (const double index : ToVector(indices)) {
    examples.push_back(random.examples[static_cast<size_t>(index)]);
  }
  return examples;
}

constexpr double kRate = 0.05;
constexpr int64_t kPairs = 5;

Named Measure(const RandomMlp& random, const Sizes& sizes, at::ScalarType dtype = at::kDouble,
              uint64_t seed = 1, int64_t step = 0) {
  const OracleUnderTest it(random, dtype);
  return LoneProbe("overlap",
                   {{"learning_rate", kRate},
                    {"overlap", {sizes.shared}},
                    {"loss_batch_size", sizes.a},
                    {"update_batch_size", sizes.b},
                    {"pairs", kPairs}},
                   it, seed)
      .Measure(step);
}

double Mean(const Vector& values) {
  return std::accumulate(values.begin(), values.end(), 0.) / static_cast<double>(values.size());
}

double StandardError(const Vector& values) {
  double squares = 0;
  for (const double value : values) squares += (value - Mean(values)) * (value - Mean(values));
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / (n - 1) / n);
}

/// tr Sigma of all examples, from their deviations.
double Trace(const RandomMlp& random) {
  const Vector mean = oracle::MeanGradient(random.mlp, random.theta, random.examples);
  double sum = 0;
  for (const auto& example : random.examples) {
    const Vector deviation =
        oracle::Plus(oracle::Gradient(random.mlp, random.theta, example), -1, mean);
    sum += oracle::Dot(deviation, deviation);
  }
  return sum / static_cast<double>(random.examples.size() - 1);
}

/// |G|^2 without bias: the mean of <g_i, g_j> over pairs of different examples.
double SquaredNorm(const RandomMlp& random) {
  double sum = 0;
  for (const auto& a : random.examples) {
    for (const auto& b : random.examples) {
      if (&a == &b) continue;
      sum += oracle::Dot(oracle::Gradient(random.mlp, random.theta, a),
                         oracle::Gradient(random.mlp, random.theta, b));
    }
  }
  const auto n = static_cast<double>(random.examples.size());
  return sum / (n * (n - 1));
}

double LargestSquare(const RandomMlp& random) {
  double largest = 0;
  for (const auto& example : random.examples) {
    const Vector gradient = oracle::Gradient(random.mlp, random.theta, example);
    largest = std::max(largest, oracle::Dot(gradient, gradient));
  }
  return largest;
}

TEST(Overlap, AgainstLoopsOverTheDrawnPairs) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
      const RandomMlp random = MakeRandomMlp(index);
      const auto n = static_cast<int64_t>(random.examples.size());
      if (n == 1) continue;
      Stream choice(110, "sizes", index);
      const auto upto = [&](int64_t most) {
        return static_cast<int64_t>(choice.Below(static_cast<uint64_t>(most + 1)));
      };
      Sizes sizes{1 + upto(n - 1), 1 + upto(n - 1), 0};
      const int64_t least = std::max<int64_t>(sizes.a + sizes.b - n, 0);
      sizes.shared = least + upto(std::min(sizes.a, sizes.b) - least);
      SCOPED_TRACE(random.Text() + ", |A| " + std::to_string(sizes.a) + ", |B| " +
                   std::to_string(sizes.b) + ", shared " + std::to_string(sizes.shared));
      Vector measured, first_order;
      Stream stream(1, "overlap", 0);
      double largest_loss = 0;
      for (int64_t i = 0; i < kPairs; ++i) {
        const at::Tensor both = DrawDistinct(stream, sizes.a + sizes.b - sizes.shared, n);
        const auto a = Examples(random, both.slice(0, 0, sizes.a));
        const auto b = Examples(random, both.slice(0, sizes.a - sizes.shared));
        const Vector g = oracle::MeanGradient(random.mlp, random.theta, b);
        const double before = oracle::MeanLoss(random.mlp, random.theta, a);
        const double after = oracle::MeanLoss(random.mlp, oracle::Plus(random.theta, -kRate, g), a);
        measured.push_back((before - after) / kRate);
        first_order.push_back(oracle::Dot(g, oracle::MeanGradient(random.mlp, random.theta, a)));
        largest_loss = std::max({largest_loss, before, after});
      }
      const Named values = Measure(random, sizes, dtype);
      const std::string shared = "shared" + std::to_string(sizes.shared) + ".";
      // Products of two gradients, each off by 8 Sums() eps of the largest (oracle_test.cpp).
      const double bound = 32 * random.Sums() * Epsilon(dtype) * LargestSquare(random);
      // Losses off by the rounding of their logits.
      const OracleUnderTest it(random, dtype);
      const double logits = it.oracle.Logits(it.batch, it.theta).abs().max().item<double>() + 1;
      const double of_losses =
          bound + 16 * random.Sums() * Epsilon(dtype) * (logits * logits + largest_loss) / kRate;
      EXPECT_NEAR(values.at(shared + "first_order"), Mean(first_order), bound);
      EXPECT_NEAR(values.at(shared + "first_order_error"), StandardError(first_order), bound);
      EXPECT_NEAR(values.at(shared + "measured"), Mean(measured), of_losses);
      EXPECT_NEAR(values.at(shared + "measured_error"), StandardError(measured), of_losses);
      EXPECT_NEAR(values.at("covariance_trace"), Trace(random), bound);
      EXPECT_NEAR(values.at("squared_norm"), SquaredNorm(random), bound);
      EXPECT_NEAR(values.at(shared + "predicted"),
                  SquaredNorm(random) + static_cast<double>(sizes.shared) /
                                            static_cast<double>(sizes.a * sizes.b) * Trace(random),
                  2 * bound);
    }
  }
}

/// A tanh network with n examples.
RandomMlp Small(size_t n) {
  Stream stream(111, "small");
  RandomMlp random;
  random.mlp.widths = {3, 4, 3};
  random.mlp.activation = "tanh";
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < n; ++i) {
    random.examples.push_back({RandomVector(stream, 3), static_cast<size_t>(stream.Below(3))});
  }
  return random;
}

/// Equation 7, exactly: over all orders of the training set, A its first and B its last examples of
/// those that a pair takes.
TEST(Overlap, PredictsTheMeanOverAllPairs) {
  constexpr size_t kExamples = 6;
  const RandomMlp random = Small(kExamples);
  std::vector<Vector> gradients;
  for (const auto& example : random.examples) {
    gradients.push_back(oracle::Gradient(random.mlp, random.theta, example));
  }
  for (const Sizes& sizes :
       std::vector<Sizes>{{2, 3, 0}, {2, 3, 1}, {2, 3, 2}, {3, 3, 3}, {6, 6, 6}, {6, 1, 1}}) {
    std::vector<size_t> order(kExamples);
    std::iota(order.begin(), order.end(), size_t{0});
    double sum = 0;
    double count = 0;
    do {
      Vector a(random.theta.size());
      Vector b(random.theta.size());
      for (int64_t i = 0; i < sizes.a; ++i) {
        a = oracle::Plus(a, 1. / static_cast<double>(sizes.a),
                         gradients[order[static_cast<size_t>(i)]]);
      }
      for (int64_t i = 0; i < sizes.b; ++i) {
        b = oracle::Plus(b, 1. / static_cast<double>(sizes.b),
                         gradients[order[static_cast<size_t>(sizes.a - sizes.shared + i)]]);
      }
      sum += oracle::Dot(a, b);
      ++count;
    } while (std::ranges::next_permutation(order).found);
    const std::string shared = "shared" + std::to_string(sizes.shared);
    const double bound = 32 * random.Sums() * Epsilon(at::kDouble) * LargestSquare(random);
    EXPECT_NEAR(Measure(random, sizes).at(shared + ".predicted"), sum / count, bound) << shared;
  }
}

/// A pair that has all examples is no sample.
TEST(Overlap, IsExactWhereBothBatchesAreTheTrainingSet) {
  const RandomMlp random = Small(5);
  const Named values = Measure(random, {5, 5, 5});
  const double bound = 32 * random.Sums() * Epsilon(at::kDouble) * LargestSquare(random);
  EXPECT_NEAR(values.at("shared5.first_order"), values.at("shared5.predicted"), bound);
  EXPECT_NEAR(values.at("shared5.first_order_error"), 0, bound);
}

TEST(Overlap, PairsAreAFunctionOfSeedAndStep) {
  const RandomMlp random = Small(9);
  const auto measured = [&](uint64_t seed, int64_t step) {
    return Measure(random, {3, 3, 1}, at::kDouble, seed, step).at("shared1.measured");
  };
  EXPECT_EQ(measured(1, 0), measured(1, 0));
  EXPECT_NE(measured(1, 0), measured(2, 0));
  EXPECT_NE(measured(1, 0), measured(1, 3));
}

Json ConfigWith(const Json& fields) {
  Json config = SyntheticConfig({{"dtype", "float64"}});  // 45 examples, batches of 7
  config["probes"] = {{{"name", "overlap"}, {"learning_rate", 0.1}, {"overlap", {0, 7}}}};
  for (const auto& [key, value] : fields.items()) config["probes"][0][key] = value;
  return config;
}

/// Batches are as large as the run's where no size is given, and each overlap has its columns.
TEST(Overlap, TakesTheBatchSizeOfTheRun) {
  ShortRun run(ConfigWith(Json::object()));
  const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  EXPECT_EQ(values.size(), 12u);
  const double slope =
      (values.at("shared7.predicted") - values.at("shared0.predicted")) / (7. / 49);
  EXPECT_NEAR(slope, values.at("covariance_trace"), 1e-12 * slope);
}

void ExpectRefused(const Json& fields, const std::vector<std::string>& parts,
                   const Json& changes = Json::object()) {
  Json config = ConfigWith(fields);
  for (const auto& [key, value] : changes.items()) config[key] = value;
  ExpectError(ErrorKind::kConfig, parts, [&] {
    const auto read = ReadRunConfig(config);
    const Experiment experiment(*read);
  });
}

TEST(Overlap, WhatCannotBeDrawnIsRefused) {
  ExpectRefused({{"overlap", {0, 8}}}, {"probes[0].overlap[1]", "7 and 7", "share 8", "at most 7"});
  ExpectRefused({{"overlap", {3}}, {"update_batch_size", 2}}, {"probes[0].overlap[0]", "share 3"});
  // 40 + 7 - 1 of 45 examples; with 2 shared ones they are there.
  ExpectRefused({{"overlap", {2, 1}}, {"loss_batch_size", 40}},
                {"probes[0].overlap[1]", "46", "45", "loss_batch_size"});
  ExpectRefused({{"overlap", Json::array()}}, {"probes[0].overlap", "empty"});
  ExpectRefused({{"overlap", {1, 1}}}, {"probes[0].overlap", "twice"});
  ExpectRefused({{"overlap", {-1}}}, {"probes[0].overlap[0]", "-1"});
  ExpectRefused({{"pairs", 1}}, {"probes[0].pairs", "1"});
  ExpectRefused({{"learning_rate", 0}}, {"probes[0].learning_rate", "0"});
  ExpectRefused(Json::object(), {"probes[0]", "single examples", "batch normalization"},
                {{"data", {{"name", "synthetic"}, {"shape", {2, 17, 16}}, {"train_size", 45}}},
                 {"model", {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}}}});
}

}  // namespace
}  // namespace sgdscope
