#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/csv.h"
#include "tests/expect_error.h"
#include "tests/oracles.h"
#include "tests/probes/lone_probe.h"
#include "tests/random_mlp.h"

// The probe covariance against loops over single examples and over pairs of them.

namespace sgdscope {
namespace {

using oracle::Vector;
using Named = std::map<std::string, double>;

Named Measure(const RandomMlp& random, at::ScalarType dtype = at::kDouble) {
  const OracleUnderTest it(random, dtype);
  return LoneProbe("covariance", {{"gram", true}}, it).Measure(0, it.batch.indices);
}

/// A number and how far the program's may be from it.
struct Bounded {
  double value;
  double error;
};

/// a / b of two such numbers; an infinite error where rounding may have decided the sign of b.
Bounded operator/(const Bounded& a, const Bounded& b) {
  const double value = a.value / b.value;
  if (std::abs(b.value) <= b.error) return {value, std::numeric_limits<double>::infinity()};
  return {value, (a.error + std::abs(value) * b.error) / (std::abs(b.value) - b.error)};
}

/// The definitions, example by example. Each <g_i, g_j> of the program is off by at most `dot`, as
/// in per_example_test.cpp.
class Definition {
 public:
  Definition(const RandomMlp& random, double epsilon)
      : random_(random), n_(static_cast<double>(random.examples.size())) {
    for (const auto& example : random.examples) {
      rows_.push_back(oracle::Gradient(random.mlp, random.theta, example));
    }
    double largest = 0;
    for (const Vector& row : rows_) largest = std::max(largest, oracle::Dot(row, row));
    dot_ = 16 * random.Sums() * epsilon * n_ * n_ * largest;
  }

  Bounded MeanSquaredNorm() const {
    double sum = 0;
    for (const Vector& row : rows_) sum += oracle::Dot(row, row);
    return {sum / n_, dot_};
  }
  Bounded SquaredNorm() const { return {oracle::Dot(Mean(), Mean()), 2 * dot_}; }
  /// The mean square of the deviations, with n - 1.
  Bounded Trace() const {
    double sum = 0;
    for (const Vector& row : rows_) {
      const Vector deviation = oracle::Plus(row, -1, Mean());
      sum += oracle::Dot(deviation, deviation);
    }
    return {sum / (n_ - 1), 6 * dot_};
  }
  /// |G|^2: the mean of <g_i, g_j> over pairs, which estimates it without bias.
  Bounded Signal() const {
    double sum = 0;
    for (const Vector& a : rows_) {
      for (const Vector& b : rows_) sum += &a == &b ? 0 : oracle::Dot(a, b);
    }
    return {sum / (n_ * (n_ - 1)), 8 * dot_};
  }
  Bounded Coherence() const {
    return Bounded{n_ * SquaredNorm().value, n_ * 2 * dot_} / MeanSquaredNorm();
  }
  Bounded Diversity() const {
    return MeanSquaredNorm() / Bounded{n_ * SquaredNorm().value, n_ * 2 * dot_};
  }

  /// What pairs i != j say that have the same label, or another one, or (kAny) whatever label.
  enum Labels { kAny, kSame, kOther };
  struct Pairs {
    double count = 0;
    Bounded sign = {0, 0};  // means
    Bounded cosine = {0, 0};
    Bounded least = {std::numeric_limits<double>::infinity(), 0};  // minima
    Bounded least_cosine = least;
  };
  Pairs Over(Labels labels) const {
    Pairs pairs;
    for (size_t i = 0; i < rows_.size(); ++i) {
      for (size_t j = 0; j < rows_.size(); ++j) {
        const bool same = random_.examples[i].label == random_.examples[j].label;
        if (i != j && (labels == kAny || same == (labels == kSame))) Add(rows_[i], rows_[j], pairs);
      }
    }
    for (Bounded* mean : {&pairs.sign, &pairs.cosine}) {
      mean->value /= pairs.count;
      mean->error = mean->error / pairs.count + kRounding;
    }
    return pairs;
  }

 private:
  static constexpr double kRounding = 100 * std::numeric_limits<double>::epsilon();

  Vector Mean() const { return oracle::MeanGradient(random_.mlp, random_.theta, random_.examples); }

  void Add(const Vector& a, const Vector& b, Pairs& pairs) const {
    const double dot = oracle::Dot(a, b);
    const double norms = oracle::Norm(a) * oracle::Norm(b);
    const double cosine = norms > 0 ? dot / norms : 0;
    const double error = norms > 0 ? std::min(2.0, 4 * dot_ / norms) : 0;
    ++pairs.count;
    pairs.sign.value += (dot > 0) - (dot < 0);
    pairs.sign.error += dot != 0 && std::abs(dot) <= dot_ ? 2 : 0;
    pairs.cosine.value += cosine;
    pairs.cosine.error += error;
    pairs.least = {std::min(pairs.least.value, dot), dot_};
    pairs.least_cosine = {std::min(pairs.least_cosine.value, cosine),
                          std::max(pairs.least_cosine.error, error + kRounding)};
  }

  const RandomMlp& random_;
  double n_;
  std::vector<Vector> rows_;
  double dot_ = 0;
};

void Expect(const Named& values, const std::string& name, const Bounded& expected) {
  EXPECT_LE(std::abs(values.at(name) - expected.value), expected.error) << name;
}

void ExpectNotMeasured(const Named& values, const std::vector<std::string>& names) {
  for (const std::string& name : names) EXPECT_TRUE(IsNotMeasured(values.at(name))) << name;
}

void ExpectMoments(const Named& values, const Definition& expected) {
  Expect(values, "trace", expected.Trace());
  Expect(values, "mean_squared_norm", expected.MeanSquaredNorm());
  Expect(values, "squared_norm", expected.SquaredNorm());
  if (expected.MeanSquaredNorm().value == 0) {  // all hidden units are off
    ExpectNotMeasured(values, {"noise_scale", "m_coherence", "gradient_diversity"});
    return;
  }
  Expect(values, "m_coherence", expected.Coherence());
  Expect(values, "gradient_diversity", expected.Diversity());
  const Bounded signal = expected.Signal();
  if (signal.value > signal.error) {
    Expect(values, "noise_scale", expected.Trace() / signal);
  } else if (signal.value < -signal.error) {
    ExpectNotMeasured(values, {"noise_scale"});
  }
}

void ExpectPairs(const Named& values, const Definition& expected) {
  const std::vector<std::pair<std::string, Definition::Labels>> kinds = {
      {"", Definition::kAny}, {"_within", Definition::kSame}, {"_between", Definition::kOther}};
  for (const auto& [name, labels] : kinds) {
    const Definition::Pairs pairs = expected.Over(labels);
    if (pairs.count == 0) {
      ExpectNotMeasured(values, {"stiffness_sign" + name, "stiffness_cos" + name});
      continue;
    }
    Expect(values, "stiffness_sign" + name, pairs.sign);
    Expect(values, "stiffness_cos" + name, pairs.cosine);
    if (labels != Definition::kAny) continue;
    Expect(values, "confusion_min", pairs.least);
    Expect(values, "confusion_min_cos", pairs.least_cosine);
  }
}

TEST(Covariance, AgainstLoopsOverExamplesAndPairs) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
      const RandomMlp random = MakeRandomMlp(index);
      SCOPED_TRACE(random.Text() + ", " + at::toString(dtype));
      const Named values = Measure(random, dtype);
      const Definition expected(random, Epsilon(dtype));
      if (random.examples.size() > 1) {
        ExpectMoments(values, expected);
        ExpectPairs(values, expected);
        continue;
      }
      Expect(values, "mean_squared_norm", expected.MeanSquaredNorm());
      Expect(values, "squared_norm", expected.SquaredNorm());
      ExpectNotMeasured(values,
                        {"trace", "noise_scale", "stiffness_sign", "stiffness_cos",
                         "stiffness_sign_within", "stiffness_cos_within", "stiffness_sign_between",
                         "stiffness_cos_between", "confusion_min", "confusion_min_cos"});
    }
  }
}

/// A linear model with theta = 0 and one output that is to become 1: g_i = -2 x_i.
RandomMlp WithGradientsAlong(const std::vector<Vector>& inputs) {
  RandomMlp linear;
  linear.mlp.widths = {inputs[0].size(), 1};
  linear.mlp.bias = false;
  linear.mlp.loss = "mean_squared_error";
  linear.theta = Vector(linear.mlp.size());
  for (const Vector& x : inputs) linear.examples.push_back({x, 0});
  return linear;
}

TEST(Covariance, EqualGradients) {
  for (const size_t n : {2, 3, 7}) {
    const Named values = Measure(WithGradientsAlong(std::vector<Vector>(n, {1, 2})));
    EXPECT_DOUBLE_EQ(values.at("squared_norm"), 20);
    EXPECT_DOUBLE_EQ(values.at("mean_squared_norm"), 20);
    const double rounding = 20 * static_cast<double>(n) * Epsilon(at::kDouble);
    EXPECT_NEAR(values.at("trace"), 0, 2 * rounding);
    EXPECT_NEAR(values.at("noise_scale"), 0, rounding);
    EXPECT_DOUBLE_EQ(values.at("m_coherence"), static_cast<double>(n));
    EXPECT_DOUBLE_EQ(values.at("gradient_diversity"), 1 / static_cast<double>(n));
    EXPECT_DOUBLE_EQ(values.at("stiffness_sign"), 1);
    EXPECT_DOUBLE_EQ(values.at("stiffness_cos"), 1);
    EXPECT_DOUBLE_EQ(values.at("confusion_min"), 20);
    EXPECT_DOUBLE_EQ(values.at("confusion_min_cos"), 1);
  }
}

TEST(Covariance, OrthogonalGradients) {
  const Named values = Measure(WithGradientsAlong({{1, 0, 0}, {0, 2, 0}, {0, 0, 3}}));
  EXPECT_DOUBLE_EQ(values.at("mean_squared_norm"), 4 * 14. / 3);
  EXPECT_DOUBLE_EQ(values.at("squared_norm"), 4 * 14. / 9);
  EXPECT_DOUBLE_EQ(values.at("m_coherence"), 1);
  EXPECT_DOUBLE_EQ(values.at("gradient_diversity"), 1);
  for (const std::string name :
       {"stiffness_sign", "stiffness_cos", "confusion_min", "confusion_min_cos"}) {
    EXPECT_EQ(values.at(name), 0) << name;
  }
}

// g_i = -2, -2, 2: mean -2/3, deviations 4/3 twice and 8/3.
TEST(Covariance, NoiseScaleIsNotMeasuredWhereTheNoiseHidesTheMean) {
  const Named values = Measure(WithGradientsAlong({{1}, {1}, {-1}}));
  EXPECT_NEAR(values.at("trace"), 16. / 3, 1e-15 * 16);
  EXPECT_NEAR(values.at("squared_norm"), 4. / 9, 1e-15);
  ExpectNotMeasured(values, {"noise_scale"});
  EXPECT_NEAR(values.at("m_coherence"), 1. / 3, 1e-15);
  // Of three pairs, one agrees.
  EXPECT_NEAR(values.at("stiffness_sign"), -1. / 3, 1e-15);
  EXPECT_DOUBLE_EQ(values.at("confusion_min"), -4);
  EXPECT_DOUBLE_EQ(values.at("confusion_min_cos"), -1);

  // g_i = 2, 6: mean 4, tr Sigma 8, |G|^2 = 16 - 4.
  EXPECT_NEAR(Measure(WithGradientsAlong({{1}, {3}})).at("noise_scale"), 8. / 12, 1e-15);
}

// With theta = 0 and two classes the softmax is (1/2, 1/2): g = +-(x, -x) / 2, its sign the
// label's.
TEST(Covariance, StiffnessWithinAndBetweenClasses) {
  RandomMlp random;
  random.mlp.widths = {1, 2};
  random.mlp.bias = false;
  random.theta = Vector(2);
  for (const size_t label : {0, 0, 0, 1}) random.examples.push_back({{1}, label});
  const Named values = Measure(random);
  for (const std::string kind : {"stiffness_sign", "stiffness_cos"}) {
    EXPECT_NEAR(values.at(kind), 0, 1e-15);
    EXPECT_NEAR(values.at(kind + "_within"), 1, 1e-15);
    EXPECT_NEAR(values.at(kind + "_between"), -1, 1e-15);
  }
  EXPECT_DOUBLE_EQ(values.at("confusion_min"), -0.5);
  EXPECT_NEAR(values.at("confusion_min_cos"), -1, 1e-15);
}

TEST(Covariance, GradientsThatVanish) {
  const Named values = Measure(WithGradientsAlong({{0, 0}, {0, 0}}));
  for (const std::string name : {"trace", "mean_squared_norm", "squared_norm", "stiffness_sign",
                                 "stiffness_cos", "confusion_min", "confusion_min_cos"}) {
    EXPECT_EQ(values.at(name), 0) << name;
  }
  ExpectNotMeasured(values, {"noise_scale", "m_coherence", "gradient_diversity"});
  // One of three: its cosines count as 0.
  const Named one = Measure(WithGradientsAlong({{0, 0}, {1, 0}, {1, 0}}));
  EXPECT_NEAR(one.at("stiffness_sign"), 1. / 3, 1e-15);
  EXPECT_NEAR(one.at("stiffness_cos"), 1. / 3, 1e-15);
}

/// Against a dense solver for Sigma [p, p] itself.
TEST(Covariance, SpectrumIsThatOfTheMatrix) {
  constexpr int64_t kAsked = 4;
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    const Named values =
        LoneProbe("covariance", {{"spectrum", kAsked}}, it).Measure(0, it.batch.indices);
    const int64_t rank = it.batch.size() - 1;
    if (rank == 0) {
      ExpectNotMeasured(values, {"eigenvalue1", "eigenvalue4", "effective_rank"});
      continue;
    }
    std::vector<at::Tensor> rows;
    for (const auto& example : random.examples) {
      rows.push_back(
          ToTensor(oracle::Gradient(random.mlp, random.theta, example), {it.theta.size(0)}));
    }
    const at::Tensor noise = at::stack(rows).sub(at::stack(rows).mean(0));
    const at::Tensor sigma = at::mm(noise.t(), noise).div(static_cast<double>(rank));
    const Vector all = ToVector(std::get<0>(at::linalg_eigh(sigma)).flip(0));
    for (int64_t i = 0; i < kAsked; ++i) {
      const double actual = values.at("eigenvalue" + std::to_string(i + 1));
      const auto place = static_cast<size_t>(i);
      EXPECT_EQ(IsNotMeasured(actual), i >= rank) << random.Text();
      if (i >= rank) continue;
      EXPECT_NEAR(actual, place < all.size() ? all[place] : 0, 1e-12 * all[0]) << random.Text();
    }
    const double trace = sigma.trace().item<double>();
    EXPECT_NEAR(values.at("effective_rank"), trace * trace / sigma.square().sum().item<double>(),
                1e-11 * static_cast<double>(rank))
        << random.Text();
  }
}

/// Of a part of the training set that is all of it, whatever the batch, which all else is of.
TEST(Covariance, SpectrumIsOfAFixedPartIfAsked) {
  for (uint64_t index = 1; index < kCombinations; index += 5) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    const int64_t n = it.batch.size();
    const Named whole = LoneProbe("covariance", {{"spectrum", 2}}, it).Measure(0, it.batch.indices);
    const Json fields = {{"spectrum", 2}, {"spectrum_examples", n}};
    const at::Tensor first = it.batch.indices.narrow(0, 0, 1);
    const Named values = LoneProbe("covariance", fields, it).Measure(0, first);
    for (const std::string name : {"eigenvalue1", "effective_rank"}) {
      EXPECT_NEAR(values.at(name), whole.at(name), 1e-11 * std::abs(whole.at(name)))
          << random.Text();
    }
    ExpectNotMeasured(values, {"trace"});
    ExpectError(ErrorKind::kConfig, {"probes[0].spectrum_examples", std::to_string(n)}, [&] {
      LoneProbe("covariance", {{"spectrum", 2}, {"spectrum_examples", n + 1}}, it);
    });
  }
  ExpectError(ErrorKind::kConfig, {"probes[0].spectrum_examples", "spectrum is 0"}, [] {
    ReadRunConfig(SyntheticConfig(
        {{"probes", Json::array({{{"name", "covariance"}, {"spectrum_examples", 2}}})}}));
  });
}

TEST(Covariance, ANaNIsNotHidden) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Named values = Measure(WithGradientsAlong({{1, 1}, {nan, 0}, {2, 1}}));
  for (const auto& [name, value] : values) {
    if (name.ends_with("_between")) continue;  // there is one class
    EXPECT_TRUE(std::isnan(value) && !IsNotMeasured(value)) << name << " " << value;
  }
}

TEST(Covariance, PairsAreMeasuredWhereAskedFor) {
  EXPECT_EQ(MakeExample<Probe>("covariance")->Values(),
            (std::vector<std::string>{"trace", "mean_squared_norm", "squared_norm", "noise_scale",
                                      "m_coherence", "gradient_diversity"}));
  const OracleUnderTest it(WithGradientsAlong({{1, 1}, {3, 2}}), at::kFloat);
  const Named with = LoneProbe("covariance", {{"gram", true}}, it).Measure(0, it.batch.indices);
  const Named without = LoneProbe("covariance", {{"gram", false}}, it).Measure(0, it.batch.indices);
  EXPECT_EQ(with.size(), 14);
  EXPECT_EQ(without.size(), 6);
  for (const auto& [name, value] : without) EXPECT_EQ(value, with.at(name)) << name;
}

}  // namespace
}  // namespace sgdscope
