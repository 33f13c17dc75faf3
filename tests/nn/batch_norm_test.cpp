#include "nn/batch_norm.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "core/rng.h"
#include "gradients/per_example.h"
#include "models/model.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/nn/autograd_rules.h"
#include "tests/oracles.h"
#include "tests/tensors.h"
#include "tests/threads.h"

// Batch normalization against its definition. Its derivatives are tested in every model that has it
// (tests/models/model_test.cpp).

namespace sgdscope {
namespace {

using oracle::Vector;

/// A layer that lies somewhere inside theta, with an input of a random shape.
struct BatchNormCase {
  explicit BatchNormCase(uint64_t index) : stream(33, "batch norm", index) {
    const auto between = [&](uint64_t least, uint64_t most) {
      return static_cast<int64_t>(least + stream.Below(most - least + 1));
    };
    channels = between(1, 4);
    n = between(3, 11);
    ghost = index % 2 == 0 ? 0 : between(2, 5);
    if (ghost > 0 && n % ghost == 1) ++n;  // a single example may be a single value
    shape = {n, channels};
    if (index % 3 != 0) shape.insert(shape.end(), {between(1, 4), between(1, 4)});
    network.table.Add("before", {3}, 1, 1, false);
    network.statistics.Add("before", {2}, 1, 1, false, 0);
    layer = MakeBatchNorm(network.table, network.statistics, "it", channels, ghost);
    theta = RandomTensor(stream, {network.table.size()});
    h = RandomTensor(stream, shape).mul(3).add(2);
  }

  int64_t positions() const { return h.numel() / n / channels; }
  double At(int64_t i, int64_t c, int64_t k) const {
    return h.view({n, channels, -1})[i][c][k].item<double>();
  }

  /// Mean and biased variance of channel c over the examples [begin, end).
  std::pair<double, double> Moments(int64_t begin, int64_t end, int64_t c) const {
    double sum = 0, squares = 0;
    const double count = static_cast<double>((end - begin) * positions());
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t k = 0; k < positions(); ++k) sum += At(i, c, k);
    }
    const double mean = sum / count;
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t k = 0; k < positions(); ++k) squares += std::pow(At(i, c, k) - mean, 2);
    }
    return {mean, squares / count};
  }

  Stream stream;
  int64_t channels, n, ghost;
  std::vector<int64_t> shape;
  Network network;
  std::unique_ptr<ParameterLayer> layer;
  at::Tensor theta, h;
};

TEST(BatchNormLayer, NormalizesEachPartByItsOwnMoments) {
  for (uint64_t index = 0; index < 40; ++index) {
    BatchNormCase it(index);
    const int64_t part = it.ghost == 0 ? it.n : it.ghost;
    Vector expected;
    for (int64_t i = 0; i < it.n; ++i) {
      const int64_t begin = i / part * part;
      for (int64_t c = 0; c < it.channels; ++c) {
        const auto [mean, variance] = it.Moments(begin, std::min(begin + part, it.n), c);
        const double gamma = it.theta[3 + c].item<double>();
        const double beta = it.theta[3 + it.channels + c].item<double>();
        for (int64_t k = 0; k < it.positions(); ++k) {
          expected.push_back(gamma * (it.At(i, c, k) - mean) / std::sqrt(variance + 1e-5) + beta);
        }
      }
    }
    // A constant channel divides rounding errors by sqrt(1e-5).
    ExpectNear(ToVector(it.layer->Forward(it.h, {it.theta})), expected,
               1e-11 * (1 + oracle::Norm(expected)), it.layer->Describe());
  }
}

/// One move for each part, in their order (Hoffer et al. 2017, algorithm 1).
TEST(BatchNormLayer, AgreesWithAutograd) {
  for (uint64_t index = 0; index < 20; ++index) {
    Stream stream(34, "autograd", index);
    Network network;
    const int64_t ghost = index % 2 == 0 ? 0 : 4;
    const auto layer = MakeBatchNorm(network.table, network.statistics, "it", 3, ghost);
    ExpectRulesOfAutograd(*layer, network.table.size(), {7, 3, 2, 2}, stream, "batch norm");
  }
}

TEST(BatchNormLayer, MovesItsStatisticsAndUsesThem) {
  for (uint64_t index = 0; index < 40; ++index) {
    BatchNormCase it(index);
    std::vector<Tap> taps;
    {
      at::AutoGradMode enable(true);
      it.layer->Forward(it.h, {it.theta, &taps});
    }
    ASSERT_EQ(taps.size(), 1);
    constexpr double kMomentum = 0.3;
    const at::Tensor before = RandomTensor(it.stream, {it.network.statistics.size()});
    const at::Tensor statistics = before.clone();
    it.layer->MoveStatistics(taps[0], kMomentum, statistics);
    const int64_t part = it.ghost == 0 ? it.n : it.ghost;
    Vector expected = ToVector(before);
    for (int64_t begin = 0; begin < it.n; begin += part) {
      const int64_t end = std::min(begin + part, it.n);
      const double count = static_cast<double>((end - begin) * it.positions());
      for (int64_t c = 0; c < it.channels; ++c) {
        const auto [mean, variance] = it.Moments(begin, end, c);
        const auto move = [&](int64_t place, double seen) {
          double& value = expected[static_cast<size_t>(2 + place)];
          value += kMomentum * (seen - value);
        };
        move(c, mean);
        move(it.channels + c, variance * count / (count - 1));
      }
    }
    ExpectNear(ToVector(statistics), expected, 1e-11 * (1 + oracle::Norm(expected)), "running");
    EXPECT_TRUE(SameBits(statistics.narrow(0, 0, 2), before.narrow(0, 0, 2)));

    const at::Tensor running = RandomTensor(it.stream, statistics.sizes().vec());
    const at::Tensor safe = running.abs().add(0.1);
    expected.clear();
    for (int64_t i = 0; i < it.n; ++i) {
      for (int64_t c = 0; c < it.channels; ++c) {
        const double mean = safe[2 + c].item<double>();
        const double scale = 1 / std::sqrt(safe[2 + it.channels + c].item<double>() + 1e-5);
        for (int64_t k = 0; k < it.positions(); ++k) {
          expected.push_back(it.theta[3 + c].item<double>() * (it.At(i, c, k) - mean) * scale +
                             it.theta[3 + it.channels + c].item<double>());
        }
      }
    }
    ExpectNear(ToVector(it.layer->Forward(it.h, {it.theta, nullptr, safe})), expected,
               1e-13 * (1 + oracle::Norm(expected)), "running");
  }
}

/// What a layer makes of many values in single precision, whose channels have means far from 0.
struct ManyValues {
  explicit ManyValues(at::ScalarType type) {
    Network network;
    constexpr int64_t kChannels = 20;  // whole vectors and single numbers
    layer = MakeBatchNorm(network.table, network.statistics, "it", kChannels, ghost);
    Stream stream(34, "many values");
    const auto random = [&](const std::vector<int64_t>& shape) {
      return RandomTensor(stream, shape).to(type);
    };
    const std::vector<int64_t> shape = {n, kChannels, 32, 24};
    const at::Tensor theta = random({network.table.size()}), v = random({network.table.size()});
    const at::Tensor h =
        random(shape).add(30).to(at::kFloat).to(type).contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor d = random(shape), u = random(shape);
    std::vector<Tap> taps;
    at::AutoGradMode enable(true);
    const at::Tensor input = h.detach().requires_grad_(true);
    const at::Tensor z = layer->Forward(input, {theta, &taps});
    const at::Tensor weights = d.clone().requires_grad_(true);
    const at::Tensor by_h = torch::autograd::grad({z}, {input}, {weights}, true, true)[0];
    const auto second = torch::autograd::grad({by_h}, {weights, input}, {u});
    const at::Tensor along = layer->OutputSlope(taps[0], v);
    at::NoGradGuard no_grad;
    const at::Tensor gradient = at::empty_like(theta), slope = at::empty_like(theta);
    const at::Tensor statistics = at::zeros({network.statistics.size()}, theta.options());
    layer->WriteGradient(taps[0], d, gradient);
    layer->WriteGradientSlope(taps[0], u, d, d.add(1), slope);
    layer->MoveStatistics(taps[0], 0.5, statistics);
    const Line line = layer->ForwardLine({h, u, d, h.add(u)}, {theta, v, -0.5, true});
    numbers = {{"output", z},
               {"by input", by_h},
               {"by derivative", second[0]},
               {"second", second[1]},
               {"output slope", along},
               {"gradient", gradient},
               {"slope", slope},
               {"statistics", statistics},
               {"line", line.value},
               {"line slope", line.slope},
               {"line curvature", line.curvature},
               {"line moved", line.moved}};
  }

  static constexpr int64_t n = 24;
  static constexpr int64_t ghost = 16;
  std::unique_ptr<ParameterLayer> layer;
  std::vector<std::pair<std::string, at::Tensor>> numbers;
};

/// All sums are exact to double precision, and each number is a sum of at most four terms, of a few
/// roundings each.
TEST(BatchNormLayer, IsOffInSinglePrecisionByAFewRoundingsOnly) {
  const ManyValues exact(at::kDouble), single(at::kFloat);
  for (size_t k = 0; k < exact.numbers.size(); ++k) {
    const auto& [name, expected] = exact.numbers[k];
    const at::Tensor error = single.numbers[k].second.to(at::kDouble).sub(expected);
    EXPECT_EQ(single.numbers[k].second.scalar_type(), at::kFloat) << name;
    EXPECT_LE(error.norm().item<double>(), 4 * Epsilon(at::kFloat) * expected.norm().item<double>())
        << name;
  }
}

TEST(BatchNormLayer, HasTheSameBitsOnAnyNumberOfThreads) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const ManyValues one(dtype);
    const auto three = OnThreads(3, [&] { return ManyValues(dtype); });
    for (size_t k = 0; k < one.numbers.size(); ++k) {
      const auto& [name, expected] = one.numbers[k];
      EXPECT_TRUE(SameBits(three.numbers[k].second, expected)) << name;
    }
  }
}

TEST(BatchNormLayer, RefusesASingleValueAChannel) {
  Network network;
  const auto layer = MakeBatchNorm(network.table, network.statistics, "it", 3, /*ghost=*/2);
  const at::Tensor theta = at::ones({6}), h = at::ones({5, 3, 1, 1});
  ExpectError(ErrorKind::kConfig, {"model.norm", "single value"},
              [&] { layer->Forward(h, {theta}); });
  layer->Forward(h.narrow(0, 0, 4), {theta});
  layer->Forward(h, {theta, nullptr, at::ones({6})});
}

Json NormedConfig(const Json& changes = Json::object()) {
  Json config = SyntheticConfig(
      {{"data",
        {{"name", "synthetic"}, {"train_size", 45}, {"test_size", 5}, {"shape", {2, 6, 5}}}},
       {"model", {{"name", "wide_resnet"}, {"depth", 10}, {"width", 1}, {"channels", 2}}}});
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

/// From mean 0 and variance 1 on.
TEST(BatchNormRun, MovesTheRunningStatisticsOnceAStep) {
  ShortRun run(NormedConfig({{"dtype", "float64"}}));
  const Network& network = run.experiment().network();
  const at::Tensor start = InitialStatistics(network, at::kDouble);
  EXPECT_TRUE(SameBits(run.stepper().running(), start));
  EXPECT_EQ(start.sum().item<double>(), static_cast<double>(start.numel()) / 2);
  at::Tensor expected = start.clone();
  for (int64_t step = 0; step < 5; ++step) {
    const Oracle& oracle = run.experiment().train();
    const Batch batch = oracle.Load(run.experiment().sampler().At(step));
    oracle.MoveStatistics(oracle.Evaluate(batch, run.stepper().theta()), expected);
    run.stepper().Step(step);
  }
  ExpectNear(ToVector(run.stepper().running()), ToVector(expected), 1e-13, "running");
  EXPECT_TRUE(SameBits(run.stepper().State().at("running"), run.stepper().running()));
}

/// No probe moves theta or the running statistics.
TEST(BatchNormRun, IsTheSameWithAndWithoutProbes) {
  const Json probes = {{{"name", "taylor"}, {"recent_lag", 2}, {"long_ago_lag", 5}},
                       {{"name", "gradient_norm"}},
                       {{"name", "penalty_gradient"}}};
  for (const char* estimator : {"mean", "gradient_norm_penalty"}) {
    Json gradient = {{"name", estimator}};
    if (estimator != std::string("mean")) gradient["lambda"] = 0.1;
    ShortRun plain(NormedConfig({{"gradient", gradient}}));
    ShortRun watched(NormedConfig({{"gradient", gradient}, {"probes", probes}}));
    for (int64_t step = 0; step < 12; ++step) {
      plain.stepper().Step(step);
      watched.stepper().Step(step);
      ASSERT_TRUE(SameBits(plain.stepper().theta(), watched.stepper().theta())) << step;
      ASSERT_TRUE(SameBits(plain.stepper().running(), watched.stepper().running())) << step;
    }
  }
}

/// A whole network under ghost batch norm: each ghost batch is the network's batch of its own, and
/// the gradient is the mean of theirs.
TEST(BatchNormRun, GhostBatchesAreBatchesOfTheirOwn) {
  Json json = NormedConfig({{"dtype", "float64"}, {"batch_size", 15}});
  json["model"] = {{"name", "vgg"}, {"depths", {2, 1}}, {"channels", {3, 2}},
                   {"hidden", {4}}, {"norm", "ghost"},  {"ghost_batch_size", 5}};
  ShortRun run(json);
  const Oracle& oracle = run.experiment().train();
  for (int64_t step = 0; step < 4; ++step) {
    const Batch batch = oracle.Load(run.experiment().sampler().At(step));
    const at::Tensor& theta = run.stepper().theta();
    const Gradients whole = oracle.Evaluate(batch, theta);
    std::vector<at::Tensor> losses, means;
    const at::Tensor statistics = run.stepper().running().clone();
    for (int64_t begin = 0; begin < 15; begin += 5) {
      const Gradients part = oracle.Evaluate(Part(batch, begin, 5), theta);
      losses.push_back(part.losses);
      means.push_back(part.Mean());
      oracle.MoveStatistics(part, statistics);
    }
    const auto expect = [](const at::Tensor& actual, const at::Tensor& expected) {
      ExpectNear(ToVector(actual), ToVector(expected), 1e-13 * (1 + expected.norm().item<double>()),
                 "loop over the ghost batches");
    };
    expect(whole.losses, at::cat(losses));
    expect(whole.Mean(), at::stack(means).mean(0));
    run.stepper().Step(step);
    expect(run.stepper().running(), statistics);
  }
}

TEST(BatchNormRun, RefusesGhostBatchesThatDoNotDivideTheBatches) {
  const auto build = [](int64_t ghost, int64_t batch_size, const Json& sampler) {
    Json json = NormedConfig({{"batch_size", batch_size}, {"sampler", sampler}});
    json["model"]["norm"] = "ghost";
    json["model"]["ghost_batch_size"] = ghost;
    const auto config = ReadRunConfig(json);
    const Experiment experiment(*config);  // of 45 examples
  };
  const auto refused = [&](int64_t ghost, int64_t batch_size, const Json& sampler,
                           const std::string& batches, const std::string& hint) {
    ExpectError(ErrorKind::kConfig, {"model.ghost_batch_size", batches, hint},
                [&] { build(ghost, batch_size, sampler); });
  };
  const Json shuffle = {{"name", "shuffle"}, {"drop_last", false}};
  const Json dropping = {{"name", "shuffle"}, {"drop_last", true}};
  refused(4, 9, shuffle, "batches of 9", "batch_size");
  refused(6, 3, shuffle, "batches of 3", "batch_size");
  refused(10, 20, shuffle, "batches of 5", "drop_last");
  refused(10, 20, {{"name", "fixed_batches"}, {"drop_last", false}}, "batches of 5", "drop_last");
  build(5, 20, shuffle);
  build(10, 20, dropping);
  build(10, 20, {{"name", "replacement"}});
}

/// On images of 8 x 8 pixels, of which ResNet-18 leaves one: PyTorch refuses a batch of one, too.
TEST(BatchNormRun, RefusesBatchesWhoseChannelsHaveASingleValue) {
  const auto build = [](const Json& changes, const Json& model = Json::object()) {
    Json json = SyntheticConfig(
        {{"batch_size", 4},
         {"data",
          {{"name", "synthetic"}, {"train_size", 9}, {"test_size", 20}, {"shape", {1, 8, 8}}}},
         {"sampler", {{"name", "shuffle"}, {"drop_last", true}}},
         {"model", {{"name", "resnet18"}, {"channels", 2}}}});
    for (const auto& [key, value] : changes.items()) json[key] = value;
    for (const auto& [key, value] : model.items()) json["model"][key] = value;
    const auto config = ReadRunConfig(json);
    const Experiment experiment(*config);
  };
  const auto refused = [&](const Json& changes, const std::string& path) {
    ExpectError(ErrorKind::kConfig, {path, "1 example", "model.norm"}, [&] { build(changes); });
    build(changes, {{"norm", "skipinit"}});
  };
  const auto penalty = [](int64_t size) {
    return Json{{"gradient",
                 {{"name", "gradient_norm_penalty"}, {"lambda", 1}, {"penalty_batch_size", size}}}};
  };
  const auto explicit_sgd = [](int64_t updates) {
    return Json{
        {"gradient", {{"name", "explicit_sgd"}, {"updates", updates}, {"learning_rate", 1}}}};
  };
  const auto gap = [](int64_t size) {
    return Json{{"probes", {{{"name", "generalization_gap"}, {"batch_size", size}}}}};
  };
  const Json whole_epochs = {{"sampler", {{"name", "shuffle"}, {"drop_last", false}}}};
  refused({{"batch_size", 1}}, "batch_size");
  refused(whole_epochs, "sampler.drop_last");  // 9 = 4 + 4 + 1
  refused(penalty(1), "gradient");
  refused(penalty(3), "gradient");
  refused(explicit_sgd(4), "gradient");
  refused(gap(1), "probes[0]");
  build({});
  build(penalty(2));
  build(explicit_sgd(2));
  build(gap(2));
  Json larger = whole_epochs;
  larger["data"] = {
      {"name", "synthetic"}, {"train_size", 9}, {"test_size", 20}, {"shape", {1, 9, 8}}};
  build(larger);
  Json ghosts = {{"norm", "ghost"}, {"ghost_batch_size", 2}};
  build({}, ghosts);
  Json thirds = penalty(3);  // 4 = 3 + 1 = (2 + 1) + 1
  ExpectError(ErrorKind::kConfig, {"gradient", "1 example"}, [&] { build(thirds, ghosts); });
}

TEST(BatchNormRun, RefusesWhatNeedsSingleExamples) {
  const auto refused = [](const Json& changes, const std::string& path) {
    const auto config = ReadRunConfig(NormedConfig(changes));
    ExpectError(ErrorKind::kConfig, {path, "single examples", "batch normalization", "skipinit"},
                [&] { const Experiment experiment(*config); });
  };
  refused({{"gradient", {{"name", "winsorized"}, {"percentile", 2}}}}, "gradient: ");
  refused({{"gradient", {{"name", "median_of_means"}, {"groups", 3}}}}, "gradient: ");
  refused({{"update",
            {{"name", "inverse_covariance"},
             {"learning_rate", 0.1},
             {"kind", "diagonal"},
             {"rho", 1}}}},
          "update: ");
  refused({{"probes", {{{"name", "gradient_norm"}}, {{"name", "covariance"}}}}}, "probes[1]: ");
  Json skipinit = NormedConfig({{"probes", {{{"name", "covariance"}}}}});
  skipinit["model"]["norm"] = "skipinit";
  const auto config = ReadRunConfig(skipinit);
  const Experiment allowed(*config);
}

}  // namespace
}  // namespace sgdscope
