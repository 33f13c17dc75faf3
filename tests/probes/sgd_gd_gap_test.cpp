#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/csv.h"
#include "tests/expect_error.h"
#include "tests/oracles.h"
#include "tests/probes/lone_probe.h"
#include "tests/random_mlp.h"

// The probe sgd_gd_gap against plain loops, the order of equation 12's error, and equation 13 over
// all ways to cut a batch into halves.

namespace sgdscope {
namespace {

using oracle::Vector;
using Named = std::map<std::string, double>;
using Batch = std::vector<oracle::Example>;

constexpr double kRate = 0.02;

Vector Scaled(Vector v, double factor) {
  for (double& value : v) value *= factor;
  return v;
}

/// The definitions, with the halves B and C; where `rms` is above 0, P of the examples `x`.
class Twin {
 public:
  Twin(const RandomMlp& random, double eta, double rms = 0, const Batch& x = {})
      : random_(random), eta_(eta), p_(random.theta.size(), 1) {
    if (rms == 0) return;
    const Vector g = Gradient(random.theta, x);
    for (size_t w = 0; w < p_.size(); ++w) p_[w] = 1 / (std::abs(g[w]) + rms);
  }

  Vector Gradient(const Vector& theta, const Batch& batch) const {
    return oracle::MeanGradient(random_.mlp, theta, batch);
  }
  Vector Product(const Batch& batch, const Vector& v) const {  // h P v
    return oracle::MeanHessianVector(random_.mlp, random_.theta, batch, Times(p_, v));
  }

  /// Where two updates end.
  Vector End(const Batch& first, const Batch& second) const {
    const Vector theta =
        oracle::Plus(random_.theta, -eta_, Times(p_, Gradient(random_.theta, first)));
    return oracle::Plus(theta, -eta_, Times(p_, Gradient(theta, second)));
  }
  /// dg, measured.
  Vector Gap(const Batch& b, const Batch& c) const {
    const Batch x = Joined(b, c);
    Vector gap = Scaled(oracle::Plus(End(b, c), -1, End(x, x)), 1 / eta_);
    for (size_t w = 0; w < p_.size(); ++w) gap[w] /= p_[w];
    return gap;
  }
  /// Equation 12 as printed, with d|g_B - g_C|^2 = 2 (h_B - h_C) (g_B - g_C).
  Vector Equation12(const Batch& b, const Batch& c) const {
    const Vector g_b = Gradient(random_.theta, b);
    const Vector g_c = Gradient(random_.theta, c);
    const Vector difference = oracle::Plus(g_b, -1, g_c);
    Vector sum = Scaled(oracle::Plus(Product(b, difference), -1, Product(c, difference)), 2);
    sum = oracle::Plus(sum, 4, oracle::Plus(Product(b, g_c), -1, Product(c, g_b)));
    return Scaled(sum, -eta_ / 8);
  }
  /// -(1/2) d (eta tr Sigma / n), from d tr Sigma = 2 sum_i (h_i - h) (g_i - g) / (n - 1).
  Vector Equation13(const Batch& x) const {
    const Vector g = Gradient(random_.theta, x);
    Vector sum(random_.theta.size());
    for (const auto& example : x) {
      const Vector deviation = oracle::Plus(Gradient(random_.theta, {example}), -1, g);
      sum = oracle::Plus(sum, 1, Product({example}, deviation));
      sum = oracle::Plus(sum, -1, Product(x, deviation));
    }
    const auto n = static_cast<double>(x.size());
    return Scaled(sum, -eta_ / n / (n - 1));
  }

  static Batch Joined(Batch b, const Batch& c) {
    b.insert(b.end(), c.begin(), c.end());
    return b;
  }

 private:
  static Vector Times(const Vector& p, Vector v) {
    for (size_t w = 0; w < v.size(); ++w) v[w] *= p[w];
    return v;
  }

  const RandomMlp& random_;
  double eta_;
  Vector p_;
};

struct Halves {
  Batch b;
  Batch c;
};

/// The examples at `order` of a batch, the first half and the second; an odd one is left out.
Halves Cut(const Batch& examples, const std::vector<int64_t>& order) {
  Halves halves;
  const size_t half = order.size() / 2;
  for (size_t i = 0; i < 2 * half; ++i) {
    (i < half ? halves.b : halves.c).push_back(examples[static_cast<size_t>(order[i])]);
  }
  return halves;
}

std::vector<int64_t> InOrder(size_t n) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

double Distance(const Vector& a, const Vector& b) { return oracle::Norm(oracle::Plus(a, -1, b)); }

Named Measure(const RandomMlp& random, const Json& fields, uint64_t seed = 1, int64_t step = 0,
              at::ScalarType dtype = at::kDouble) {
  const OracleUnderTest it(random, dtype);
  return LoneProbe("sgd_gd_gap", fields, it, seed).Measure(step);
}

/// All values, of plain updates or of RMSProp's.
void ExpectAgreesWithPlainLoops(double rms) {
  constexpr int64_t kDraws = 3;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
      RandomMlp random = MakeRandomMlp(index);
      if (random.mlp.activation == "relu") continue;  // rounding decides on which side of a kink
      if (random.examples.size() == 1) continue;
      // Both dtypes hold these weights exactly; the probe works in double either way.
      for (double& value : random.theta) value /= 4;
      SCOPED_TRACE(random.Text());
      Json fields = {{"learning_rate", kRate}, {"draws", kDraws}};
      if (rms > 0) fields["rms_epsilon"] = rms;
      const Named values = Measure(random, fields, 1, 0, dtype);
      const size_t n = random.examples.size() / 2 * 2;
      const auto [b, c] = Cut(random.examples, InOrder(n));
      const Batch x = Twin::Joined(b, c);
      const Twin twin(random, kRate, rms, x);
      const Vector leading = twin.Equation12(b, c);
      const Vector gap = twin.Gap(b, c);
      const Vector average = twin.Equation13(x);
      Stream stream(1, "sgd_gd_gap", 0);
      std::vector<Vector> cuts;
      Vector mean(random.theta.size());
      for (int64_t k = 0; k < kDraws; ++k) {
        const auto cut = Cut(x, Permutation(stream, static_cast<int64_t>(n)));
        cuts.push_back(
            Scaled(oracle::Plus(twin.Gap(cut.b, cut.c), 1, twin.Gap(cut.c, cut.b)), 0.5));
        mean = oracle::Plus(mean, 1. / kDraws, cuts.back());
      }
      double squares = 0;
      for (const Vector& cut : cuts) squares += std::pow(Distance(cut, mean), 2);
      // Gradients are off by 8 Sums() eps of their terms, which for these weights are below 10. The
      // twin's dg is a difference of two thetas divided by eta: twice rounded at either end. P lies
      // between 1 / (10 + rms) and 1 / rms.
      const double scaled = rms > 0 ? (10 + rms) / rms : 1;
      const double bound = scaled * Epsilon(at::kDouble) *
                           (64 * random.Sums() * 10 + 8 * oracle::Norm(random.theta) / kRate);
      EXPECT_NEAR(values.at("norm"), oracle::Norm(gap), bound);
      const double size = oracle::Norm(leading);
      EXPECT_NEAR(values.at("distance") * size, Distance(gap, leading), bound);
      EXPECT_NEAR(values.at("average.norm"), oracle::Norm(average), bound);
      const double average_size = oracle::Norm(average);
      if (average_size < 1e3 * bound) continue;  // equal examples
      EXPECT_NEAR(values.at("average.distance") * average_size, Distance(mean, average), 2 * bound);
      EXPECT_NEAR(values.at("average.error") * average_size,
                  std::sqrt(squares / (kDraws * (kDraws - 1))), 2 * bound);
      const double along = -oracle::Dot(average, random.theta);
      const double theta = oracle::Norm(random.theta);
      EXPECT_NEAR(values.at("average.decay") * theta, along / theta, bound);
      EXPECT_NEAR(values.at("average.cosine"), along / theta / average_size,
                  2 * bound / average_size);
    }
  }
}

TEST(SgdGdGap, AgainstPlainLoops) { ExpectAgreesWithPlainLoops(0); }

TEST(SgdGdGap, WithUpdatesOfRmsPropAgainstPlainLoops) { ExpectAgreesWithPlainLoops(0.5); }

/// A two-layer tanh network with n examples.
RandomMlp Tanh(uint64_t index, size_t n) {
  Stream stream(112, "tanh", index);
  RandomMlp random;
  random.mlp.widths = {4, 6, 3};
  random.mlp.activation = "tanh";
  random.mlp.loss = index % 2 == 0 ? "cross_entropy" : "mean_squared_error";
  random.theta = RandomVector(stream, random.mlp.size());
  for (double& value : random.theta) value /= 2;
  for (size_t i = 0; i < n; ++i) {
    random.examples.push_back({RandomVector(stream, 4), static_cast<size_t>(stream.Below(3))});
  }
  return random;
}

/// Equation 12 is the leading order: its error is of second order in eta, relatively of first.
TEST(SgdGdGap, TheErrorOfEquation12IsOfSecondOrder) {
  for (uint64_t index = 0; index < 10; ++index) {
    const RandomMlp random = Tanh(index, 8);
    const Named coarse = Measure(random, {{"learning_rate", 1e-3}});
    const Named fine = Measure(random, {{"learning_rate", 1e-4}});
    EXPECT_NEAR(coarse.at("order"), 2, 0.02) << random.Text();
    EXPECT_NEAR(fine.at("order"), 2, 0.002) << random.Text();
    EXPECT_NEAR(coarse.at("distance") / fine.at("distance"), 10, 0.2) << random.Text();
    EXPECT_LT(fine.at("distance"), 1e-3) << random.Text();
    const Named rms = Measure(random, {{"learning_rate", 1e-5}, {"rms_epsilon", 0.05}});
    EXPECT_NEAR(rms.at("order"), 2, 0.02) << random.Text();
  }
}

/// A linear model with a quadratic loss: there equation 11 has no further terms.
TEST(SgdGdGap, Equation12IsExactForAQuadraticLoss) {
  Stream stream(113, "quadratic");
  RandomMlp random;
  random.mlp.widths = {4, 3};
  random.mlp.loss = "mean_squared_error";
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < 10; ++i) {
    random.examples.push_back({RandomVector(stream, 4), static_cast<size_t>(stream.Below(3))});
  }
  for (const double rate : {0.5, 0.05}) {
    const Named values = Measure(random, {{"learning_rate", rate}});
    // The gap is of first order in eta, the gradients that it is the difference of are not.
    EXPECT_LT(values.at("distance"), 64 * random.Sums() * Epsilon(at::kDouble) / rate);
    EXPECT_GT(values.at("norm"), 0.1 * rate);
  }
}

/// Equation 13: over all cuts into halves, equation 12 is minus half the derivative of the average
/// gap, exactly.
TEST(SgdGdGap, TheAverageOverAllCutsIsEquation13) {
  for (const auto& [n, rms] : {std::pair{2ul, 0.}, {4ul, 0.}, {6ul, 0.}, {6ul, 0.1}}) {
    const RandomMlp random = Tanh(n, n);
    const Twin twin(random, kRate, rms, random.examples);
    std::vector<int64_t> order = InOrder(n);
    Vector mean(random.theta.size());
    double count = 0;
    do {
      const auto [b, c] = Cut(random.examples, order);
      mean = oracle::Plus(mean, 1, twin.Equation12(b, c));
      ++count;
    } while (std::ranges::next_permutation(order).found);
    mean = Scaled(mean, 1 / count);
    const Vector expected = twin.Equation13(random.examples);
    const double bound = 1e3 * random.Sums() * Epsilon(at::kDouble) * oracle::Norm(expected);
    EXPECT_LE(Distance(mean, expected), bound) << n;
    Json fields = {{"learning_rate", kRate}, {"draws", 2}};
    if (rms > 0) fields["rms_epsilon"] = rms;
    EXPECT_NEAR(Measure(random, fields).at("average.norm"), oracle::Norm(mean), bound) << n;
  }
}

/// The mean over random cuts is off by its error: the mean square of distance / error is 1 + the
/// share of higher orders in eta, relatively 1e-5 here.
TEST(SgdGdGap, RandomCutsAgreeWithEquation13WithinTheirStandardError) {
  const RandomMlp random = Tanh(1, 12);
  double squares = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Named values = Measure(random, {{"learning_rate", 1e-5}, {"draws", 300}}, seed);
    const double deviation = values.at("average.distance") / values.at("average.error");
    EXPECT_LT(deviation, 3) << seed;
    EXPECT_LT(values.at("average.error"), 0.1) << seed;
    squares += deviation * deviation;
  }
  // Each is a sum of squares of several independent parts with the mean 1 and at most the
  // variance 2.
  EXPECT_NEAR(squares / 20, 1, 3 * std::sqrt(2. / 20));
}

/// With one weight and a quadratic loss equation 12 is exact, and often without any rounding: then
/// there is no order, rather than one of minus infinity.
TEST(SgdGdGap, WithoutAnyErrorThereIsNoOrder) {
  int not_measured = 0;
  for (uint64_t index = 0; index < 100; ++index) {
    Stream stream(114, "one weight", index);
    RandomMlp random;
    random.mlp = {{1, 1}, "identity", false, "mean_squared_error"};
    random.theta = {1 + stream.Uniform()};
    for (int i = 0; i < 2; ++i) random.examples.push_back({{stream.Uniform()}, 0});
    const double order = Measure(random, {{"learning_rate", 0.25}}).at("order");
    not_measured += IsNotMeasured(order) ? 1 : 0;
    EXPECT_TRUE(std::isfinite(order) || IsNotMeasured(order)) << index << ": " << order;
  }
  EXPECT_GT(not_measured, 0);
}

TEST(SgdGdGap, CutsAreAFunctionOfSeedAndStep) {
  const RandomMlp random = Tanh(0, 8);
  const auto distance = [&](uint64_t seed, int64_t step) {
    return Measure(random, {{"learning_rate", kRate}, {"draws", 2}}, seed, step)
        .at("average.distance");
  };
  EXPECT_EQ(distance(1, 0), distance(1, 0));
  EXPECT_NE(distance(1, 0), distance(2, 0));
  EXPECT_NE(distance(1, 0), distance(1, 3));
}

TEST(SgdGdGap, TheAverageIsMeasuredWhereAskedFor) {
  const RandomMlp random = Tanh(0, 8);
  EXPECT_EQ(Measure(random, {{"learning_rate", kRate}}).size(), 3u);
  EXPECT_EQ(Measure(random, {{"learning_rate", kRate}, {"draws", 2}}).size(), 8u);
}

/// The last batch of an epoch may have one example.
TEST(SgdGdGap, OneExampleHasNoHalves) {
  const OracleUnderTest it(Tanh(0, 8), at::kDouble);
  LoneProbe probe("sgd_gd_gap", {{"learning_rate", kRate}, {"draws", 2}}, it);
  for (const auto& [name, value] : probe.Measure(0, at::tensor({5}, at::kLong))) {
    EXPECT_TRUE(IsNotMeasured(value)) << name;
  }
}

void ExpectRefused(const Json& changes, const Json& fields, const std::vector<std::string>& parts) {
  Json config = SyntheticConfig(changes);
  config["probes"] = {{{"name", "sgd_gd_gap"}, {"learning_rate", 0.1}}};
  for (const auto& [key, value] : fields.items()) config["probes"][0][key] = value;
  ExpectError(ErrorKind::kConfig, parts, [&] {
    const auto read = ReadRunConfig(config);
    const Experiment experiment(*read);
  });
}

TEST(SgdGdGap, WhatIsUndefinedIsRefused) {
  const Json nothing = Json::object();
  ExpectRefused(nothing, {{"draws", 1}}, {"probes[0].draws", "1", "2 or more"});
  ExpectRefused(nothing, {{"learning_rate", 0}}, {"probes[0].learning_rate", "0"});
  ExpectRefused({{"batch_size", 1}}, nothing, {"probes[0]", "one example", "at least 2"});
  ExpectRefused({{"data", {{"name", "synthetic"}, {"shape", {2, 17, 16}}, {"train_size", 45}}},
                 {"model", {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}}}},
                nothing, {"probes[0]", "batch normalization", "skipinit"});
}

}  // namespace
}  // namespace sgdscope
