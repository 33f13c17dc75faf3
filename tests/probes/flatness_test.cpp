#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>

#include "core/rng.h"
#include "data/distinct.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr int64_t kExamples = 45;
const oracle::Mlp kMlp{{6, 8, 5, 4}, "relu", true, "cross_entropy"};

Json ConfigOf(const Json& probe, const Json& changes = Json::object()) {
  Json config = SyntheticConfig(changes);
  config["dtype"] = "float64";
  config["probes"] = Json::array({probe});
  config["probes"][0]["name"] = "flatness";
  config["probes"][0]["every"] = 1;
  return config;
}

/// Root mean square of the weights and the bias of each number's unit, by the layout of theta.
Vector UnitScales(const oracle::Mlp& mlp, const Vector& theta) {
  Vector scales(theta.size());
  size_t offset = 0;
  for (size_t l = 0; l < mlp.layers(); ++l) {
    const size_t in = mlp.widths[l];
    const size_t out = mlp.widths[l + 1];
    for (size_t unit = 0; unit < out; ++unit) {
      const size_t bias = offset + in * out + unit;
      double squares = theta[bias] * theta[bias];
      for (size_t i = 0; i < in; ++i) squares += std::pow(theta[offset + unit * in + i], 2);
      const double scale = std::sqrt(squares / static_cast<double>(in + 1));
      for (size_t i = 0; i < in; ++i) scales[offset + unit * in + i] = scale;
      scales[bias] = scale;
    }
    offset += out * (in + 1);
  }
  return scales;
}

/// The mean increase of the loss and its standard error over noise of these deviations.
std::pair<double, double> Noisy(const Vector& theta, const Vector& scales, int draws, int64_t step,
                                const std::vector<oracle::Example>& examples) {
  Stream stream(3, "flatness", static_cast<uint64_t>(step));
  Vector increases;
  for (int i = 0; i < draws; ++i) {
    Vector d;
    for (const double scale : scales) d.push_back(scale * stream.Normal());
    if (scales.size() % 2 == 1) stream.Normal();  // the program draws them in pairs
    increases.push_back((oracle::MeanLoss(kMlp, oracle::Plus(theta, 1, d), examples) +
                         oracle::MeanLoss(kMlp, oracle::Plus(theta, -1, d), examples)) /
                            2 -
                        oracle::MeanLoss(kMlp, theta, examples));
  }
  double mean = 0, squares = 0;
  for (const double increase : increases) mean += increase / draws;
  for (const double increase : increases) squares += std::pow(increase - mean, 2);
  return {mean, std::sqrt(squares / (draws * (draws - 1.0)))};
}

/// The largest increase met by steps to where the linearized loss is largest.
double Worst(const Vector& theta, const Vector& scales, double radius, int steps,
             const std::vector<oracle::Example>& examples) {
  Vector place = theta;
  double worst = -INFINITY;
  for (int step = 0; step < steps; ++step) {
    const Vector gradient = oracle::MeanGradient(kMlp, place, examples);
    double squares = 0;
    for (size_t i = 0; i < gradient.size(); ++i) squares += std::pow(scales[i] * gradient[i], 2);
    for (size_t i = 0; i < gradient.size(); ++i) {
      place[i] = theta[i] + radius * scales[i] * scales[i] * gradient[i] / std::sqrt(squares);
    }
    worst = std::max(worst, oracle::MeanLoss(kMlp, place, examples));
  }
  return worst - oracle::MeanLoss(kMlp, theta, examples);
}

Vector Magnitudes(const Vector& theta) {
  Vector magnitudes;
  for (const double weight : theta) magnitudes.push_back(std::abs(weight));
  return magnitudes;
}

TEST(FlatnessProbe, EveryValueAgreesWithItsDefinition) {
  const Json probe = {{"sigma", 0.1},  {"relative_sigma", 0.3}, {"draws", 4},
                      {"radius", 0.4}, {"adaptive_radius", 2},  {"piece_size", 20}};
  for (const std::string over : {"training_set", "batch"}) {
    for (const int steps : {1, 3}) {
      Json asked = probe;
      asked["ascent_steps"] = steps;
      asked["over"] = over;
      if (over == "batch") asked.erase("piece_size");
      ShortRun run(ConfigOf(asked));
      for (int64_t step = 0; step < 3; ++step) {
        const Vector theta = ToVector(run.stepper().theta());
        const auto examples = ExamplesOf(run, over == "batch" ? run.experiment().sampler().At(step)
                                                              : at::arange(kExamples, at::kLong));
        const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
        std::map<std::string, double> expected;
        expected["loss"] = oracle::MeanLoss(kMlp, theta, examples);
        std::tie(expected["increase"], expected["increase_error"]) =
            Noisy(theta, Vector(theta.size(), 0.1), 4, step, examples);
        Vector scales = UnitScales(kMlp, theta);
        for (double& scale : scales) scale *= 0.3;
        std::tie(expected["relative_increase"], expected["relative_increase_error"]) =
            Noisy(theta, scales, 4, step, examples);
        expected["sharpness"] = Worst(theta, Vector(theta.size(), 1), 0.4, steps, examples);
        expected["adaptive_sharpness"] = Worst(theta, Magnitudes(theta), 2, steps, examples);
        ASSERT_EQ(values.size(), expected.size());
        for (const auto& [name, value] : expected) {
          EXPECT_NEAR(values.at(name), value, 1e-12 * (1 + std::abs(value)))
              << over << ", step " << step << ", " << steps << " steps, " << name;
        }
      }
    }
  }
}

/// The largest <g, e> + <e, H e> / 2 over |e| <= radius, of a positive semidefinite H: at e =
/// (m - H)^-1 g with the m above all eigenvalues that makes it as long as the radius.
double LargestOfQuadratic(const at::Tensor& hessian, const at::Tensor& g, double radius) {
  const auto [values, vectors] = at::linalg_eigh(hessian);
  const at::Tensor parts = at::mv(vectors.t(), g);
  const auto move = [&](double m) { return parts.div(at::rsub(values, m)); };
  double low = values.max().item<double>();
  double high = low + g.norm().item<double>() / radius;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (move(middle).norm().item<double>() > radius ? low : high) = middle;
  }
  const at::Tensor e = move(high);
  return parts.dot(e).add(e.square().dot(values).div(2)).item<double>();
}

/// A linear model's squared error is quadratic: noise raises it by sigma^2 / 2 tr H, and the ascent
/// finds the largest value in the ball.
TEST(FlatnessProbe, OfAQuadraticLossIsKnown) {
  const Json linear = {{"model", {{"name", "mlp"}, {"hidden", Json::array()}}},
                       {"loss", "mean_squared_error"}};
  ShortRun run(ConfigOf({{"sigma", 0.3},
                         {"relative_sigma", 0},
                         {"draws", 200},
                         {"radius", 1.5},
                         {"adaptive_radius", 1.5},
                         {"ascent_steps", 300}},
                        linear));
  const at::Tensor theta = run.stepper().theta().clone();
  const Oracle& oracle = run.experiment().train();
  const Gradients evaluated = oracle.Evaluate(oracle.Load(at::arange(kExamples, at::kLong)), theta,
                                              /*keep_graph=*/true);
  std::vector<at::Tensor> rows;
  for (const at::Tensor& unit : at::eye(theta.size(0), theta.options()).unbind(0)) {
    rows.push_back(oracle.HessianVectorProduct(evaluated, unit, /*again=*/true));
  }
  const at::Tensor hessian = at::stack(rows);
  const at::Tensor g = evaluated.Mean();
  const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  const double expected = 0.3 * 0.3 / 2 * hessian.trace().item<double>();
  EXPECT_NEAR(values.at("increase"), expected, 4 * values.at("increase_error"));
  EXPECT_LT(values.at("increase_error"), 0.05 * expected);
  EXPECT_NEAR(values.at("sharpness"), LargestOfQuadratic(hessian, g, 1.5), 1e-9);
  const at::Tensor t = theta.abs();
  EXPECT_NEAR(values.at("adaptive_sharpness"),
              LargestOfQuadratic(hessian.mul(t).mul(t.unsqueeze(1)), g.mul(t), 1.5), 1e-9);
}

TEST(FlatnessProbe, MeasuresOnlyWhatIsAskedFor) {
  ShortRun run(
      ConfigOf({{"sigma", 0}, {"relative_sigma", 0}, {"radius", 0}, {"adaptive_radius", 0}}));
  EXPECT_EQ(run.probe(0).Values(), std::vector<std::string>{"loss"});
  ExpectError(ErrorKind::kConfig, {"probes[0].draws", "1"},
              [&] { ShortRun refused(ConfigOf({{"draws", 1}})); });
  ExpectError(ErrorKind::kConfig, {"probes[0].examples", "46", "45"},
              [&] { ShortRun refused(ConfigOf({{"examples", 46}})); });
}

}  // namespace
}  // namespace sgdscope
