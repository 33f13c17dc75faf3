#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/tensor_file.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"
#include "tests/temp_folder.h"

// The estimator noise_enhanced against gradients of single examples, one after the other, of the
// batches that the snapshots name.

namespace sgdscope {
namespace {

using oracle::Vector;

const oracle::Mlp kMlp{{6, 8, 5, 4}, "relu", true, "cross_entropy"};

Json NoiseEnhanced(double alpha, const std::string& second = "batch") {
  return {{"name", "noise_enhanced"}, {"alpha", alpha}, {"second", second}};
}

/// A run with a snapshot of each step.
class SnapshotRun {
 public:
  explicit SnapshotRun(Json config) : run_(WithSnapshots(config)) {}

  std::map<std::string, at::Tensor> Step(int64_t step) {
    run_.stepper().Step(step);
    return ReadTensorFile(folder_ / ("snapshots/step_" + std::to_string(step) + ".safetensors"))
        .tensors;
  }
  const ShortRun& run() const { return run_; }

 private:
  Json& WithSnapshots(Json& config) const {
    config["output"] = folder_.path().string();
    config["probes"] = {{{"name", "snapshot"}, {"every", 1}}};
    return config;
  }

  const TempFolder folder_;
  ShortRun run_;
};

/// The largest |grad L_i| of the set, which bounds every mean of them.
double LargestGradient(const ShortRun& run, const Vector& theta) {
  double largest = 0;
  for (const auto& example :
       ExamplesOf(run, at::arange(run.experiment().data().train.size(), at::kLong))) {
    largest = std::max(largest, oracle::Norm(oracle::Gradient(kMlp, theta, example)));
  }
  return largest;
}

/// How far g may be from alpha a + (1 - alpha) b where both are means over at most n examples: each
/// is off by 8 (n + widths) eps of the largest gradient (tests/gradients/oracle_test.cpp).
double Bound(const ShortRun& run, const Vector& theta, double alpha, double n,
             at::ScalarType dtype) {
  return (std::abs(alpha) + std::abs(1 - alpha)) * 8 * (n + 6 + 8 + 5 + 4) * Epsilon(dtype) *
         LargestGradient(run, theta);
}

/// g of each step of batches of at most n examples.
void ExpectEquationSix(const Json& config, double alpha, double n, int64_t steps) {
  SnapshotRun it(config);
  for (int64_t step = 0; step < steps; ++step) {
    const auto tensors = it.Step(step);
    const at::Tensor& batch = tensors.at("batch.updating");
    const at::Tensor& second = tensors.at("batch.second");
    ASSERT_EQ(second.numel(), batch.numel());
    const Vector theta = ToVector(tensors.at("theta"));
    Vector expected(theta.size());
    expected = oracle::Plus(expected, alpha,
                            oracle::MeanGradient(kMlp, theta, ExamplesOf(it.run(), batch)));
    expected = oracle::Plus(expected, 1 - alpha,
                            oracle::MeanGradient(kMlp, theta, ExamplesOf(it.run(), second)));
    ExpectNear(ToVector(tensors.at("g")), expected,
               Bound(it.run(), theta, alpha, n, tensors.at("g").scalar_type()),
               config["update"]["name"].get<std::string>() + ", step " + std::to_string(step));
  }
}

/// Whole batches of 7 and the epoch's last one of 3, under two update rules.
TEST(NoiseEnhanced, IsEquationSixOfTheTwoBatches) {
  for (const char* dtype : {"float64", "float32"}) {
    for (const char* rule : {"sgd", "adam"}) {
      for (const double alpha : {-0.75, 0.0, 0.25, 1.5, 2.5}) {
        ExpectEquationSix(SyntheticConfig({{"dtype", dtype},
                                           {"update", {{"name", rule}, {"learning_rate", 0.02}}},
                                           {"gradient", NoiseEnhanced(alpha)}}),
                          alpha, 7, 8);
      }
    }
  }
}

/// Batches that are too large for one pass over both.
TEST(NoiseEnhanced, IsEquationSixOfLargeBatches) {
  Json config = SyntheticConfig(
      {{"dtype", "float64"}, {"batch_size", 300}, {"gradient", NoiseEnhanced(2.5)}});
  config["data"]["train_size"] = 700;
  ExpectEquationSix(config, 2.5, 300, 3);
}

TEST(NoiseEnhanced, FullIsEquationFive) {
  for (const char* dtype : {"float64", "float32"}) {
    SnapshotRun it(SyntheticConfig({{"dtype", dtype}, {"gradient", NoiseEnhanced(2.5, "full")}}));
    const auto all = ExamplesOf(it.run(), at::arange(45, at::kLong));
    for (int64_t step = 0; step < 8; ++step) {
      const auto tensors = it.Step(step);
      EXPECT_FALSE(tensors.contains("batch.second"));
      const Vector theta = ToVector(tensors.at("theta"));
      const Vector first =
          oracle::MeanGradient(kMlp, theta, ExamplesOf(it.run(), tensors.at("batch.updating")));
      const Vector full = oracle::MeanGradient(kMlp, theta, all);
      const Vector noise = oracle::Plus(first, -1, full);
      ExpectNear(ToVector(tensors.at("g")), oracle::Plus(full, 2.5, noise),
                 Bound(it.run(), theta, 2.5, 45, tensors.at("g").scalar_type()),
                 "step " + std::to_string(step));
    }
  }
}

/// Theta after each of 30 steps, and each step's loss.
std::vector<at::Tensor> Path(const Json& config) {
  ShortRun run(config);
  std::vector<at::Tensor> path;
  for (int64_t step = 0; step < 30; ++step) {
    path.push_back(run.stepper().Step(step).loss);
    path.push_back(run.stepper().theta().clone());
  }
  return path;
}

TEST(NoiseEnhanced, AlphaOneIsTheMeanBitByBit) {
  for (const char* rule : {"sgd", "adam", "n_step"}) {
    Json config = SyntheticConfig();
    config["update"] = {{"name", rule}, {"learning_rate", 0.02}};
    if (rule == std::string("n_step")) config["update"]["n"] = 3;
    const auto mean = Path(config);
    for (const char* second : {"batch", "full"}) {
      config["gradient"] = NoiseEnhanced(1, second);
      const auto path = Path(config);
      for (size_t i = 0; i < mean.size(); ++i) EXPECT_TRUE(SameBits(path[i], mean[i])) << i;
    }
    config["gradient"] = NoiseEnhanced(1.5);
    EXPECT_FALSE(SameBits(Path(config).back(), mean.back()));
  }
  SnapshotRun it(SyntheticConfig({{"gradient", NoiseEnhanced(1)}}));
  EXPECT_FALSE(it.Step(0).contains("batch.second"));
}

TEST(NoiseEnhanced, LeavesTheSequenceOfBatchesAlone) {
  const Json images = {{"name", "synthetic"}, {"train_size", 45},   {"test_size", 5},
                       {"classes", 4},        {"shape", {1, 4, 3}}, {"augment", {{"pad", 1}}}};
  SnapshotRun mean(SyntheticConfig({{"data", images}}));
  SnapshotRun enhanced(SyntheticConfig({{"data", images}, {"gradient", NoiseEnhanced(2)}}));
  std::set<Vector> seconds;
  for (int64_t step = 0; step < 15; ++step) {
    const auto tensors = enhanced.Step(step);
    EXPECT_TRUE(SameBits(tensors.at("batch.updating"), mean.Step(step).at("batch.updating")));
    EXPECT_TRUE(SameBits(enhanced.run().experiment().sampler().ExamplesAt(step).moves,
                         mean.run().experiment().sampler().ExamplesAt(step).moves));
    const Vector second = ToVector(tensors.at("batch.second"));
    EXPECT_EQ(std::set<double>(second.begin(), second.end()).size(), second.size());
    seconds.insert(second);
  }
  EXPECT_EQ(seconds.size(), 15u);
}

/// Moves of the second batch are draws of a seed of their own.
TEST(NoiseEnhanced, AugmentsTheSecondBatchByItsOwnStream) {
  Json config = SyntheticConfig({{"dtype", "float64"}});
  config["data"]["shape"] = {1, 4, 3};
  config["data"]["augment"] = {{"pad", 2}};
  const uint64_t seed = Stream(3, "second_batch.augment").Bits64();
  for (const char* second : {"batch", "full"}) {
    config["gradient"] = NoiseEnhanced(2, second);
    SnapshotRun it(config);
    Sampler& sampler = it.run().experiment().sampler();
    const Oracle& oracle = it.run().experiment().train();
    for (int64_t step = 0; step < 8; ++step) {
      const auto tensors = it.Step(step);
      const auto gradient = [&](const Examples& examples) {
        return oracle.Evaluate(oracle.Load(examples), tensors.at("theta")).Mean();
      };
      const at::Tensor others =
          tensors.contains("batch.second") ? tensors.at("batch.second") : at::arange(45, at::kLong);
      const Examples examples = sampler.Augmented(others, seed, step);
      EXPECT_FALSE(
          SameBits(examples.moves.narrow(0, 0, 3), sampler.ExamplesAt(step).moves.narrow(0, 0, 3)));
      const at::Tensor first = gradient(sampler.ExamplesAt(step)).mul(2);
      const at::Tensor moved = first.sub(gradient(examples));
      const at::Tensor unmoved = first.sub(gradient({others}));
      const double scale = first.norm().item<double>();
      // 8 (45 + 12 + 8 + 5 + 4) eps = 1.3e-13 of the gradients of examples.
      EXPECT_LE(moved.sub(tensors.at("g")).norm().item<double>(), 2e-12 * scale) << second;
      EXPECT_GT(unmoved.sub(tensors.at("g")).norm().item<double>(), 1e-3 * scale) << second;
    }
  }
}

/// Each batch by its own statistics, each ghost batch by its own: the mean over ghost batches, each
/// evaluated alone.
TEST(NoiseEnhanced, TakesTheStatisticsOfEachGhostBatch) {
  Json config = SyntheticConfig(
      {{"dtype", "float64"},
       {"batch_size", 12},
       {"gradient", NoiseEnhanced(2.5)},
       {"model",
        {{"name", "resnet18"}, {"channels", 2}, {"norm", "ghost"}, {"ghost_batch_size", 4}}}});
  config["data"]["shape"] = {2, 17, 16};
  config["data"]["train_size"] = 48;
  SnapshotRun it(config);
  const Oracle& oracle = it.run().experiment().train();
  for (int64_t step = 0; step < 3; ++step) {
    const auto tensors = it.Step(step);
    const auto by_ghosts = [&](const at::Tensor& indices) {
      at::Tensor sum = at::zeros_like(tensors.at("theta"));
      for (int64_t begin = 0; begin < 12; begin += 4) {
        const Batch ghost = oracle.Load(indices.narrow(0, begin, 4));
        sum = sum.add(oracle.Evaluate(ghost, tensors.at("theta")).Mean(), 4.0 / 12);
      }
      return sum;
    };
    const at::Tensor first = by_ghosts(tensors.at("batch.updating"));
    const at::Tensor second = by_ghosts(tensors.at("batch.second"));
    const at::Tensor expected = first.mul(2.5).sub(second, 1.5);
    const double scale = 2.5 * first.norm().item<double>() + 1.5 * second.norm().item<double>();
    // Sums of up to 12 * 17 * 16 numbers in each of 18 layers: 59,000 eps.
    EXPECT_LE(expected.sub(tensors.at("g")).norm().item<double>(), 1e-11 * scale);
  }
}

/// Chi-square with k degrees of freedom has the mean k and the variance 2 k.
void ExpectUniform(const Vector& counts, double freedom) {
  double total = 0;
  for (const double count : counts) total += count;
  const double expected = total / static_cast<double>(counts.size());
  double chi_square = 0;
  for (const double count : counts) chi_square += std::pow(count - expected, 2) / expected;
  EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom));
  EXPECT_GT(chi_square, freedom - 5 * std::sqrt(2 * freedom));
}

/// In each epoch of 12 examples one pair of an index of B and one of B', by turns at all places:
/// all 144 pairs are equally likely. An index drawn into B' tells nothing of B.
TEST(NoiseEnhanced, TheSecondBatchIsIndependentOfTheFirst) {
  Json config = SyntheticConfig({{"batch_size", 4}, {"gradient", NoiseEnhanced(2)}});
  config["data"]["train_size"] = 12;
  config["model"] = {{"name", "mlp"}, {"hidden", Json::array()}};
  ShortRun run(config);
  Sampler& sampler = run.experiment().sampler();
  const Oracle& train = run.experiment().train();
  constexpr int64_t kEpochs = 10000;
  Vector pairs(144);
  Vector singles(12);
  Vector common(5);  // |B and B'| of them
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const int64_t step = 3 * epoch + epoch % 3;
    const Vector first = ToVector(sampler.At(step));
    const Batch batch = train.Load(sampler.At(step));
    const Vector second =
        ToVector(run.config()
                     .gradient->EvaluateAndEstimate(step, batch, run.stepper().theta(), train)
                     .extras.at("batch.second")());
    const auto place = static_cast<size_t>(epoch);
    const double b = first[place % 4];
    const double other = second[place / 4 % 4];
    ++pairs[static_cast<size_t>(12 * b + other)];
    ++singles[static_cast<size_t>(other)];
    std::set<double> both(first.begin(), first.end());
    both.insert(second.begin(), second.end());
    ++common[8 - both.size()];
  }
  ExpectUniform(pairs, 143);
  ExpectUniform(singles, 11);
  // Hypergeometric: C(4, k) C(8, 4 - k) / C(12, 4).
  const Vector ways = {70, 224, 168, 32, 1};
  double chi_square = 0;
  for (size_t k = 0; k < 5; ++k) {
    const double expected = kEpochs * ways[k] / 495;
    chi_square += std::pow(common[k] - expected, 2) / expected;
  }
  EXPECT_LT(chi_square, 4 + 5 * std::sqrt(2. * 4));
}

/// Nothing is drawn for a weight of 0, nor where the second gradient is that of the whole set.
TEST(NoiseEnhanced, ShowsASecondBatchWhereItDrawsOne) {
  for (const auto& [gradient, shown] :
       {std::pair{NoiseEnhanced(2), true}, std::pair{NoiseEnhanced(1), false},
        std::pair{NoiseEnhanced(2, "full"), false}}) {
    ShortRun run(SyntheticConfig({{"gradient", gradient}}));
    const Oracle& train = run.experiment().train();
    const Batch batch = train.Load(run.experiment().sampler().At(0));
    const Estimated estimated =
        run.config().gradient->EvaluateAndEstimate(0, batch, run.stepper().theta(), train);
    EXPECT_EQ(estimated.extras.contains("batch.second"), shown) << gradient;
  }
}

/// Equation 11 is that of two batches.
TEST(NoiseEnhanced, SaysHowNoisyItIs) {
  const auto text = [](double alpha, const std::string& second) {
    ShortRun run(SyntheticConfig({{"gradient", NoiseEnhanced(alpha, second)}}));
    return run.config().gradient->Describe(36);
  };
  EXPECT_EQ(text(1.5, "batch"),
            "as noisy as plain SGD with batches of 14.4 examples (B_eff of noise_enhancement, "
            "equation 11)");
  EXPECT_EQ(text(1.5, "full"), "as noisy as plain SGD with batches of 16 examples");
  EXPECT_EQ(text(0, "full"), "without noise: the gradient of the full training set");
}

/// alpha = (1 + sqrt(2 l - 1)) / 2, which is whole where 2 l - 1 is an odd square.
TEST(NoiseEnhanced, SvagIsAnAlpha) {
  for (const auto& [l, alpha] : {std::pair{1, 1.0}, std::pair{5, 2.0}, std::pair{13, 3.0}}) {
    const auto svag =
        Path(SyntheticConfig({{"gradient", {{"name", "noise_enhanced"}, {"svag", l}}}}));
    const auto path = Path(SyntheticConfig({{"gradient", NoiseEnhanced(alpha)}}));
    for (size_t i = 0; i < path.size(); ++i) EXPECT_TRUE(SameBits(svag[i], path[i])) << l;
  }
}

/// A loss of biases b alone, |b - e_y|^2 / k, whose gradients h (b - e_y) with h = 2 / k have noise
/// that is the same at every b, with the trace S. From |b_0 - mean e| = r on,
///   SVAG, after t steps of eta / l:  E |b_t - mean e|^2 = q^2t r^2 + V (1 - q^2t),  q = 1 - eta h / l
///                                    V = eta S / (2 h) / (1 - eta h / (2 l))
///   the SDE, at time t eta / l:      the same with q^l = exp(-eta h) and V = eta S / (2 h),
/// which is what SVAG's tend to as l grows.
TEST(NoiseEnhanced, SvagTendsToTheMomentsOfTheSde) {
  RandomMlp random;
  random.mlp = {{1, 4}, "identity", true, "mean_squared_error"};
  random.theta = Vector(8);
  for (const size_t label : {0, 1, 1, 2, 2, 2, 3, 3, 3, 3}) random.examples.push_back({{0}, label});
  const Vector mean = {0.1, 0.2, 0.3, 0.4};
  const double trace = 0.25 * (1 - oracle::Dot(mean, mean));
  constexpr double kEta = 1.5, kH = 0.5;
  constexpr int64_t kTime = 12;  // in steps of plain SGD
  const OracleUnderTest it(random, at::kDouble);
  const auto sampler = MakeExample<Sampler>("replacement");
  double distance_from_sde = HUGE_VAL;
  for (const int64_t l : {1, 2, 4, 8}) {
    const auto estimator = MakeExample<Estimator>("noise_enhanced", {{"svag", l}});
    const double rate = kEta / static_cast<double>(l);
    Vector averages;  // of |b_t - mean e|^2 over each run
    for (uint64_t seed = 0; seed < 60; ++seed) {
      sampler->Prepare(seed, 10, 1, "sampler");
      estimator->Prepare({"gradient", seed, 10, *sampler});
      at::Tensor theta = it.theta.clone();
      double sum = 0;
      for (int64_t step = 0; step < kTime * l; ++step) {
        const Batch batch = it.oracle.Load(sampler->At(step));
        theta = theta.sub(estimator->EvaluateAndEstimate(step, batch, theta, it.oracle).g, rate);
        const Vector biases = ToVector(theta.narrow(0, 4, 4));
        sum += std::pow(oracle::Norm(oracle::Plus(biases, -1, mean)), 2);
      }
      averages.push_back(sum / static_cast<double>(kTime * l));
    }
    const auto average_moment = [&](double q, double variance) {
      double sum = 0;
      for (int64_t t = 1; t <= kTime * l; ++t) {
        const double left = std::pow(q, 2 * static_cast<double>(t));
        sum += left * oracle::Dot(mean, mean) + variance * (1 - left);
      }
      return sum / static_cast<double>(kTime * l);
    };
    const double of_sde = kEta * trace / (2 * kH);
    const double svag = average_moment(1 - rate * kH, of_sde / (1 - rate * kH / 2));
    const double sde = average_moment(std::exp(-rate * kH), of_sde);
    double found = 0;
    for (const double average : averages) found += average / 60;
    double squares = 0;
    for (const double average : averages) squares += std::pow(average - found, 2);
    const double error = std::sqrt(squares / 59 / 60);
    EXPECT_NEAR(found, svag, 3 * error) << l;
    EXPECT_LT(error, 0.06 * svag) << l;
    const double from_sde = std::abs(svag / sde - 1);
    EXPECT_LT(from_sde, 0.7 * distance_from_sde) << l;
    distance_from_sde = from_sde;
  }
  EXPECT_LT(distance_from_sde, 0.06);
}

TEST(NoiseEnhanced, RefusesWhatMakesNoSense) {
  const auto refused = [](const Json& gradient, const Json& changes,
                          const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] {
      Json config = SyntheticConfig(changes);
      config["gradient"] = gradient;
      if (config["sampler"]["name"] == "full") config.erase("batch_size");
      const auto read = ReadRunConfig(config);
      const Experiment experiment(*read);  // before any data is read
    });
  };
  refused({{"name", "noise_enhanced"}}, {}, {"gradient.alpha", "missing", "svag"});
  refused({{"name", "noise_enhanced"}, {"alpha", 2}, {"svag", 2}}, {}, {"gradient.alpha", "svag"});
  refused({{"name", "noise_enhanced"}, {"svag", 0}}, {}, {"gradient.svag", "0"});
  refused({{"name", "noise_enhanced"}, {"svag", 4}, {"second", "full"}}, {},
          {"gradient.svag", "4", "second is full", "give alpha"});
  refused({{"name", "noise_enhanced"}, {"alpha", HUGE_VAL}}, {}, {"gradient.alpha", "number"});
  refused({{"name", "noise_enhanced"}, {"alpha", std::nan("")}}, {}, {"gradient.alpha", "number"});
  refused({{"name", "noise_enhanced"}, {"alpha", "inf"}}, {}, {"gradient.alpha", "inf", "number"});
  refused(NoiseEnhanced(2, "other"), {}, {"gradient.second", "other", "batch", "full"});
  refused(NoiseEnhanced(2), {{"batch_size", 45}}, {"gradient.second", "45 distinct", "batch_size"});
  refused(NoiseEnhanced(2), {{"batch_size", 46}, {"sampler", {{"name", "replacement"}}}},
          {"gradient.second", "46 distinct", "45 training examples"});
  refused(NoiseEnhanced(2), {{"sampler", {{"name", "full"}}}}, {"gradient.second", "full"});
  refused(NoiseEnhanced(2, "full"), {{"sampler", {{"name", "full"}}}}, {"gradient", "no noise"});
  const Json normalized = {{"name", "resnet18"}, {"channels", 2}, {"norm", "batch"}};
  Json images = SyntheticConfig()["data"];
  images["shape"] = {2, 17, 16};
  refused(NoiseEnhanced(2, "full"), {{"model", normalized}, {"data", images}},
          {"gradient", "batch normalization"});
}

}  // namespace
}  // namespace sgdscope
