#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <tuple>

#include "core/csv.h"
#include "core/rng.h"
#include "core/tensor_file.h"
#include "data/distinct.h"
#include "gradients/eigenvalues.h"
#include "nn/activation.h"
#include "nn/conv2d.h"
#include "nn/linear.h"
#include "nn/pool2d.h"
#include "nn/residual.h"
#include "nn/scale.h"
#include "nn/sequence.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr int64_t kExamples = 45;

Json ConfigOf(const Json& probe, const Json& changes) {
  Json config = SyntheticConfig(changes);
  config["dtype"] = "float64";
  config["probes"] = Json::array({probe});
  config["probes"][0]["name"] = "hessian";
  config["probes"][0]["every"] = 1;
  return config;
}

/// All eigenvalues in ascending order, and the trace, of the dense Hessian at the run's theta over
/// the examples `indices`, whose columns are the oracle's products with unit vectors.
at::Tensor DenseHessian(const ShortRun& run, const at::Tensor& theta, const at::Tensor& indices) {
  const Oracle& oracle = run.experiment().train();
  const Gradients evaluated = oracle.Evaluate(oracle.Load(indices), theta, /*keep_graph=*/true);
  const at::Tensor units = at::eye(theta.size(0), theta.options());
  std::vector<at::Tensor> rows;
  for (const at::Tensor& unit : units.unbind(0)) {
    rows.push_back(oracle.HessianVectorProduct(evaluated, unit, /*again=*/true));
  }
  const at::Tensor dense = at::stack(rows);
  return dense.add(dense.t()).div(2);
}

/// Scaled by P^-1/2 on both sides.
at::Tensor InMetric(const at::Tensor& dense, const at::Tensor& metric) {
  const at::Tensor root = metric.rsqrt();
  return dense.mul(root).mul(root.unsqueeze(1));
}

void ExpectExtremes(const std::map<std::string, double>& values, const at::Tensor& dense,
                    int64_t largest, int64_t smallest, const std::string& what) {
  const Vector all = ToVector(std::get<0>(at::linalg_eigh(dense)));
  const double scale = std::max(std::abs(all.front()), std::abs(all.back()));
  for (int64_t i = 1; i <= largest; ++i) {
    const std::string number = std::to_string(i);
    EXPECT_NEAR(values.at("eigenvalue" + number), all[all.size() - i], 1e-8 * scale)
        << what << number;
    EXPECT_LE(values.at("residual" + number), 1.0001e-9 * scale) << what << number;
  }
  for (int64_t i = 1; i <= smallest; ++i) {
    const std::string number = std::to_string(i);
    EXPECT_NEAR(values.at("smallest" + number), all[i - 1], 1e-8 * scale) << what << number;
    EXPECT_LE(values.at("smallest_residual" + number), 1.0001e-9 * scale) << what << number;
  }
}

Json Precise(const Json& changes) {
  Json probe = {{"largest", 3}, {"smallest", 2}, {"tolerance", 1e-9}, {"max_products", 100000}};
  for (const auto& [key, value] : changes.items()) probe[key] = value;
  return probe;
}

/// From one step to the next, warm starts included.
TEST(HessianProbe, AgreesWithADenseSolverStepAfterStep) {
  const Json images = {{"name", "synthetic"},
                       {"train_size", kExamples},
                       {"test_size", 5},
                       {"shape", {1, 8, 8}},
                       {"classes", 4}};
  const std::vector<Json> settings = {
      {{"model", {{"name", "mlp"}, {"hidden", {12, 9}}, {"activation", "tanh"}}}},
      {{"model", {{"name", "mlp"}, {"hidden", {16, 10}}}}, {"loss", "mean_squared_error"}},
      {{"data", images}, {"model", {{"name", "convnet"}, {"channels", {4}}, {"hidden", {6}}}}}};
  for (const Json& setting : settings) {
    ShortRun run(ConfigOf(Precise({{"piece_size", 20}}), setting));  // 20, 20 and 5 examples
    for (int64_t step = 0; step < 2; ++step) {
      const at::Tensor theta = run.stepper().theta().clone();
      const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
      const at::Tensor dense = DenseHessian(run, theta, at::arange(kExamples, at::kLong));
      ExpectExtremes(values, dense, 3, 2, setting.dump() + ", step " + std::to_string(step) + ": ");
    }
  }
}

/// Fully connected, convolutional, and residual with SkipInit, each of 1,300 to 2,000 parameters.
TEST(HessianProbeSlow, AgreesWithADenseSolverOnLargerNetworks) {
  const Json images = {{"name", "synthetic"},
                       {"train_size", kExamples},
                       {"test_size", 5},
                       {"shape", {2, 8, 8}},
                       {"classes", 4}};
  const std::vector<Json> models = {{{"name", "mlp"}, {"hidden", {12, 16}}},
                                    {{"name", "convnet"}, {"channels", {6, 8}}, {"hidden", {32}}},
                                    {{"name", "wide_resnet"},
                                     {"depth", 10},
                                     {"width", 1},
                                     {"channels", 2},
                                     {"norm", "skipinit"}}};
  for (const Json& model : models) {
    ShortRun run(ConfigOf(Precise({{"examples", 20}}), {{"data", images}, {"model", model}}));
    Stream stream(3, "hessian.examples");
    const at::Tensor part = DrawDistinct(stream, 20, kExamples);
    run.stepper().Step(0);
    const at::Tensor theta = run.stepper().theta().clone();
    EXPECT_GE(theta.size(0), 1300) << model;
    EXPECT_LE(theta.size(0), 2000) << model;
    const auto values = ByName(run.probe(0), run.stepper().Step(1).probes[0]);
    ExpectExtremes(values, DenseHessian(run, theta, part), 3, 2, model.dump());
  }
}

TEST(HessianProbe, IsOfTheBatchOrOfAFixedPartIfAsked) {
  ShortRun of_batch(ConfigOf(Precise({{"over", "batch"}}), {}));
  ShortRun of_part(ConfigOf(Precise({{"examples", 10}, {"piece_size", 4}}), {}));
  Stream stream(3, "hessian.examples");
  const at::Tensor part = DrawDistinct(stream, 10, kExamples);
  for (int64_t step = 0; step < 2; ++step) {
    const at::Tensor theta = of_batch.stepper().theta().clone();
    const at::Tensor batch = of_batch.experiment().sampler().At(step);
    const auto values = ByName(of_batch.probe(0), of_batch.stepper().Step(step).probes[0]);
    ExpectExtremes(values, DenseHessian(of_batch, theta, batch), 3, 2, "batch: ");
    const auto others = ByName(of_part.probe(0), of_part.stepper().Step(step).probes[0]);
    ExpectExtremes(others, DenseHessian(of_part, theta, part), 3, 2, "part: ");
  }
}

TEST(HessianProbe, IsInAdamsMetricIfPreconditioned) {
  ShortRun run(ConfigOf(Precise({{"preconditioned", true}}),
                        {{"update", {{"name", "adam"}, {"learning_rate", 0.01}}}}));
  for (int64_t step = 0; step < 3; ++step) {
    const at::Tensor theta = run.stepper().theta().clone();
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    const double started = 1 - std::pow(0.999, static_cast<double>(step + 1));
    // A weight whose gradients were all 0 has the metric 1e-8, and 0 for its row of the Hessian.
    const at::Tensor metric =
        run.config().update->State().at("square").div(started).sqrt().add(1e-8);
    const at::Tensor dense = DenseHessian(run, theta, at::arange(kExamples, at::kLong));
    ExpectExtremes(values, InMetric(dense, metric), 3, 2, "step " + std::to_string(step) + ": ");
  }
}

/// The Hessian of a linear model under mean squared error: 2 / classes times the second moments of
/// (x, 1), once for each class.
TEST(HessianProbe, OfALinearModelHasTheSpectrumOfTheInputs) {
  const Json linear = {{"model", {{"name", "mlp"}, {"hidden", Json::array()}}},
                       {"loss", "mean_squared_error"}};
  for (const std::string matrix : {"hessian", "gauss_newton"}) {
    ShortRun run(
        ConfigOf(Precise({{"largest", 6}, {"matrix", matrix}, {"trace_samples", 500}}), linear));
    const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
    const at::Tensor x = run.experiment().train().Load(at::arange(kExamples, at::kLong)).inputs;
    const at::Tensor rows = at::cat({x.flatten(1), at::ones({kExamples, 1}, x.options())}, 1);
    const at::Tensor moments = at::mm(rows.t(), rows).mul(2.0 / 4 / kExamples);
    const Vector all = ToVector(std::get<0>(at::linalg_eigh(moments)));
    for (int64_t i = 1; i <= 6; ++i) {
      EXPECT_NEAR(values.at("eigenvalue" + std::to_string(i)), all[all.size() - (i + 3) / 4], 1e-12)
          << i;
    }
    EXPECT_NEAR(values.at("smallest1"), all[0], 1e-12);
    const double trace = 4 * moments.trace().item<double>();
    EXPECT_GT(values.at("trace_error"), 0);
    EXPECT_NEAR(values.at("trace"), trace, 4 * values.at("trace_error"));  // of fixed signs
  }
}

/// Where the pairs sought are all that there are, nothing is left to sample.
TEST(HessianProbe, TraceIsExactOnTheSpaceFound) {
  const Json tiny = {{"data",
                      {{"name", "synthetic"},
                       {"train_size", kExamples},
                       {"test_size", 5},
                       {"shape", {1}},
                       {"classes", 2}}},
                     {"model", {{"name", "mlp"}, {"hidden", {2}}, {"activation", "tanh"}}}};
  ShortRun run(ConfigOf(Precise({{"largest", 10}, {"smallest", 0}, {"trace_samples", 2}}), tiny));
  const at::Tensor theta = run.stepper().theta().clone();
  const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  const at::Tensor dense = DenseHessian(run, theta, at::arange(kExamples, at::kLong));
  ASSERT_EQ(theta.size(0), 10);
  EXPECT_NEAR(values.at("trace"), dense.trace().item<double>(), 1e-12);
  EXPECT_LE(values.at("trace_error"), 1e-12);
}

/// Rows of the file by the definition, with the file's own vectors drawn again.
TEST(HessianProbe, DensityIsWrittenAndItsMomentsAreTraces) {
  const TempFolder folder;
  const int64_t samples = 40;
  ShortRun run(ConfigOf({{"density_samples", samples}, {"density_steps", 12}, {"piece_size", 20}},
                        {{"output", folder.path().string()}}));
  const at::Tensor theta = run.stepper().theta().clone();
  const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  const at::Tensor dense = DenseHessian(run, theta, at::arange(kExamples, at::kLong));
  const auto tensors = ReadTensorFile(folder / "snapshots/step_0.hessian.safetensors").tensors;
  const at::Tensor& nodes = tensors.at("nodes");
  const at::Tensor& weights = tensors.at("weights");
  ASSERT_EQ(nodes.sizes(), at::IntArrayRef({samples, 12}));
  ASSERT_EQ(weights.sizes(), at::IntArrayRef({samples, 12}));
  const auto p = static_cast<double>(theta.size(0));
  at::Tensor power = at::eye(theta.size(0), at::kDouble);
  for (int k = 0; k < 5; ++k) {
    const at::Tensor moments = weights.mul(nodes.pow(k)).sum(1);  // [samples]
    const double error = moments.std(true).item<double>() / std::sqrt(samples);
    const double expected = power.trace().item<double>() / p;
    EXPECT_NEAR(moments.mean().item<double>(), expected, 3 * error + 1e-12) << k;
    const std::string name = k == 1 ? "density_mean" : "density_square";
    if (k == 1 || k == 2) {
      EXPECT_NEAR(values.at(name), moments.mean().item<double>(), 1e-12);
      EXPECT_NEAR(values.at(name + "_error"), error, 1e-12);
      EXPECT_LT(error, 0.3 * expected);
    }
    power = at::mm(power, dense);
  }
}

TEST(HessianProbe, CosinesAreThoseOfTheEigenvectors) {
  const Json momentum = {{"name", "sgd"}, {"learning_rate", 0.1}, {"momentum", 0.9}};
  ShortRun run(ConfigOf(Precise({}), {{"update", momentum}}));
  for (int64_t step = 0; step < 3; ++step) {
    const at::Tensor theta = run.stepper().theta().clone();
    const Oracle& oracle = run.experiment().train();
    const at::Tensor g =
        oracle.Evaluate(oracle.Load(run.experiment().sampler().At(step)), theta).Mean();
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    const at::Tensor delta = run.stepper().theta().sub(theta);
    const at::Tensor vectors =
        std::get<1>(at::linalg_eigh(DenseHessian(run, theta, at::arange(kExamples, at::kLong))));
    for (int64_t i = 1; i <= 3; ++i) {
      const at::Tensor x = vectors.select(1, theta.size(0) - i);
      const std::string number = std::to_string(i);
      // Vectors are off by residual / gap.
      EXPECT_NEAR(values.at("gradient_cosine" + number),
                  x.dot(g).abs().div(g.norm()).item<double>(), 1e-6);
      EXPECT_NEAR(values.at("step_cosine" + number),
                  x.dot(delta).abs().div(delta.norm()).item<double>(), 1e-6);
    }
  }
}

/// Against the dense covariance matrix of gradients of single examples: `indices` of each step's.
void ExpectNoise(ShortRun& run, const std::function<at::Tensor(int64_t step)>& indices) {
  const oracle::Mlp mlp{{6, 8, 5, 4}, "relu", true, "cross_entropy"};
  for (int64_t step = 0; step < 2; ++step) {
    const at::Tensor theta = run.stepper().theta().clone();
    const auto examples = ExamplesOf(run, indices(step));
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    std::vector<at::Tensor> gradients;
    for (const oracle::Example& example : examples) {
      gradients.push_back(
          ToTensor(oracle::Gradient(mlp, ToVector(theta), example), {theta.size(0)}));
    }
    const at::Tensor all = at::stack(gradients);
    const at::Tensor noise = all.sub(all.mean(0));
    const at::Tensor sigma = at::mm(noise.t(), noise).div(static_cast<double>(examples.size()) - 1);
    const at::Tensor x =  // [p, 3], the largest last
        std::get<1>(at::linalg_eigh(DenseHessian(run, theta, at::arange(kExamples, at::kLong))))
            .narrow(1, theta.size(0) - 3, 3);
    for (int64_t i = 1; i <= 3; ++i) {
      const at::Tensor along = x.select(1, 3 - i);
      const at::Tensor share = along.dot(at::mv(sigma, along)).div(sigma.trace());
      EXPECT_NEAR(values.at("noise_cosine" + std::to_string(i)), share.sqrt().item<double>(), 1e-6);
    }
    const at::Tensor u = std::get<1>(at::linalg_eigh(sigma)).narrow(1, theta.size(0) - 3, 3);
    EXPECT_NEAR(values.at("noise_overlap"), at::mm(u.t(), x).square().sum().div(3).item<double>(),
                1e-6);
  }
}

TEST(HessianProbe, NoiseIsThatOfSingleExamples) {
  ShortRun run(ConfigOf(Precise({{"noise", true}, {"smallest", 0}}), {{"batch_size", 9}}));
  ExpectNoise(run, [&](int64_t step) { return run.experiment().sampler().At(step); });
}

/// In pieces of two.
TEST(HessianProbe, NoiseIsThatOfAFixedPartIfAsked) {
  ShortRun run(ConfigOf(Precise({{"noise", true}, {"noise_examples", 21}, {"smallest", 0}}),
                        {{"piece_size", 4}}));
  Stream stream(3, "hessian.noise");
  const at::Tensor part = DrawDistinct(stream, 21, kExamples);
  ExpectNoise(run, [&](int64_t) { return part; });
}

TEST(HessianProbe, NoiseOfABatchWithoutEnoughExamplesIsNotMeasured) {
  for (const int64_t size : {1, 3, 4}) {
    ShortRun run(ConfigOf({{"noise", true}, {"largest", 3}}, {{"batch_size", size}}));
    const auto values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
    EXPECT_EQ(IsNotMeasured(values.at("noise_cosine1")), size == 1) << size;
    EXPECT_EQ(IsNotMeasured(values.at("noise_overlap")), size < 4) << size;
  }
}

/// What a warm start is for.
TEST(HessianProbe, LaterMeasurementsTakeFewerProducts) {
  const Json slow = {{"update", {{"name", "sgd"}, {"learning_rate", 0.001}}},
                     {"model", {{"name", "mlp"}, {"hidden", {30, 30}}}}};
  ShortRun run(ConfigOf({{"largest", 2}}, slow));
  std::vector<double> products;
  for (int64_t step = 0; step < 4; ++step) {
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    products.push_back(values.at("products"));
  }
  EXPECT_GE(products[0], 15);
  EXPECT_EQ(products[1], 3);  // one for each vector
  for (size_t step = 2; step < products.size(); ++step) EXPECT_LE(products[step], 5) << step;
}

/// Between two looks for what overtakes, each vector takes one product as long as it is good.
TEST(HessianProbe, VectorsThatAreGoodTakeAProductEach) {
  const Json slow = {{"update", {{"name", "sgd"}, {"learning_rate", 0.01}}},
                     {"model", {{"name", "mlp"}, {"hidden", {12, 9}}, {"activation", "tanh"}}}};
  ShortRun run(ConfigOf(
      {{"largest", 2}, {"smallest", 1}, {"tolerance", 0.02}, {"look_out_every", 3}}, slow));
  for (int64_t step = 0; step < 9; ++step) {
    const at::Tensor theta = run.stepper().theta().clone();
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    if (step % 3 == 0) {
      EXPECT_GE(values.at("products"), 5) << step;
    } else {
      EXPECT_EQ(values.at("products"), 3) << step;
    }
    const Vector all = ToVector(
        std::get<0>(at::linalg_eigh(DenseHessian(run, theta, at::arange(kExamples, at::kLong)))));
    for (const auto& [end, error, exact] :
         {std::tuple("eigenvalue1", "residual1", all[all.size() - 1]),
          std::tuple("eigenvalue2", "residual2", all[all.size() - 2]),
          std::tuple("smallest1", "smallest_residual1", all[0])}) {
      EXPECT_NEAR(values.at(end), exact, values.at(error)) << end << ", step " << step;
      EXPECT_LE(values.at(error), 0.02 * all.back()) << end << ", step " << step;
    }
  }
}

TEST(HessianProbe, RefusesWhatDoesNotExist) {
  const auto refuse = [](const Json& probe, const std::vector<std::string>& parts,
                         const Json& changes = Json::object()) {
    ExpectError(ErrorKind::kConfig, parts, [&] { ShortRun run(ConfigOf(probe, changes)); });
  };
  const Json two = {{"model", {{"name", "mlp"}, {"hidden", Json::array()}, {"bias", false}}}};
  refuse({{"largest", 25}}, {"probes[0].largest", "25", "24"}, two);
  refuse({{"largest", 20}, {"smallest", 5}}, {"probes[0].smallest", "25", "24"}, two);
  ShortRun(ConfigOf({{"largest", 20}, {"smallest", 4}}, two));
  refuse({{"examples", 46}}, {"probes[0].examples", "46", "45"});
  refuse({{"examples", 4}, {"over", "batch"}}, {"probes[0].examples", "4", "over"});
  refuse({{"piece_size", 4}, {"over", "batch"}}, {"probes[0].piece_size", "4", "over"});
  refuse({{"noise", true}, {"noise_examples", 46}}, {"probes[0].noise_examples", "46", "45"});
  refuse({{"noise_examples", 4}}, {"probes[0].noise_examples", "4", "noise"});
  refuse({{"trace_samples", 1}}, {"probes[0].trace_samples", "standard error"});
  refuse({{"density_samples", 1}}, {"probes[0].density_samples", "standard error"});
  refuse({{"density_samples", 2}, {"label", "a/b"}}, {"probes[0].label", "a/b", "slash"});
  refuse({{"preconditioned", true}, {"noise", true}}, {"probes[0].noise", "Euclidean"});
  refuse({{"noise", true}}, {"probes[0].noise", "single examples"},
         {{"data",
           {{"name", "synthetic"},
            {"train_size", kExamples},
            {"test_size", 5},
            {"shape", {1, 8, 8}},
            {"classes", 4}}},
          {"model", {{"name", "vgg"}, {"depths", {1}}, {"channels", {4}}, {"norm", "batch"}}}});
  refuse({{"preconditioned", true}}, {"probes[0].preconditioned"},
         {{"update", {{"name", "sequential"}, {"learning_rate", 0.1}, {"block", "tensor"}}}});
}

/// A residual network with SkipInit's gain, of 700 parameters.
TEST(HessianEigenvalues, OfAResidualNetworkAgreeWithADenseSolver) {
  Network network;
  auto root = std::make_unique<Sequence>();
  root->Append(MakeConv2d(network.table, "in", 1, 6, 3, 1, 1, true));
  for (const char* name : {"a", "b"}) {
    auto branch = std::make_unique<Sequence>();
    branch->Append(MakeActivation("relu"));
    branch->Append(MakeConv2d(network.table, name, 6, 6, 3, 1, 1, true));
    branch->Append(MakeScale(network.table, std::string(name) + ".gain"));
    root->Append(MakeResidual(std::move(branch), nullptr));
  }
  root->Append(MakeGlobalAveragePool());
  root->Append(MakeLinear(network.table, "out", 6, 4, true));
  network.root = std::move(root);
  const int64_t p = network.table.size();
  Stream stream(75, "residual");
  const at::Tensor theta = RandomTensor(stream, {p}).mul(0.3);
  const Split split{RandomTensor(stream, {9, 1, 5, 5}), at::arange(9, at::kLong).remainder(4)};
  const auto loss = Registry<Loss>::entries().at("cross_entropy").make();
  const Normalizer normalizer("none", split, at::kDouble);
  const Oracle oracle(network, *loss, split, normalizer);
  const Gradients evaluated =
      oracle.Evaluate(oracle.Load(at::arange(9, at::kLong)), theta, /*keep_graph=*/true);
  const SymmetricMatrix hessian = [&](const at::Tensor& rows) {
    std::vector<at::Tensor> products;
    for (const at::Tensor& row : rows.unbind(0)) {
      products.push_back(oracle.HessianVectorProduct(evaluated, row, /*again=*/true));
    }
    return at::stack(products);
  };
  const Vector all = ToVector(std::get<0>(at::linalg_eigh(hessian(at::eye(p, at::kDouble)))));
  const EigenSearch search{4, 2, 1e-9, 100000};
  const Eigenpairs found =
      FindEigenpairs(hessian, RandomTensor(stream, {search.Rows(p), p}), search);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(found.values[static_cast<int64_t>(i)].item<double>(), all[all.size() - 1 - i],
                1e-8 * all.back());
  }
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(found.values[static_cast<int64_t>(5 + i)].item<double>(), all[i],
                1e-8 * all.back());
  }
}

}  // namespace
}  // namespace sgdscope
