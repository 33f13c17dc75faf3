#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"

// The estimator clipped against a loop over single examples.

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr uint64_t kSeed = 5;

at::Tensor Estimate(const OracleUnderTest& it, const Json& fields, int64_t draw = 0) {
  const auto sampler = MakeExample<Sampler>("full");
  sampler->Prepare(kSeed, it.oracle.size(), 0, "sampler");
  const auto clipped = MakeExample<Estimator>("clipped", fields);
  clipped->Prepare({"gradient", kSeed, it.oracle.size(), *sampler});
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  return clipped->Estimate({draw, it.batch, gradients, it.theta, it.oracle});
}

/// (1/n) sum_i factor(|g_i|) g_i.
template <class Factor>
Vector Loop(const RandomMlp& random, const Factor& factor) {
  Vector sum(random.theta.size());
  for (const oracle::Example& example : random.examples) {
    const Vector g = oracle::Gradient(random.mlp, random.theta, example);
    sum =
        oracle::Plus(sum, factor(oracle::Norm(g)) / static_cast<double>(random.examples.size()), g);
  }
  return sum;
}

/// The middle one of the |g_i|, so that some are longer and some are not.
double MiddleNorm(const RandomMlp& random) {
  Vector norms;
  for (const oracle::Example& example : random.examples) {
    norms.push_back(oracle::Norm(oracle::Gradient(random.mlp, random.theta, example)));
  }
  std::ranges::sort(norms);
  return norms[norms.size() / 2];
}

TEST(Clipped, IsALoopOverSingleExamples) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    const double norm = MiddleNorm(random) * 0.9;
    const auto expect = [&](const Json& fields, const auto& factor) {
      const Vector expected = Loop(random, factor);
      ExpectNear(ToVector(Estimate(it, fields)), expected, 1e-12 * oracle::Norm(expected),
                 random.Text() + fields.dump());
    };
    expect({{"norm", norm}}, [&](double length) { return std::min(1., norm / length); });
    expect({{"norm", norm}, {"method", "automatic"}},
           [&](double length) { return norm / (length + 0.01); });
    expect({{"norm", norm}, {"method", "automatic"}, {"gamma", 0}},
           [&](double length) { return length > 0 ? norm / length : 0; });
  }
}

TEST(Clipped, NothingIsClippedToALargeNorm) {
  const OracleUnderTest it(MakeRandomMlp(28), at::kDouble);
  const Vector mean = ToVector(it.oracle.Evaluate(it.batch, it.theta).Mean());
  ExpectNear(ToVector(Estimate(it, {{"norm", 1e6}})), mean, 1e-14 * oracle::Norm(mean), "mean");
}

/// Examples without any gradient add nothing, by either method.
TEST(Clipped, GradientsOfLengthZeroStayZero) {
  RandomMlp random;
  random.mlp = {{1, 2}, "identity", false, "mean_squared_error"};
  random.theta = {0.5, -0.5};
  random.examples = {{{0}, 0}, {{0}, 1}};
  const OracleUnderTest it(random, at::kDouble);
  for (const Json& fields : {Json{{"norm", 2}}, Json{{"norm", 2}, {"method", "automatic"}},
                             Json{{"norm", 2}, {"method", "automatic"}, {"gamma", 0}}}) {
    EXPECT_EQ(ToVector(Estimate(it, fields)), (Vector{0, 0})) << fields;
  }
}

/// noise_multiplier R z / n with the z of a stream of its own for each draw.
TEST(Clipped, TheNoiseIsThatOfItsStream) {
  const RandomMlp random = MakeRandomMlp(28);
  const auto n = static_cast<double>(random.examples.size());
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const OracleUnderTest it(random, dtype);
    for (const int64_t draw : {int64_t{0}, int64_t{7}, int64_t{-3}}) {
      const at::Tensor without = Estimate(it, {{"norm", 0.5}});
      const at::Tensor with = Estimate(it, {{"norm", 0.5}, {"noise_multiplier", 3}}, draw);
      Stream stream(kSeed, "clipped.noise", static_cast<uint64_t>(draw));
      Vector expected(random.theta.size());
      for (double& value : expected) value = 3 * 0.5 / n * stream.Normal();
      ExpectNear(ToVector(with.sub(without)), expected, 4 * Epsilon(dtype) * oracle::Norm(expected),
                 "draw " + std::to_string(draw));
    }
  }
}

TEST(Clipped, RefusesWhatMakesNoSense) {
  const auto refused = [](const Json& gradient, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts,
                [&] { ShortRun run(SyntheticConfig({{"gradient", gradient}})); });
  };
  refused({{"name", "clipped"}}, {"gradient.norm", "missing"});
  refused({{"name", "clipped"}, {"norm", 0}}, {"gradient.norm", "0"});
  refused({{"name", "clipped"}, {"norm", 1}, {"method", "median"}}, {"gradient.method", "norm"});
  refused({{"name", "clipped"}, {"norm", 1}, {"noise_multiplier", -1}},
          {"gradient.noise_multiplier", "-1"});
}

}  // namespace
}  // namespace sgdscope
