#include "estimators/estimator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "config/registry.h"
#include "core/error.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

/// In a run with batches of several examples: on such a batch, and on one example, as a probe may
/// bring it.
TEST(EstimatorContract, ReturnsAGradientAndModifiesNothing) {
  for (const LeafCase& leaf : AllLeaves<Estimator>()) {
    const std::string name = leaf.Text();
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      const OracleUnderTest it(MakeRandomMlp(28), dtype);
      const int64_t examples = it.oracle.size();
      ASSERT_GT(examples, 2);
      const int64_t several = (examples - 1) / 2 * 2;  // even: some cut the batch into halves
      const auto sampler = MakeExample<Sampler>("replacement");
      sampler->Prepare(1, examples, several, "sampler");
      for (const int64_t n : {int64_t{1}, several}) {
        const auto make = [&] {
          auto estimator = MakeExample<Estimator>(leaf.name, leaf.fields);
          estimator->Prepare({"gradient", 1, examples, *sampler});
          return estimator;
        };
        const auto estimator = make();
        const bool graph = estimator->NeedsGraph();
        const Batch batch = Part(it.batch, 0, n);
        const Gradients gradients = it.oracle.Evaluate(batch, it.theta, graph);
        const at::Tensor losses_before = gradients.losses.clone();
        const at::Tensor mean_before = gradients.Mean().clone();
        const at::Tensor inputs_before = batch.inputs.clone();
        const at::Tensor g = estimator->Estimate({0, batch, gradients, it.theta, it.oracle});
        EXPECT_TRUE(g.sizes() == it.theta.sizes() && g.scalar_type() == dtype) << name;
        EXPECT_FALSE(g.requires_grad()) << name;
        EXPECT_TRUE(g.isfinite().all().item<bool>()) << name;
        const Gradients again = it.oracle.Evaluate(batch, it.theta, graph);
        EXPECT_TRUE(SameBits(again.Mean(), mean_before)) << name;
        EXPECT_TRUE(SameBits(g, make()->Estimate({0, batch, again, it.theta, it.oracle})))
            << name << " gives something else in a second instance";
        EXPECT_TRUE(SameBits(gradients.Mean(), mean_before)) << name;
        EXPECT_TRUE(SameBits(gradients.losses, losses_before)) << name;
        EXPECT_TRUE(SameBits(batch.inputs, inputs_before)) << name;
      }
    }
  }
}

TEST(MeanEstimator, IsTheBatchGradient) {
  const OracleUnderTest it(MakeRandomMlp(28), at::kFloat);
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  const auto mean = Registry<Estimator>::entries().at("mean").make();
  EXPECT_TRUE(
      SameBits(mean->Estimate({0, it.batch, gradients, it.theta, it.oracle}), gradients.Mean()));
}

/// A run that diverges must end: what is not finite in one example shows in g.
TEST(Estimators, PassOnWhatIsNotFinite) {
  const OracleUnderTest it(MakeRandomMlp(28), at::kFloat);
  const auto sampler = MakeExample<Sampler>("replacement");
  sampler->Prepare(1, it.oracle.size(), 2, "sampler");
  const Batch batch = Part(it.batch, 0, 2);
  batch.inputs[1].fill_(std::numeric_limits<float>::quiet_NaN());
  for (const auto& [name, entry] : Registry<Estimator>::entries()) {
    const auto estimator = MakeExample<Estimator>(name, BaseFields<Estimator>(name));
    estimator->Prepare({"gradient", 1, it.oracle.size(), *sampler});
    const Gradients gradients = it.oracle.Evaluate(batch, it.theta, estimator->NeedsGraph());
    const at::Tensor g = estimator->Estimate({0, batch, gradients, it.theta, it.oracle});
    EXPECT_TRUE(g.isnan().any().item<bool>()) << name;
  }
}

/// g of a config's first step, with another estimator.
at::Tensor FirstGradient(const Json& gradient, const Json& changes = Json::object()) {
  Json json = SyntheticConfig({{"batch_size", 45}, {"dtype", "float64"}});
  for (const auto& [key, value] : changes.items()) json[key] = value;
  json["gradient"] = gradient;
  ShortRun run(json);
  const at::Tensor before = run.stepper().theta().clone();
  run.stepper().Step(0);
  return before.sub(run.stepper().theta()).div(0.1);
}

TEST(GradientNormPenalty, WithoutStrengthIsTheMeanAndRefusesWhatMakesNoSense) {
  const at::Tensor mean = FirstGradient({{"name", "mean"}});
  EXPECT_TRUE(SameBits(FirstGradient({{"name", "gradient_norm_penalty"}, {"lambda", 0}}), mean));
  const auto refused = [](const Json& fields, const std::vector<std::string>& parts) {
    Json gradient = {{"name", "gradient_norm_penalty"}};
    for (const auto& [key, value] : fields.items()) gradient[key] = value;
    ExpectError(ErrorKind::kConfig, parts, [&] { FirstGradient(gradient); });
  };
  refused({}, {"gradient.lambda", "missing"});
  refused({{"lambda", -0.1}}, {"gradient.lambda", "-0.1"});
  refused({{"lambda", 0.1}, {"penalty_batch_size", 46}},
          {"gradient.penalty_batch_size", "46", "45 examples"});
  refused({{"lambda", 0.1}, {"method", "taylor"}}, {"gradient.method", "exact"});
  refused({{"lambda", 0.1}, {"difference", 0}}, {"gradient.difference", "0"});
}

/// Where the network is smooth, the finite difference tends to the exact penalty; its error falls
/// with the step.
TEST(GradientNormPenalty, FiniteDifferencesTendToTheExactOne) {
  const Json smooth = {{"model", {{"name", "mlp"}, {"hidden", {8, 5}}, {"activation", "tanh"}}}};
  const auto with = [&](const Json& changes) {
    Json gradient = {{"name", "gradient_norm_penalty"}, {"lambda", 2}};
    for (const auto& [key, value] : changes.items()) gradient[key] = value;
    return FirstGradient(gradient, smooth);
  };
  const at::Tensor exact = with({{"method", "exact"}});
  const at::Tensor mean = FirstGradient({{"name", "mean"}}, smooth);
  const double size = exact.sub(mean).norm().item<double>();
  double before = 0;
  for (const double r : {1e-2, 1e-3, 1e-4}) {
    const at::Tensor g = with({{"method", "finite_difference"}, {"difference", r}});
    const double error = g.sub(exact).norm().item<double>() / size;
    EXPECT_GT(error, 0);
    EXPECT_LT(error, r);
    if (before > 0) {
      EXPECT_NEAR(before / error, 10, 1);
    }
    before = error;
  }
}

/// One micro-batch of the batch's size is the batch.
TEST(GradientNormPenalty, MicroBatchesAverageOverTheBatch) {
  const Json whole = {{"name", "gradient_norm_penalty"}, {"lambda", 0.5}};
  Json micro = whole;
  micro["penalty_batch_size"] = 45;
  const at::Tensor g = FirstGradient(whole);
  const at::Tensor same = FirstGradient(micro);
  EXPECT_LE(same.sub(g).norm().item<double>(), 1e-13 * g.norm().item<double>());
  micro["penalty_batch_size"] = 9;
  EXPECT_GT(FirstGradient(micro).sub(g).norm().item<double>(), 1e-3 * g.norm().item<double>());
}

/// Under batch normalization each micro-batch has its own statistics: both terms of the formula are
/// the micro-batches', whatever lambda. The last of them is smaller here.
TEST(GradientNormPenalty, UnderBatchNormalizationIsMadeOfMicroBatches) {
  Json json = SyntheticConfig({{"dtype", "float64"}, {"batch_size", 14}});
  json["data"]["shape"] = {2, 17, 16};
  json["model"] = {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}};
  ShortRun run(json);
  const Oracle& oracle = run.experiment().train();
  const at::Tensor theta = run.stepper().theta();
  const Batch batch = oracle.Load(at::arange(14, at::kLong));
  const Gradients gradients = oracle.Evaluate(batch, theta);
  for (const double lambda : {0.0, 0.3}) {
    at::Tensor expected = at::zeros_like(theta);
    for (int64_t begin = 0; begin < 14; begin += 6) {
      const int64_t size = std::min<int64_t>(6, 14 - begin);
      const Gradients part = oracle.Evaluate(Part(batch, begin, size), theta, true);
      const at::Tensor penalty = oracle.HessianVectorProduct(part, part.Mean());
      expected.add_(part.Mean().add(penalty, lambda / 2), static_cast<double>(size) / 14);
    }
    const auto estimator = MakeExample<Estimator>("gradient_norm_penalty",
                                                  {{"lambda", lambda}, {"penalty_batch_size", 6}});
    const at::Tensor g = estimator->Estimate({0, batch, gradients, theta, oracle});
    const double size = expected.norm().item<double>();
    EXPECT_LE(g.sub(expected).norm().item<double>(), 10 * Epsilon(at::kDouble) * size) << lambda;
    EXPECT_GT(g.sub(gradients.Mean()).norm().item<double>(), 0.05 * size) << lambda;
  }
}

TEST(WinsorizedEstimator, PercentileZeroIsTheMeanAndFiftyTheMedian) {
  const at::Tensor mean = FirstGradient({{"name", "mean"}});
  EXPECT_TRUE(SameBits(FirstGradient({{"name", "winsorized"}, {"percentile", 0}}), mean));
  const at::Tensor median = FirstGradient({{"name", "coordinate_median"}});
  EXPECT_FALSE(at::allclose(median, mean, 1e-3, 1e-6));
  for (const char* method : {"nearest", "linear"}) {  // the same for an odd number of examples
    const Json winsorized = {{"name", "winsorized"}, {"percentile", 50}, {"method", method}};
    EXPECT_TRUE(at::allclose(FirstGradient(winsorized), median, 1e-12, 1e-14)) << method;
  }
}

/// The definition, for all batch sizes up to 40 and whole percentiles: float64 to the rounding of a
/// product, n additions and a threshold. Of an even number of values 50 is the median, too.
TEST(WinsorizedEstimator, IsTheDefinitionToTheRoundingOfDouble) {
  for (size_t n = 1; n <= 40; ++n) {
    Stream stream(81, "winsorized", n);
    RandomMlp random;
    random.mlp = {{3, 2}, "identity", true, "mean_squared_error"};
    random.theta = RandomVector(stream, random.mlp.size());
    std::vector<Vector> gradients;
    for (size_t i = 0; i < n; ++i) {
      random.examples.push_back({RandomVector(stream, 3), static_cast<size_t>(stream.Below(2))});
      gradients.push_back(oracle::Gradient(random.mlp, random.theta, random.examples.back()));
    }
    const OracleUnderTest it(random, at::kDouble);
    const Gradients evaluated = it.oracle.Evaluate(it.batch, it.theta);
    for (size_t c = 1 + n % 3; c <= 50; c += n % 2 == 0 ? 7 : 3) {
      for (const char* method : {"nearest", "linear"}) {
        const auto winsorized =
            MakeExample<Estimator>("winsorized", {{"percentile", c}, {"method", method}});
        const Vector g =
            ToVector(winsorized->Estimate({0, it.batch, evaluated, it.theta, it.oracle}));
        for (size_t w = 0; w < g.size(); ++w) {
          Vector values;
          double scale = 0;
          for (const Vector& gradient : gradients) {
            values.push_back(gradient[w]);
            scale += std::abs(gradient[w]) / static_cast<double>(n);
          }
          const bool linear = method == std::string("linear");
          EXPECT_NEAR(g[w], oracle::WinsorizedMean(values, c, linear),
                      (static_cast<double>(n) + 8) * Epsilon(at::kDouble) * scale)
              << n << " examples, percentile " << c << ", " << method << ", weight " << w;
        }
      }
    }
  }
}

TEST(WinsorizedEstimator, FiftyIsTheMedianOfAnEvenNumber) {
  const Json even = {{"batch_size", 44}};
  const at::Tensor median = FirstGradient({{"name", "coordinate_median"}}, even);
  for (const char* method : {"nearest", "linear"}) {
    const Json winsorized = {{"name", "winsorized"}, {"percentile", 50}, {"method", method}};
    EXPECT_TRUE(at::allclose(FirstGradient(winsorized, even), median, 1e-12, 1e-14)) << method;
  }
}

TEST(WinsorizedEstimator, OnAHundredExamplesThePercentileIsTheNumberOfOutliers) {
  RandomMlp random;
  random.mlp = {{1, 2}, "identity", false, "mean_squared_error"};
  random.theta = {0.0, 0.0};
  for (int i = 0; i < 100; ++i) {
    random.examples.push_back({{static_cast<double>(i)}, 0});  // input i, label 0
  }
  const OracleUnderTest it(random, at::kDouble);
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  // The weight into output 0 has the per-example gradients -k i, i = 0 ... 99.
  const double k = -oracle::Gradient(random.mlp, random.theta, random.examples[1])[0];
  for (const int c : {1, 2, 4, 8}) {
    double sum = 0;
    for (int i = 0; i < 100; ++i) sum -= k * std::clamp(i, c, 99 - c);
    const auto winsorized = MakeExample<Estimator>("winsorized", {{"percentile", c}});
    const at::Tensor g = winsorized->Estimate({0, it.batch, gradients, it.theta, it.oracle});
    EXPECT_NEAR(g[0].item<double>(), sum / 100, 1e-12) << c;
    EXPECT_EQ(g[1].item<double>(), 0) << c;
  }
}

/// Of two ranks as near to a percentile the one that moves fewer values, though 500 times 16.1 % is
/// rounded to above 80.5.
TEST(WinsorizedEstimator, ATieIsOneWhateverRoundingMakesOfIt) {
  RandomMlp random;
  random.mlp = {{1, 2}, "identity", false, "mean_squared_error"};
  random.theta = {0.0, 0.0};
  double sum = 0;
  for (int i = 0; i < 501; ++i) {
    random.examples.push_back({{i * i / 1e5}, 0});  // not even, so that each rank tells
    sum += std::pow(std::clamp(i, 80, 420), 2) / 1e5;
  }
  const OracleUnderTest it(random, at::kDouble);
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  const auto winsorized = MakeExample<Estimator>("winsorized", {{"percentile", 16.1}});
  const at::Tensor g = winsorized->Estimate({0, it.batch, gradients, it.theta, it.oracle});
  EXPECT_NEAR(g[0].item<double>(), -sum / 501, 1e-12);  // grad L_i = -x_i
}

TEST(RobustEstimators, KnownSpecialCases) {
  const at::Tensor mean = FirstGradient({{"name", "mean"}});
  const auto expect_mean = [&](const Json& gradient) {
    EXPECT_TRUE(at::allclose(FirstGradient(gradient), mean, 1e-11, 1e-13)) << gradient;
  };
  expect_mean({{"name", "trimmed_mean"}, {"fraction", 0.01}});  // of 45 examples: none
  expect_mean({{"name", "median_of_means"}, {"groups", 1}});
  const at::Tensor median = FirstGradient({{"name", "coordinate_median"}});
  EXPECT_TRUE(at::allclose(FirstGradient({{"name", "median_of_means"}, {"groups", 45}}), median,
                           1e-11, 1e-13));
  // 22 of 45 values left out at each end leave the middle one.
  EXPECT_TRUE(at::allclose(FirstGradient({{"name", "trimmed_mean"}, {"fraction", 0.49}}), median,
                           1e-11, 1e-13));
  const at::Tensor signs = FirstGradient({{"name", "sign_sum"}});
  EXPECT_LE(signs.abs().max().item<double>(), 1 + 1e-12);
  EXPECT_TRUE(at::allclose(signs.mul(45), signs.mul(45).round(), 0, 1e-9));
}

TEST(RobustEstimators, TrainUnderEveryUpdateRule) {
  for (const auto& [name, entry] : Registry<Estimator>::entries()) {
    for (const auto& [rule, rule_entry] : Registry<UpdateRule>::entries()) {
      Json json = SyntheticConfig({{"batch_size", 8}});
      json["data"]["train_size"] = 48;
      json["gradient"] = BaseFields<Estimator>(name);
      json["gradient"]["name"] = name;
      json["update"] = BaseFields<UpdateRule>(rule);
      json["update"]["name"] = rule;
      ShortRun run(json);
      const at::Tensor before = run.stepper().theta().clone();
      for (int64_t step = 0; step < 4; ++step) run.stepper().Step(step);
      const at::Tensor after = run.stepper().theta();
      EXPECT_TRUE(after.isfinite().all().item<bool>()) << name << ", " << rule;
      EXPECT_FALSE(SameBits(before, after)) << name << ", " << rule;
    }
  }
}

}  // namespace
}  // namespace sgdscope
