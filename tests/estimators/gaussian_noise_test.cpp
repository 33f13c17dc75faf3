#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "data/distinct.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"

// The estimators gaussian_noise and isotropic_noise: their sums against loops over single examples,
// and their moments against what they are to be, by statistics of many draws.

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr uint64_t kSeed = 5;

/// An estimator in a run with batches of `batch_size` examples of a linear model's data, or of
/// another one's.
struct Noise {
  Noise(const std::string& name, const Json& fields, const RandomMlp& random, int64_t batch_size,
        uint64_t seed = kSeed, at::ScalarType dtype = at::kDouble)
      : it(random, dtype),
        batch(Part(it.batch, 0, batch_size)),
        gradients(it.oracle.Evaluate(batch, it.theta)),
        sampler(MakeExample<Sampler>("replacement")),
        estimator(MakeExample<Estimator>(name, fields)) {
    sampler->Prepare(seed, it.oracle.size(), batch_size, "sampler");
    estimator->Prepare({"gradient", seed, it.oracle.size(), *sampler});
  }

  at::Tensor Draw(int64_t draw) const {
    return estimator->Estimate({draw, batch, gradients, it.theta, it.oracle});
  }

  OracleUnderTest it;
  Batch batch;
  Gradients gradients;
  std::unique_ptr<Sampler> sampler;
  std::unique_ptr<Estimator> estimator;
};

/// 24 examples of a linear model whose inputs differ in size, so that Sigma is far from isotropic.
RandomMlp Linear() {
  Stream stream(71, "linear");
  RandomMlp random;
  random.mlp = {{3, 2}, "identity", true, "mean_squared_error"};
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < 24; ++i) {
    const Vector x = RandomVector(stream, 3);
    random.examples.push_back({{3 * x[0], x[1], 0.3 * x[2]}, i % 2});
  }
  return random;
}

std::vector<Vector> GradientsOf(const RandomMlp& random, const std::vector<size_t>& indices) {
  std::vector<Vector> gradients;
  for (const size_t i : indices) {
    gradients.push_back(oracle::Gradient(random.mlp, random.theta, random.examples[i]));
  }
  return gradients;
}

std::vector<size_t> First(size_t n) {
  std::vector<size_t> indices(n);
  for (size_t i = 0; i < n; ++i) indices[i] = i;
  return indices;
}

Vector MeanOf(const std::vector<Vector>& gradients) {
  Vector mean(gradients[0].size());
  for (const Vector& g : gradients) {
    mean = oracle::Plus(mean, 1 / static_cast<double>(gradients.size()), g);
  }
  return mean;
}

/// sum_i <u, g_i - mean>^2 / (n - 1); over all axes u: tr Sigma.
double VarianceAlong(const std::vector<Vector>& gradients, const Vector& u) {
  const Vector mean = MeanOf(gradients);
  double sum = 0;
  for (const Vector& g : gradients) sum += std::pow(oracle::Dot(u, oracle::Plus(g, -1, mean)), 2);
  return sum / static_cast<double>(gradients.size() - 1);
}

double Trace(const std::vector<Vector>& gradients) {
  double trace = 0;
  for (size_t i = 0; i < gradients[0].size(); ++i) {
    Vector axis(gradients[0].size());
    axis[i] = 1;
    trace += VarianceAlong(gradients, axis);
  }
  return trace;
}

/// The definitions, with the numbers of the stream.
Vector Definition(const std::string& name, const std::vector<Vector>& gradients, double variance,
                  Stream& stream) {
  const size_t m = gradients.size();
  const Vector mean = MeanOf(gradients);
  Vector g = mean;
  if (name == "isotropic_noise") {
    const double deviation =
        std::sqrt(variance * Trace(gradients) / static_cast<double>(mean.size()));
    for (double& value : g) value += deviation * stream.Normal();
    return g;
  }
  Vector z(m);
  double of_z = 0;
  for (double& value : z) {
    value = stream.Normal();
    of_z += value / static_cast<double>(m);
  }
  for (size_t i = 0; i < m; ++i) {
    g = oracle::Plus(g, std::sqrt(variance / static_cast<double>(m - 1)) * (z[i] - of_z),
                     gradients[i]);
  }
  return g;
}

TEST(GaussianNoise, IsItsDefinition) {
  const RandomMlp random = Linear();
  for (const std::string name : {"gaussian_noise", "isotropic_noise"}) {
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      const auto expect = [&](const Json& fields, double variance, size_t reference) {
        const Noise noise(name, fields, random, 6, kSeed, dtype);
        for (const int64_t draw : {int64_t{0}, int64_t{3}, int64_t{-2}}) {
          Stream stream(kSeed, "noise", static_cast<uint64_t>(draw));
          std::vector<size_t> indices = First(reference == 0 ? 6 : reference);
          if (reference > 0 && reference < 24) {
            const Vector drawn =
                ToVector(DrawDistinct(stream, static_cast<int64_t>(reference), 24));
            for (size_t i = 0; i < reference; ++i) indices[i] = static_cast<size_t>(drawn[i]);
          }
          const Vector expected = Definition(name, GradientsOf(random, indices), variance, stream);
          ExpectNear(ToVector(noise.Draw(draw)), expected,
                     200 * Epsilon(dtype) * oracle::Norm(expected), name + fields.dump());
        }
      };
      expect(Json::object(), 1. / 6, 0);
      expect({{"scale", 3}, {"noise_batch_size", 2}}, 9. / 2, 0);
      expect({{"scale", 0}}, 0, 0);
      expect({{"around", "reference"}, {"reference_size", 20}}, 1. / 6 - 1. / 20, 20);
      expect({{"around", "reference"}, {"reference_size", 24}, {"scale", 2}},
             4 * (1. / 6 - 1. / 24), 24);
    }
  }
}

/// A reference of several pieces, which are 100 examples and more.
TEST(GaussianNoise, ALargeReferenceIsTakenByPieces) {
  RandomMlp random = Linear();
  Stream inputs(72, "inputs");
  while (random.examples.size() < 230) random.examples.push_back({RandomVector(inputs, 3), 1});
  for (const std::string name : {"gaussian_noise", "isotropic_noise"}) {
    const Noise noise(name, {{"around", "reference"}, {"reference_size", 230}}, random, 6);
    Stream stream(kSeed, "noise", 4);
    const Vector expected =
        Definition(name, GradientsOf(random, First(230)), 1. / 6 - 1. / 230, stream);
    ExpectNear(ToVector(noise.Draw(4)), expected, 1e-13 * oracle::Norm(expected), name);
  }
}

/// Where all examples have the same gradient there is no noise, though rounding may leave a trace of
/// the covariance that is not 0, and be it negative.
TEST(GaussianNoise, OfEqualGradientsIsTheirMean) {
  for (uint64_t index = 0; index < 30; ++index) {
    RandomMlp random = Linear();
    Stream stream(73, "theta", index);
    random.theta = RandomVector(stream, random.theta.size());
    const oracle::Example example = random.examples[0];
    random.examples.assign(3, example);
    const Vector mean = GradientsOf(random, {0})[0];
    for (const std::string name : {"gaussian_noise", "isotropic_noise"}) {
      const Noise noise(name, Json::object(), random, 3);
      // The noise is of the size of the root of the trace, some eps of the squared gradient.
      ExpectNear(ToVector(noise.Draw(0)), mean, 1e-6 * oracle::Norm(mean), name);
    }
  }
}

/// Mean, variance and excess kurtosis of <u, g>, each as its distance from what it is to be in
/// standard errors of Gaussian numbers: 1 / sqrt(K), sqrt(2 / (K - 1)) and sqrt(24 / K).
Vector Distances(const Noise& noise, const Vector& u, double mean, double variance, int64_t draws) {
  const auto k = static_cast<double>(draws);
  Vector powers(5);
  for (int64_t draw = 0; draw < draws; ++draw) {
    const double x = oracle::Dot(u, ToVector(noise.Draw(draw))) - mean;
    for (size_t power = 1; power < 5; ++power) {
      powers[power] += std::pow(x, static_cast<double>(power)) / k;
    }
  }
  const double spread = powers[2] - powers[1] * powers[1];
  const double fourth = powers[4] - 4 * powers[1] * powers[3] +
                        6 * powers[1] * powers[1] * powers[2] - 3 * std::pow(powers[1], 4);
  return {powers[1] / std::sqrt(variance / k),
          (spread * k / (k - 1) / variance - 1) / std::sqrt(2 / (k - 1)),
          (fourth / (spread * spread) - 3) / std::sqrt(24 / k)};
}

/// Over 20 seeds the mean distance is within 3 of its standard errors, 3 / sqrt(20).
TEST(GaussianNoise, HasTheMomentsOfItsExamples) {
  const RandomMlp random = Linear();
  const std::vector<Vector> gradients = GradientsOf(random, First(6));
  for (const std::string name : {"gaussian_noise", "isotropic_noise"}) {
    Vector sums(3);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      Stream stream(seed, "direction");
      Vector u = RandomVector(stream, random.theta.size());
      u = oracle::Plus(Vector(u.size()), 1 / oracle::Norm(u), u);
      const double variance = name == "gaussian_noise"
                                  ? VarianceAlong(gradients, u)
                                  : Trace(gradients) / static_cast<double>(u.size());
      const Noise noise(name, Json::object(), random, 6, seed);
      const Vector distances =
          Distances(noise, u, oracle::Dot(u, MeanOf(gradients)), variance / 6, 400);
      sums = oracle::Plus(sums, 1. / 20, distances);
    }
    for (const double mean : sums) EXPECT_LE(std::abs(mean), 3 / std::sqrt(20.)) << name;
  }
}

struct Measured {
  double ratio, ratio_error, kurtosis, kurtosis_error;
};

/// What the probe gradient_noise finds, the mean over 20 seeds and its standard error; linear model,
/// 45 examples in batches of 5.
Measured OverSeeds(const Json& gradient) {
  Measured sum{};
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Json config = SyntheticConfig(
        {{"seed", seed}, {"batch_size", 5}, {"dtype", "float64"}, {"gradient", gradient}});
    config["model"] = {{"name", "mlp"}, {"hidden", Json::array()}};
    config["loss"] = "mean_squared_error";
    config["probes"] = {{{"name", "gradient_noise"}, {"every", 1}, {"draws", 60}}};
    ShortRun run(config);
    const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
    sum.ratio += values.at("ratio") / 20;
    sum.ratio_error += std::pow(values.at("ratio_error") / 20, 2);
    sum.kurtosis += values.at("estimator.kurtosis") / 20;
    sum.kurtosis_error += std::pow(values.at("estimator.kurtosis_error") / 20, 2);
  }
  sum.ratio_error = std::sqrt(sum.ratio_error);
  sum.kurtosis_error = std::sqrt(sum.kurtosis_error);
  return sum;
}

/// Around a reference the covariance is s^2 times plain SGD's, and around the batch that of the
/// batch's mean and of the noise together; where the reference is the whole set, g is Gaussian.
TEST(GaussianNoise, HasTheCovarianceOfPlainSgd) {
  for (const std::string name : {"gaussian_noise", "isotropic_noise"}) {
    const auto expect = [&](Json fields, double ratio, bool gaussian) {
      fields["name"] = name;
      const Measured found = OverSeeds(fields);
      EXPECT_NEAR(found.ratio, ratio, 3 * found.ratio_error) << fields;
      EXPECT_LT(found.ratio_error, 0.06 * ratio) << fields;
      if (!gaussian) return;
      EXPECT_NEAR(found.kurtosis, 0, 3 * found.kurtosis_error) << fields;
      EXPECT_LT(found.kurtosis_error, 0.1) << fields;
    };
    expect({{"around", "reference"}, {"reference_size", 45}}, 1, true);
    expect({{"around", "reference"}, {"reference_size", 15}, {"scale", 2}}, 4, false);
    expect(Json::object(), (1. / 5 - 1. / 45 + 1. / 5) / (1. / 5 - 1. / 45), false);
  }
}

TEST(GaussianNoise, SaysHowNoisyItIs) {
  const RandomMlp random = Linear();  // of 24 examples
  const auto expect = [&](const Json& fields, const std::string& batch) {
    const std::string text = Noise("gaussian_noise", fields, random, 12).estimator->Describe(12);
    EXPECT_NE(text.find("batches of " + batch + " examples"), std::string::npos) << text;
  };
  expect(Json::object(), "6");
  expect({{"noise_batch_size", 4}}, "3");
  // s^2 (1/B - 1/24) = 1/b - 1/24
  const auto reference = [](double scale) -> Json {
    return {{"around", "reference"}, {"reference_size", 24}, {"scale", scale}};
  };
  expect(reference(1), "12");
  expect(reference(2), "4.8");
  expect(reference(0), "24");
}

TEST(GaussianNoise, RefusesWhatMakesNoSense) {
  const auto refused = [](Json gradient, const Json& changes,
                          const std::vector<std::string>& parts) {
    gradient["name"] = "gaussian_noise";
    Json config = SyntheticConfig(changes);
    config["gradient"] = gradient;
    ExpectError(ErrorKind::kConfig, parts, [&] { ShortRun run(config); });
  };
  refused({{"around", "reference"}}, Json::object(), {"gradient.reference_size", "missing"});
  refused({{"reference_size", 10}}, Json::object(), {"gradient.reference_size", "around is batch"});
  refused({{"around", "reference"}, {"reference_size", 46}}, Json::object(),
          {"gradient.reference_size", "46", "45"});
  refused({{"around", "reference"}, {"reference_size", 6}}, Json::object(),
          {"gradient.reference_size", "noisier", "at least 7"});
  refused({{"around", "reference"}, {"reference_size", 24}, {"scale", 0.4}}, Json::object(),
          {"gradient.reference_size", "noisier", "at least 25"});
  refused({{"around", "reference"}, {"reference_size", 40}, {"scale", 0}}, Json::object(),
          {"gradient.reference_size", "noisier", "at least 45"});
  refused({{"around", "reference"}, {"reference_size", 45}, {"noise_batch_size", 46}},
          Json::object(), {"gradient.noise_batch_size", "found 46", "45 training examples"});
  refused({{"around", "reference"}, {"reference_size", 45}},
          {{"batch_size", 46}, {"sampler", {{"name", "replacement"}}}},
          {"gradient.noise_batch_size", "batch_size of 46", "45 training examples"});
  ShortRun(SyntheticConfig({{"gradient",
                             {{"name", "gaussian_noise"},
                              {"around", "reference"},
                              {"reference_size", 25},
                              {"scale", 0.4}}}}));
  refused(Json::object(), {{"batch_size", 1}}, {"gradient", "single one"});
}

}  // namespace
}  // namespace sgdscope
