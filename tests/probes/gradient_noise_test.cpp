#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/csv.h"
#include "data/distinct.h"
#include "estimators/estimator.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"

// The probe gradient_noise against its definitions, from gradients of single examples, and against
// what is known in closed form: equations 4 and 10 of noise_enhancement.

namespace sgdscope {
namespace {

using oracle::Vector;
using Named = std::map<std::string, double>;

const oracle::Mlp kMlp{{6, 8, 5, 4}, "relu", true, "cross_entropy"};
constexpr int64_t kExamples = 45;

Json NoiseEnhanced(double alpha, const std::string& second = "batch") {
  return {{"name", "noise_enhanced"}, {"alpha", alpha}, {"second", second}};
}

Json Config(uint64_t seed, const Json& gradient, int64_t batch_size, int64_t draws,
            int64_t projections, const std::string& dtype = "float64") {
  const Json probe = {
      {"name", "gradient_noise"}, {"every", 1}, {"draws", draws}, {"projections", projections}};
  return SyntheticConfig({{"seed", seed},
                          {"dtype", dtype},
                          {"batch_size", batch_size},
                          {"gradient", gradient},
                          {"probes", {probe}}});
}

double Mean(const Vector& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// sum_i (v_i - mean)^power
double CentralSum(const Vector& values, int power) {
  const double mean = Mean(values);
  double sum = 0;
  for (const double value : values) sum += std::pow(value - mean, power);
  return sum;
}

/// std(values) / sqrt(n)
double StandardError(const Vector& values) {
  const auto n = static_cast<double>(values.size());
  return std::sqrt(CentralSum(values, 2) / (n - 1) / n);
}

/// g2 = m4 / m2^2 - 3 and G2 = (n - 1) / ((n - 2) (n - 3)) ((n + 1) g2 + 6).
double Kurtosis(const Vector& values) {
  const auto n = static_cast<double>(values.size());
  const double m2 = CentralSum(values, 2) / n;
  const double g2 = CentralSum(values, 4) / n / (m2 * m2) - 3;
  return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * g2 + 6);
}

Vector Direction(uint64_t seed, int64_t r) {
  Stream stream(seed, "gradient_noise.direction", static_cast<uint64_t>(r));
  Vector direction(kMlp.size());
  for (double& value : direction) value = stream.Normal();
  const double norm = oracle::Norm(direction);
  for (double& value : direction) value /= norm;
  return direction;
}

/// K gradients, all of them kept.
struct Drawn {
  std::vector<Vector> x;

  Vector MeanOfFirst(size_t count) const {
    Vector mean(x[0].size());
    for (size_t k = 0; k < count; ++k) mean = oracle::Plus(mean, 1., x[k]);
    for (double& value : mean) value /= static_cast<double>(count);
    return mean;
  }
  double Trace() const {
    const Vector mean = MeanOfFirst(x.size());
    double sum = 0;
    for (const Vector& one : x) {
      const Vector distance = oracle::Plus(one, -1, mean);
      sum += oracle::Dot(distance, distance);
    }
    return sum / static_cast<double>(x.size() - 1);
  }
  /// d_2 ... d_K
  Vector Contrasts() const {
    Vector d;
    for (size_t k = 1; k < x.size(); ++k) {
      const Vector distance = oracle::Plus(x[k], -1, MeanOfFirst(k));
      const auto before = static_cast<double>(k);
      d.push_back(before / (before + 1) * oracle::Dot(distance, distance));
    }
    return d;
  }
  /// The mean over the directions, without draw `left_out`.
  double MeanKurtosis(const std::vector<Vector>& directions, size_t left_out) const {
    double sum = 0;
    for (const Vector& direction : directions) {
      Vector y;
      for (size_t k = 0; k < x.size(); ++k) {
        if (k != left_out) y.push_back(oracle::Dot(x[k], direction));
      }
      sum += Kurtosis(y);
    }
    return sum / static_cast<double>(directions.size());
  }
};

/// All columns by their definitions.
Named Expected(const Drawn& estimator, const Drawn& sgd, const std::vector<Vector>& directions) {
  Named values;
  for (const auto& [name, drawn] : {std::pair("estimator", &estimator), std::pair("sgd", &sgd)}) {
    const std::string prefix = std::string(name) + ".";
    const auto draws = static_cast<double>(drawn->x.size());
    values[prefix + "trace"] = drawn->Trace();
    values[prefix + "trace_error"] = StandardError(drawn->Contrasts());
    values[prefix + "kurtosis"] = drawn->MeanKurtosis(directions, drawn->x.size());
    Vector without_one;
    for (size_t k = 0; k < drawn->x.size(); ++k) {
      without_one.push_back(drawn->MeanKurtosis(directions, k));
    }
    values[prefix + "kurtosis_error"] = std::sqrt((draws - 1) / draws * CentralSum(without_one, 2));
  }
  values["ratio"] = estimator.Trace() / sgd.Trace();
  Vector differences = estimator.Contrasts();
  const Vector others = sgd.Contrasts();
  for (size_t i = 0; i < differences.size(); ++i) differences[i] -= values["ratio"] * others[i];
  values["ratio_error"] = StandardError(differences) / sgd.Trace();
  return values;
}

/// The batches as the probe draws them, the gradients from single examples.
TEST(GradientNoise, EveryValueAgreesWithItsDefinition) {
  constexpr int64_t kDraws = 7;
  constexpr int64_t kProjections = 3;
  for (const char* dtype : {"float64", "float32"}) {
    for (const Json& gradient : {NoiseEnhanced(2.5), Json{{"name", "mean"}}}) {
      ShortRun run(Config(5, gradient, 7, kDraws, kProjections, dtype));
      std::vector<Vector> directions;
      for (int64_t r = 0; r < kProjections; ++r) directions.push_back(Direction(5, r));
      for (int64_t step = 0; step < 8; ++step) {
        const Vector theta = ToVector(run.stepper().theta());
        const Named values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
        Drawn estimator, sgd;
        Stream stream(5, "gradient_noise", static_cast<uint64_t>(step));
        for (int64_t k = 0; k < kDraws; ++k) {
          const int64_t n = run.experiment().sampler().At(step).numel();  // 3 at the epoch's end
          const at::Tensor first = DrawDistinct(stream, n, kExamples);
          const auto draw = -1 - static_cast<int64_t>(stream.Bits64() >> 1);
          const Oracle& train = run.experiment().train();
          const Extras extras =
              run.config()
                  .gradient
                  ->EvaluateAndEstimate(draw, train.Load(first), run.stepper().theta(), train)
                  .extras;
          sgd.x.push_back(oracle::MeanGradient(kMlp, theta, ExamplesOf(run, first)));
          estimator.x.push_back(sgd.x.back());
          if (gradient["name"] == "mean") continue;
          const at::Tensor second = extras.at("batch.second")();
          const Vector other = oracle::MeanGradient(kMlp, theta, ExamplesOf(run, second));
          const Vector difference = oracle::Plus(sgd.x.back(), -1, other);
          estimator.x.back() = oracle::Plus(other, 2.5, difference);
        }
        const Named expected = Expected(estimator, sgd, directions);
        ASSERT_EQ(values.size(), expected.size());
        // A gradient is off by 8 (n + widths) eps = 240 eps of itself (oracle_test.cpp), weighted
        // 2.5 and 1.5 at most 960; a value has powers up to the fourth of its differences, which
        // are no smaller than a tenth of it.
        const double relative = 4 * 10 * 960 * Epsilon(run.stepper().theta().scalar_type());
        for (const auto& [name, value] : expected) {
          const bool same = name.starts_with("ratio") && gradient["name"] == "mean";
          EXPECT_NEAR(values.at(name), value, same ? 0 : relative * std::max(1., std::abs(value)))
              << name << " at step " << step << ", " << dtype;
        }
      }
    }
  }
}

/// Values over 20 seeds, each with its standard error, against what they estimate.
struct Deviations {
  Vector z;  // in standard errors
  double widest = 0;

  void Add(double value, double error, double truth) {
    z.push_back((value - truth) / error);
    widest = std::max(widest, error);
  }
  /// Each within 3 standard errors, of which the widest is as given, and so is their mean. The sum
  /// of their squares lies between the 0.1 % and the 99.9 % point of chi-square with 20 degrees of
  /// freedom: the errors are neither too small nor too large.
  void ExpectUnbiased(double widest_allowed, const std::string& what) const {
    ASSERT_EQ(z.size(), 20u);
    for (const double one : z) EXPECT_LE(std::abs(one), 3) << what;
    EXPECT_LE(std::abs(Mean(z)) * std::sqrt(20.), 3) << what;
    const double squares = oracle::Dot(z, z);
    EXPECT_GT(squares, 5.92) << what;
    EXPECT_LT(squares, 45.31) << what;
    EXPECT_LE(widest, widest_allowed) << what;
  }
};

/// Gradients of all examples at the run's theta, and what follows from them.
struct Population {
  explicit Population(ShortRun& run) {
    const Vector theta = ToVector(run.stepper().theta());
    Vector mean(kMlp.size());
    for (const auto& example : ExamplesOf(run, at::arange(kExamples, at::kLong))) {
      gradients.push_back(oracle::Gradient(kMlp, theta, example));
      mean = oracle::Plus(mean, 1. / kExamples, gradients.back());
    }
    for (const Vector& gradient : gradients) {
      const Vector distance = oracle::Plus(gradient, -1, mean);
      trace += oracle::Dot(distance, distance) / kExamples;
    }
  }
  /// m4 / m2^2 - 3 along a direction.
  double Kurtosis(const Vector& direction) const {
    Vector y;
    for (const Vector& gradient : gradients) y.push_back(oracle::Dot(gradient, direction));
    return CentralSum(y, 4) * kExamples / std::pow(CentralSum(y, 2), 2) - 3;
  }

  std::vector<Vector> gradients;
  double trace = 0;  // of their covariance, with 1/N
};

/// Equation 4, with its factor (N - B) / (N - 1), and equation 10: each value over what it is known
/// to be, with errors of at most `widest`.
void ExpectTraces(double alpha, int64_t draws, double widest) {
  constexpr int64_t kBatch = 9;
  const double factor = alpha * alpha + (1 - alpha) * (1 - alpha);
  Deviations sgd, estimator, ratio;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    ShortRun run(Config(seed, NoiseEnhanced(alpha), kBatch, draws, 0));
    const double trace =
        Population(run).trace / kBatch * (kExamples - kBatch) / static_cast<double>(kExamples - 1);
    const Named values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
    const auto add = [&](Deviations& to, const std::string& name, double truth) {
      to.Add(values.at(name) / truth, values.at(name + "_error") / truth, 1);
    };
    add(sgd, "sgd.trace", trace);
    add(estimator, "estimator.trace", factor * trace);
    add(ratio, "ratio", factor);
  }
  sgd.ExpectUnbiased(widest, "sgd.trace");
  estimator.ExpectUnbiased(widest, "estimator.trace");
  ratio.ExpectUnbiased(widest, "ratio");
}

TEST(GradientNoise, TracesAreThoseOfEquationsFourAndTen) { ExpectTraces(2.5, 300, 0.05); }

TEST(GradientNoiseSlow, TracesAreThoseOfEquationsFourAndTen) {
  for (const double alpha : {1.5, 2.5}) ExpectTraces(alpha, 2000, 0.02);
}

/// With the full gradient the noise is alpha times that of SGD, draw by draw.
TEST(GradientNoise, OfEquationFiveIsExact) {
  ShortRun run(Config(1, NoiseEnhanced(3, "full"), 9, 20, 4));
  for (int64_t step = 0; step < 3; ++step) {
    const Named values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    EXPECT_NEAR(values.at("ratio"), 9, 1e-11);
    EXPECT_LE(values.at("ratio_error"), 1e-11);
    EXPECT_NEAR(values.at("estimator.kurtosis"), values.at("sgd.kurtosis"), 1e-10);
    EXPECT_NEAR(values.at("estimator.kurtosis_error"), values.at("sgd.kurtosis_error"), 1e-10);
  }
}

/// Batches of one example: the noise has the kurtosis of the gradients of all examples, and
/// alpha X + (1 - alpha) X' that times (alpha^4 + (1 - alpha)^4) / (alpha^2 + (1 - alpha)^2)^2.
TEST(GradientNoise, KurtosisIsThatOfTheExamples) {
  constexpr double kAlpha = 1.5;
  const double factor = (std::pow(kAlpha, 4) + std::pow(1 - kAlpha, 4)) /
                        std::pow(std::pow(kAlpha, 2) + std::pow(1 - kAlpha, 2), 2);
  Deviations sgd, estimator;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    ShortRun run(Config(seed, NoiseEnhanced(kAlpha), 1, 200, 4));
    const Population population(run);
    double truth = 0;
    for (int64_t r = 0; r < 4; ++r) truth += population.Kurtosis(Direction(seed, r)) / 4;
    const Named values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
    sgd.Add(values.at("sgd.kurtosis"), values.at("sgd.kurtosis_error"), truth);
    estimator.Add(values.at("estimator.kurtosis"), values.at("estimator.kurtosis_error"),
                  factor * truth);
  }
  sgd.ExpectUnbiased(0.5, "sgd.kurtosis");
  estimator.ExpectUnbiased(0.5, "estimator.kurtosis");
}

/// The size of the drawn batches is the probe's where it has one: at the same weights, the values
/// are those of a run in such batches.
TEST(GradientNoise, DrawsBatchesOfItsOwnSize) {
  const Json mean = {{"name", "mean"}};
  Json config = Config(3, mean, 9, 20, 4);
  config["probes"][0]["batch_size"] = 2;
  ShortRun with(config);
  ShortRun small(Config(3, mean, 2, 20, 4));
  ShortRun large(Config(3, mean, 9, 20, 4));
  const Named values = ByName(with.probe(0), with.stepper().Step(0).probes[0]);
  EXPECT_EQ(values, ByName(small.probe(0), small.stepper().Step(0).probes[0]));
  EXPECT_NE(values, ByName(large.probe(0), large.stepper().Step(0).probes[0]));
}

/// With a single class every loss and its gradient are 0.
TEST(GradientNoise, WithoutNoiseHasNoRatioAndNoKurtosis) {
  Json config = Config(1, {{"name", "mean"}}, 7, 5, 2);
  config["data"]["classes"] = 1;
  ShortRun run(config);
  for (const auto& [name, value] : ByName(run.probe(0), run.stepper().Step(0).probes[0])) {
    if (name.find("trace") == std::string::npos) {
      EXPECT_TRUE(IsNotMeasured(value)) << name;
    } else {
      EXPECT_EQ(value, 0) << name;
    }
  }
}

TEST(GradientNoise, RefusesWhatMakesNoSense) {
  const auto refused = [](const Json& changes, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] {
      Json config = Config(1, {{"name", "mean"}}, 7, 20, 8);
      for (const auto& [key, value] : changes.items()) config[key] = value;
      const auto read = ReadRunConfig(config);
      const Experiment experiment(*read);  // before any data is read
    });
  };
  const auto with = [](const std::string& field, int64_t value) -> Json {
    return {{"probes", {{{"name", "gradient_noise"}, {field, value}}}}};
  };
  refused(with("draws", 4), {"probes[0].draws", "4", "5"});
  refused(with("projections", -1), {"probes[0].projections", "-1"});
  refused({{"batch_size", 45}}, {"probes[0]", "45 distinct", "batch_size"});
  refused(with("batch_size", 45), {"probes[0]", "45 distinct", "batch_size"});
}

/// What the estimator can't do on batches of the probe's own size is refused as it is on the run's.
TEST(GradientNoise, RefusesBatchesThatTheEstimatorCannotTake) {
  const auto build = [](int64_t batch_size, const Json& changes) {
    Json config = Config(1, {{"name", "mean"}}, 12, 20, 0);
    config["sampler"]["drop_last"] = true;
    config["probes"][0]["batch_size"] = batch_size;
    config.update(changes);
    const auto read = ReadRunConfig(config);
    const Experiment experiment(*read);
  };
  for (const std::string name :
       {"winsorized", "trimmed_mean", "coordinate_median", "median_of_means", "sign_sum"}) {
    Json gradient = BaseFields<Estimator>(name);
    gradient["name"] = name;
    const Json changes = {{"piece_size", 12}, {"gradient", gradient}};
    ExpectError(ErrorKind::kConfig, {"probes[0]", name, "all 24 examples", "in pieces of 12"},
                [&] { build(24, changes); });
    build(12, changes);
  }
  // On images of which ResNet-18 leaves one pixel.
  Json images = SyntheticConfig()["data"];
  images["shape"] = {1, 8, 8};
  const auto expect = [&](const Json& gradient, const Json& norm, int64_t refused,
                          int64_t allowed) {
    Json model = {{"name", "resnet18"}, {"channels", 2}};
    model.update(norm);
    const Json changes = {{"data", images}, {"model", model}, {"gradient", gradient}};
    ExpectError(ErrorKind::kConfig, {"probes[0]", "1 example"}, [&] { build(refused, changes); });
    build(allowed, changes);
  };
  const Json batch_norm = {{"norm", "batch"}};
  const Json ghost_norm = {{"norm", "ghost"}, {"ghost_batch_size", 4}};
  expect({{"name", "mean"}}, batch_norm, 1, 2);
  expect({{"name", "gradient_norm_penalty"}, {"lambda", 0.5}, {"penalty_batch_size", 5}},
         batch_norm, 11, 10);
  expect({{"name", "sam"}, {"rho", 0.1}, {"micro_batch_size", 5}}, batch_norm, 11, 10);
  const auto explicit_sgd = [](int64_t updates) -> Json {
    return {{"name", "explicit_sgd"}, {"updates", updates}, {"learning_rate", 0.1}};
  };
  expect(explicit_sgd(3), ghost_norm, 16, 18);  // 5, 5 and 6 examples; 5 = 4 + 1
  expect(explicit_sgd(3), ghost_norm, 14, 12);  // 4, 5 and 5
  expect(explicit_sgd(6), batch_norm, 2, 12);   // 1 and 1
}

}  // namespace
}  // namespace sgdscope
