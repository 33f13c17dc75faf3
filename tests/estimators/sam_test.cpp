#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"

// The estimators sam and asam in closed form where the loss is quadratic, and to first order in rho
// where it is not.

namespace sgdscope {
namespace {

using oracle::Vector;

at::Tensor Estimate(const std::string& name, const Json& fields, const Oracle& oracle,
                    const Batch& batch, const at::Tensor& theta) {
  const auto estimator = MakeExample<Estimator>(name, fields);
  const Gradients gradients = oracle.Evaluate(batch, theta, estimator->NeedsGraph());
  return estimator->Estimate({0, batch, gradients, theta, oracle});
}

at::Tensor Estimate(const std::string& name, const Json& fields, const OracleUnderTest& it) {
  return Estimate(name, fields, it.oracle, it.batch, it.theta);
}

/// A linear model with the squared error: C(theta + e) = C + <g, e> + <e, H e> / 2.
RandomMlp Quadratic() {
  Stream stream(61, "quadratic");
  RandomMlp random;
  random.mlp = {{3, 4}, "identity", true, "mean_squared_error"};
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < 7; ++i) random.examples.push_back({RandomVector(stream, 3), i % 4});
  return random;
}

/// g + H e of the mean over each micro-batch, with its own e = rho T^2 g / |T g| or rho T^2 g.
Vector OnQuadratic(const RandomMlp& random, double rho, bool normalize, size_t micro_batch,
                   const std::function<double(double)>& scale) {
  const size_t n = random.examples.size();
  Vector sum(random.theta.size());
  for (size_t begin = 0; begin < n; begin += micro_batch) {
    const size_t end = std::min(begin + micro_batch, n);
    const std::vector<oracle::Example> part(random.examples.begin() + static_cast<long>(begin),
                                            random.examples.begin() + static_cast<long>(end));
    const Vector g = oracle::MeanGradient(random.mlp, random.theta, part);
    Vector scaled = g;
    Vector move(g.size());
    for (size_t i = 0; i < g.size(); ++i) {
      const double t = scale(random.theta[i]);
      scaled[i] *= t;
      move[i] = rho * t * t * g[i];
    }
    const double length = normalize ? oracle::Norm(scaled) : 1;
    const Vector moved = oracle::Plus(
        g, 1 / length, oracle::MeanHessianVector(random.mlp, random.theta, part, move));
    sum = oracle::Plus(sum, static_cast<double>(end - begin) / static_cast<double>(n), moved);
  }
  return sum;
}

TEST(Sam, IsTheClosedFormWhereTheLossIsQuadratic) {
  const RandomMlp random = Quadratic();
  const OracleUnderTest it(random, at::kDouble);
  const Vector plain = oracle::MeanGradient(random.mlp, random.theta, random.examples);
  const auto one = [](double) { return 1.; };
  const auto size = [](double theta) { return std::abs(theta) + 0.25; };
  for (const bool normalize : {true, false}) {
    for (const size_t micro_batch : {7, 3, 1}) {
      for (const std::string name : {"sam", "asam"}) {
        Json fields = {{"rho", 0.3}, {"normalize", normalize}, {"micro_batch_size", micro_batch}};
        if (name == "asam") fields["eta"] = 0.25;
        const Vector expected = name == "sam"
                                    ? OnQuadratic(random, 0.3, normalize, micro_batch, one)
                                    : OnQuadratic(random, 0.3, normalize, micro_batch, size);
        const std::string text = name + fields.dump();
        // Sums of at most 3 + 4 + 7 terms, of which a few follow one another.
        ExpectNear(ToVector(Estimate(name, fields, it)), expected, 1e-14 * oracle::Norm(expected),
                   text);
        EXPECT_GT(oracle::Norm(oracle::Plus(expected, -1, plain)), 1e-2) << text;
      }
    }
  }
}

TEST(Sam, WithoutDistanceIsTheMeanBitForBit) {
  const OracleUnderTest it(MakeRandomMlp(28), at::kFloat);
  const at::Tensor mean = it.oracle.Evaluate(it.batch, it.theta).Mean();
  for (const char* name : {"sam", "asam"}) {
    EXPECT_TRUE(SameBits(Estimate(name, {{"rho", 0}, {"micro_batch_size", 1}}, it), mean)) << name;
  }
}

/// Not normalized, it is the gradient of C + (rho / 2) |grad C|^2 but for an error of second order:
/// half the rho leaves a quarter of it.
TEST(Sam, IsThePenaltyToFirstOrder) {
  RandomMlp random = Quadratic();
  random.mlp.widths = {3, 5, 4};
  random.mlp.activation = "tanh";
  random.mlp.loss = "cross_entropy";
  Stream stream(62, "theta");
  random.theta = RandomVector(stream, random.mlp.size());
  const OracleUnderTest it(random, at::kDouble);
  const auto error = [&](double rho, const Json& micro, const Json& penalty) {
    Json sam = {{"rho", rho}, {"normalize", false}};
    sam.update(micro);
    Json exact = {{"lambda", 2 * rho}};
    exact.update(penalty);
    const at::Tensor g = Estimate("gradient_norm_penalty", exact, it);
    return Estimate("sam", sam, it).sub(g).norm().item<double>();
  };
  for (const auto& [micro, penalty] :
       {std::pair{Json::object(), Json::object()},
        std::pair{Json{{"micro_batch_size", 2}}, Json{{"penalty_batch_size", 2}}}}) {
    for (const double rho : {0.01, 0.005}) {
      EXPECT_NEAR(error(rho, micro, penalty) / error(rho / 2, micro, penalty), 4, 0.1) << rho;
    }
  }
}

/// At a stationary point there is no direction to go.
TEST(Sam, AGradientOfZeroMovesNothing) {
  RandomMlp random;
  random.mlp = {{1, 2}, "identity", false, "mean_squared_error"};
  random.theta = {0.5, -0.5};
  random.examples = {{{0}, 0}, {{0}, 1}};
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const OracleUnderTest it(random, dtype);
    for (const char* name : {"sam", "asam"}) {
      EXPECT_EQ(ToVector(Estimate(name, {{"rho", 0.1}}, it)), (Vector{0, 0})) << name;
    }
  }
}

/// Under batch normalization each micro-batch is normalized by itself, at theta and uphill of it.
TEST(Sam, UnderBatchNormalizationIsMadeOfMicroBatches) {
  Json json = SyntheticConfig({{"dtype", "float64"}, {"batch_size", 14}});
  json["data"]["shape"] = {2, 17, 16};
  json["model"] = {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}};
  ShortRun run(json);
  const Oracle& oracle = run.experiment().train();
  const at::Tensor theta = run.stepper().theta();
  const Batch batch = oracle.Load(at::arange(14, at::kLong));
  at::Tensor expected = at::zeros_like(theta);
  for (int64_t begin = 0; begin < 14; begin += 6) {
    const Batch part = Part(batch, begin, std::min<int64_t>(6, 14 - begin));
    const at::Tensor own = oracle.Evaluate(part, theta).Mean();
    const at::Tensor moved = theta.add(own.div(own.norm()), 0.05);
    expected.add_(oracle.Evaluate(part, moved).Mean(), static_cast<double>(part.size()) / 14);
  }
  const at::Tensor g =
      Estimate("sam", {{"rho", 0.05}, {"micro_batch_size", 6}}, oracle, batch, theta);
  // The weights moved to are rounded differently, which curvature turns into this.
  EXPECT_LE(g.sub(expected).norm().item<double>(), 1e-11 * expected.norm().item<double>());
  EXPECT_GT(g.sub(oracle.Evaluate(batch, theta).Mean()).norm().item<double>(), 1e-2);
}

TEST(Sam, RefusesWhatMakesNoSense) {
  const auto refused = [](const Json& fields, const std::vector<std::string>& parts) {
    for (const char* name : {"sam", "asam"}) {
      Json gradient = {{"name", name}};
      gradient.update(fields);
      ExpectError(ErrorKind::kConfig, parts,
                  [&] { ShortRun run(SyntheticConfig({{"gradient", gradient}})); });
    }
  };
  refused(Json::object(), {"gradient.rho", "missing"});
  refused({{"rho", -1}}, {"gradient.rho", "-1"});
  refused({{"rho", 1}, {"micro_batch_size", 8}}, {"gradient.micro_batch_size", "8", "7 examples"});
}

}  // namespace
}  // namespace sgdscope
