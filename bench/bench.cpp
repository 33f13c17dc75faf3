// What a step costs, beside what the processor can multiply and add at most (Peak). For a network
// of seven narrow layers: the plain step. For the two-layer networks of `inherent_noise` figure 3:
// the plain step, the step with the three-batch Taylor probe, the step with separate_updates, exact
// over all weights or sampled, and a row of metrics.csv. For the network of `coherent_gradients`
// figure 4 (784-256-256-256-10): the plain step, the winsorized step by percentile, and what a few
// other robust estimators, per-example numbers, clipping, noise, sharpness-aware steps, explicit
// SGD and the inverse covariance cost; the plain and the winsorized step also with tanh.
// For a convolutional network on images like MNIST's (argument 1: channels) and CIFAR-10's (3): the
// plain, the covariance and the winsorized step. For AlexNet, ResNet-18 and Wide-ResNet 10-1: the
// plain step, with the Taylor probe, and with the gradient-norm penalty. For the network F1 of
// `noise_enhancement` (7 hidden layers of 500): the plain and the noise-enhanced step by batch
// size, and the step with the probe generalization_gap. For fully connected layers of 4096 and for
// six convolutional networks by batch size: the plain step. For the Hessian of 2,000 examples: a
// gradient, a product, and ten steps with the largest eigenvalue; the first two also for ResNet-18
// and 32 images. scripts/bench_peers.py runs this beside PyTorch. SGDSCOPE_BENCH_DEVICE=cuda
// measures on a GPU, OMP_NUM_THREADS=2 with two threads, SGDSCOPE_BENCH_ALLOCATOR=malloc without
// the program's allocator: the ratios in core/allocator.h are medians of pairs of runs with and
// without it, by turns. Images are MNIST's where SGDSCOPE_BENCH_MNIST names the folder of its
// files, else random ones, whose zeros don't lie together.

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "bench/peak.h"
#include "config/json.h"
#include "core/blas.h"
#include "core/csv.h"
#include "run/experiment.h"
#include "run/metrics_log.h"
#include "run/run_config.h"
#include "run/stepper.h"

namespace {

using namespace sgdscope;  // NOLINT: this file is a program

std::string Device() {
  const char* device = std::getenv("SGDSCOPE_BENCH_DEVICE");
  return device == nullptr ? "cpu" : device;
}

bool MallocAlone() {
  const char* allocator = std::getenv("SGDSCOPE_BENCH_ALLOCATOR");
  return allocator != nullptr && std::string(allocator) == "malloc";
}

int64_t Threads() {
  const char* threads = std::getenv("OMP_NUM_THREADS");
  return threads == nullptr ? 1 : std::stoll(threads);
}

/// Random images of `shape`, of whose pixels the share `ink` is not zero.
LoadedData MakeRandomImages(int64_t n, std::vector<int64_t> shape, double ink) {
  at::manual_seed(1);
  const auto split = [&](int64_t size) {
    std::vector<int64_t> sizes = {size};
    sizes.insert(sizes.end(), shape.begin(), shape.end());
    return Split{at::randint(1, 256, sizes, at::kByte).mul(at::rand(sizes).lt(ink).to(at::kByte)),
                 at::randint(10, {size}, at::kLong)};
  };
  return {split(n), split(100), {}};
}

const char* MnistFolder() { return std::getenv("SGDSCOPE_BENCH_MNIST"); }

LoadedData Images(const Dataset& mnist) {
  static const LoadedData data =
      MnistFolder() == nullptr ? MakeRandomImages(60000, {1, 28, 28}, 0.19) : mnist.Load(0);
  return data;
}

LoadedData ColourImages() {
  static const LoadedData data = MakeRandomImages(16000, {3, 32, 32}, 1);
  return data;
}

const Json kMean = {{"name", "mean"}};
const Json kSgd = {{"name", "sgd"}, {"learning_rate", 0.1}};

struct Setup {
  Setup(const Json& hidden, const Json& probes, const Json& gradient = kMean)
      : Setup({{"name", "mlp"}, {"hidden", hidden}}, "mnist", probes, gradient) {}

  Setup(const Json& model, const std::string& data, const Json& probes, const Json& gradient,
        int64_t batch_size = 100, const Json& update = kSgd) {
    Json json = ParseConfig(R"({
      "name": "bench", "steps": 1000000000,
      "data": {"name": "mnist", "label_noise": {"fraction": 0.5}}
    })",
                            "bench");
    json["device"] = Device();
    json["threads"] = Threads();
    json["batch_size"] = batch_size;
    json["data"]["name"] = data;
    if (data == "mnist" && MnistFolder() != nullptr) json["data"]["path"] = MnistFolder();
    json["model"] = model;
    json["probes"] = probes;
    json["gradient"] = gradient;
    json["update"] = update;
    config = ReadRunConfig(json);
    experiment.emplace(*config);
    experiment->UseData(data == "mnist" ? Images(*config->data) : ColourImages());
    stepper.emplace(*experiment);
    for (int i = 0; i < 3; ++i) stepper->Step(step++);
  }

  /// Waits until the device has finished.
  void Wait() const { stepper->theta()[0].item<float>(); }

  std::unique_ptr<RunConfig> config;
  std::optional<Experiment> experiment;
  std::optional<Stepper> stepper;
  int64_t step = 300;  // from here on every lag is filled
};

const Json kTaylor = {{{"name", "taylor"}, {"recent_lag", 10}, {"long_ago_lag", 300}}};
const Json kExact = {{{"name", "separate_updates"}, {"every", 1}, {"exact_up_to", 1e9}}};
const Json kSampled = {{{"name", "separate_updates"}, {"every", 1}, {"exact_up_to", 100}}};

void TimeSteps(benchmark::State& state, Setup setup) {
  setup.Wait();
  for (auto _ : state) {
    benchmark::DoNotOptimize(setup.stepper->Step(setup.step++));
    if (state.iterations() == state.max_iterations) setup.Wait();
  }
  setup.Wait();
}

Json OneLayer(const benchmark::State& state) { return Json::array({state.range(0)}); }
const Json kThreeLayers = {256, 256, 256};

void PlainStep(benchmark::State& state) { TimeSteps(state, {OneLayer(state), Json::array()}); }
void TaylorStep(benchmark::State& state) { TimeSteps(state, {OneLayer(state), kTaylor}); }
void SeparateExactStep(benchmark::State& state) { TimeSteps(state, {OneLayer(state), kExact}); }
void SeparateSampledStep(benchmark::State& state) { TimeSteps(state, {OneLayer(state), kSampled}); }

Json Winsorized(int64_t percentile) { return {{"name", "winsorized"}, {"percentile", percentile}}; }

/// Seven hidden layers of 64, in batches of 25: little to multiply, many layers.
void PlainStep7x64(benchmark::State& state) {
  const Json narrow = {{"name", "mlp"}, {"hidden", std::vector<int>(7, 64)}};
  TimeSteps(state, {narrow, "mnist", Json::array(), kMean, 25});
}
void PlainStep3x4096(benchmark::State& state) {
  const Json wide = {{"name", "mlp"}, {"hidden", {4096, 4096, 4096}}};
  TimeSteps(state, {wide, "mnist", Json::array(), kMean, 16});
}
void PlainStep3x256(benchmark::State& state) { TimeSteps(state, {kThreeLayers, Json::array()}); }
void WinsorizedStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, Json::array(), Winsorized(state.range(0))});
}
void MedianOfMeansStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, Json::array(), {{"name", "median_of_means"}}});
}
void SignSumStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, Json::array(), {{"name", "sign_sum"}}});
}
void EstimatedStep3x256(benchmark::State& state, const Json& gradient) {
  TimeSteps(state, {kThreeLayers, Json::array(), gradient});
}
/// The argument: whether with noise.
void ClippedStep3x256(benchmark::State& state) {
  EstimatedStep3x256(state,
                     {{"name", "clipped"}, {"norm", 1}, {"noise_multiplier", state.range(0)}});
}
void GaussianNoiseStep3x256(benchmark::State& state) {
  EstimatedStep3x256(state, {{"name", "gaussian_noise"}});
}
void IsotropicNoiseStep3x256(benchmark::State& state) {
  EstimatedStep3x256(state, {{"name", "isotropic_noise"}});
}
/// The argument: examples of a micro-batch.
void SamStep3x256(benchmark::State& state) {
  EstimatedStep3x256(state, {{"name", "sam"}, {"rho", 0.05}, {"micro_batch_size", state.range(0)}});
}
void AsamStep3x256(benchmark::State& state) {
  EstimatedStep3x256(state, {{"name", "asam"}, {"rho", 0.5}});
}
/// The argument: whether with the Gram matrix.
void CovarianceStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, {{{"name", "covariance"}, {"gram", state.range(0) == 1}}}});
}
void CoherenceStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, {{{"name", "coherence"}}}});
}
/// The argument: how many steps of SGD a step stands for.
void ExplicitSgdStep3x256(benchmark::State& state) {
  TimeSteps(state,
            {kThreeLayers,
             Json::array(),
             {{"name", "explicit_sgd"}, {"updates", state.range(0)}, {"learning_rate", 0.1}}});
}
/// The arguments: the rank, 0 for the diagonal, and the steps from refresh to refresh.
void InverseCovarianceStep3x256(benchmark::State& state) {
  Json update = {{"name", "inverse_covariance"},
                 {"learning_rate", 0.1},
                 {"kind", state.range(0) == 0 ? "diagonal" : "low_rank"},
                 {"rho", 0.01},
                 {"refresh", state.range(1)}};
  if (state.range(0) > 0) update["rank"] = state.range(0);
  const Json model = {{"name", "mlp"}, {"hidden", kThreeLayers}};
  TimeSteps(state, {model, "mnist", Json::array(), kMean, 100, update});
}

/// A batch of 128 of CIFAR's images, gathered and normalized. The argument: whether augmented.
void LoadImages(benchmark::State& state) {
  constexpr int64_t kImages = 10000;
  at::manual_seed(1);
  Json json = ParseConfig(R"({
    "name": "bench", "steps": 1000000000, "batch_size": 128, "data": {"name": "cifar10"},
    "sampler": {"name": "replacement"}, "model": {"name": "mlp", "hidden": []},
    "update": {"name": "sgd", "learning_rate": 0.1}})",
                          "bench");
  json["device"] = Device();
  if (state.range(0) == 1) json["data"]["augment"] = Json::object();
  const auto config = ReadRunConfig(json);
  Experiment experiment(*config);
  const Split images{at::randint(256, {kImages, 3, 32, 32}, at::kByte),
                     at::randint(10, {kImages}, at::kLong)};
  experiment.UseData({images, images, {}});
  Batch batch;
  for (int64_t step = 0; auto _ : state) {
    batch = experiment.train().Load(experiment.sampler().ExamplesAt(step++));
    if (state.iterations() == state.max_iterations) batch.inputs.sum().item<float>();
  }
  batch.inputs.sum().item<float>();
}

const Json kTanh = {{"name", "mlp"}, {"hidden", kThreeLayers}, {"activation", "tanh"}};
void PlainStepTanh3x256(benchmark::State& state) {
  TimeSteps(state, {kTanh, "mnist", Json::array(), kMean});
}
void WinsorizedStepTanh3x256(benchmark::State& state) {
  TimeSteps(state, {kTanh, "mnist", Json::array(), Winsorized(state.range(0))});
}

const Json kConvNet = {{"name", "convnet"}, {"channels", {16, 32}}, {"hidden", {64}}};
std::string ImagesOf(const benchmark::State& state) {
  return state.range(0) == 1 ? "mnist" : "cifar10";
}
void PlainStepConvNet(benchmark::State& state) {
  TimeSteps(state, {kConvNet, ImagesOf(state), Json::array(), kMean});
}
void CovarianceStepConvNet(benchmark::State& state) {
  TimeSteps(state, {kConvNet, ImagesOf(state), {{{"name", "covariance"}}}, kMean});
}
void WinsorizedStepConvNet(benchmark::State& state) {
  TimeSteps(state, {kConvNet, ImagesOf(state), Json::array(), Winsorized(2)});
}

/// The image networks of `inherent_noise` and `implicit_regularization`, in batches of 32.
constexpr int64_t kImageBatch = 32;
const Json kWideResNet = {
    {"name", "wide_resnet"}, {"depth", 10}, {"width", 1}, {"norm", "skipinit"}};
Json Penalty(const std::string& method) {
  return {{"name", "gradient_norm_penalty"}, {"lambda", 0.01}, {"method", method}};
}
void ImageStep(benchmark::State& state, const Json& model, const Json& probes,
               const Json& gradient) {
  TimeSteps(state, {model, "cifar10", probes, gradient, kImageBatch});
}
void PlainStepAlexNet(benchmark::State& state) {
  ImageStep(state, {{"name", "alexnet"}}, Json::array(), kMean);
}
void PlainStepResNet18(benchmark::State& state) {
  ImageStep(state, {{"name", "resnet18"}}, Json::array(), kMean);
}
void TaylorStepResNet18(benchmark::State& state) {
  ImageStep(state, {{"name", "resnet18"}}, kTaylor, kMean);
}
void PlainStepWideResNet(benchmark::State& state) {
  ImageStep(state, kWideResNet, Json::array(), kMean);
}
void PenaltyStepWideResNet(benchmark::State& state) {
  ImageStep(state, kWideResNet, Json::array(), Penalty("exact"));
}
void PenaltyDifferenceStepWideResNet(benchmark::State& state) {
  ImageStep(state, kWideResNet, Json::array(), Penalty("finite_difference"));
}

/// The networks of bench_peers.py --work plain. The argument: the batch size.
const Json kSmallConvNet = {{"name", "convnet"}, {"channels", {8, 16}}, {"hidden", {64}}};
const Json kC1 = {{"name", "vgg"},
                  {"depths", {3, 3, 3}},
                  {"channels", {64, 128, 256}},
                  {"norm", "ghost"},
                  {"ghost_batch_size", 100}};
const Json kNarrowWideResNet = {
    {"name", "wide_resnet"}, {"depth", 10}, {"width", 1}, {"channels", 8}, {"norm", "skipinit"}};
void ImagePlainStep(benchmark::State& state, Json model, const std::string& data) {
  if (model.contains("ghost_batch_size") && state.range(0) < model["ghost_batch_size"]) {
    model["norm"] = "batch";
    model.erase("ghost_batch_size");
  }
  TimeSteps(state, {model, data, Json::array(), kMean, state.range(0)});
}

/// The network F1 of `noise_enhancement`. The argument: the batch size.
void StepF1(benchmark::State& state, const Json& gradient, const Json& probes = Json::array()) {
  const Json f1 = {{"name", "mlp"}, {"hidden", std::vector<int>(7, 500)}};
  TimeSteps(state, {f1, "mnist", probes, gradient, state.range(0)});
}
void PlainStepF1(benchmark::State& state) { StepF1(state, kMean); }
void NoiseEnhancedStepF1(benchmark::State& state) {
  StepF1(state, {{"name", "noise_enhanced"}, {"alpha", 2}});
}
void GapStepF1(benchmark::State& state) {
  StepF1(state, kMean, {{{"name", "generalization_gap"}}});
}
void GapCovarianceStepF1(benchmark::State& state) {
  StepF1(state, kMean, {{{"name", "generalization_gap"}, {"covariance", true}}});
}

/// What `stability` costs with one fresh batch, beside the sweeps of `taylor`, and beside both.
const Json kSecondOrder = {
    {"name", "taylor"}, {"recent_lag", 10}, {"long_ago_lag", 300}, {"hessian", true}};
const Json kStability = {{"name", "stability"}, {"batches", 1}};
const Json kStabilityWithUpdating = {
    {"name", "stability"}, {"batches", 1}, {"with_updating", true}};
void SecondOrderStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, Json::array({kSecondOrder})});
}
void StabilityStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, Json::array({kStability})});
}
void StabilityBesideTaylorStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, Json::array({kSecondOrder, kStability})});
}

void UpdatingStabilityBesideTaylorStep3x256(benchmark::State& state) {
  TimeSteps(state, {kThreeLayers, Json::array({kSecondOrder, kStabilityWithUpdating})});
}

/// A step with the sharpness of 100 batches. The argument: their size.
void BatchSharpness3x256(benchmark::State& state) {
  const Json model = {{"name", "mlp"}, {"hidden", kThreeLayers}};
  TimeSteps(state, {model, "mnist", Json::array({{{"name", "stability"}, {"batches", 100}}}), kMean,
                    state.range(0)});
}

/// The largest eigenvalue of the Hessian of 2,000 examples, followed from step to step.
void LargestEigenvalueStep3x256(benchmark::State& state) {
  const Json probe = {{"name", "hessian"}, {"every", 1}, {"examples", 2000}, {"piece_size", 500}};
  TimeSteps(state, {kThreeLayers, Json::array({probe})});
}

/// The mean gradient of some examples, and a product with their Hessian once that is known.
struct FixedBatch {
  FixedBatch(const Json& model, const std::string& data, int64_t size)
      : setup(model, data, Json::array(), kMean),
        batch(oracle().Load(at::arange(size, at::kLong))) {}

  const Oracle& oracle() const { return setup.experiment->train(); }
  const at::Tensor& theta() const { return setup.stepper->theta(); }

  Setup setup;
  Batch batch;
};
void Gradient(benchmark::State& state, const FixedBatch& of) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(of.oracle().Evaluate(of.batch, of.theta()).Mean());
  }
  of.setup.Wait();
}
void HessianProduct(benchmark::State& state, const FixedBatch& of) {
  const Gradients evaluated = of.oracle().Evaluate(of.batch, of.theta(), /*keep_graph=*/true);
  const at::Tensor v = of.theta().sign();
  const auto product = [&] {
    return of.oracle().HessianVectorProduct(evaluated, v, /*again=*/true);
  };
  benchmark::DoNotOptimize(product());  // the first one makes the library's convolutions, too
  for (auto _ : state) benchmark::DoNotOptimize(product());
  of.setup.Wait();
}
FixedBatch Of3x256() { return {{{"name", "mlp"}, {"hidden", kThreeLayers}}, "mnist", 2000}; }
FixedBatch OfResNet18() { return {{{"name", "resnet18"}}, "cifar10", kImageBatch}; }
void Gradient3x256(benchmark::State& state) { Gradient(state, Of3x256()); }
void HessianProduct3x256(benchmark::State& state) { HessianProduct(state, Of3x256()); }
void GradientResNet18(benchmark::State& state) { Gradient(state, OfResNet18()); }
void HessianProductResNet18(benchmark::State& state) { HessianProduct(state, OfResNet18()); }

/// Ten steps, the first of which finds the largest eigenvalue of 2,000 examples to about 1e-3 (the
/// square of the residual's tolerance), followed from the last time on, and in one of four looks for
/// what overtakes; after 200 steps of training.
void TenStepsLargestEigenvalue3x256(benchmark::State& state) {
  const Json probe = {{"name", "hessian"},  {"every", 10},       {"examples", 2000},
                      {"piece_size", 2000}, {"tolerance", 0.03}, {"look_out_every", 4}};
  Setup trained(kThreeLayers, Json::array());
  for (int i = 0; i < 200; ++i) trained.stepper->Step(trained.step++);
  Setup setup(kThreeLayers, Json::array({probe}));
  setup.stepper->State().at("theta").copy_(trained.stepper->theta());
  setup.step = trained.step / 10 * 10;
  const auto steps = [&] {
    for (int i = 0; i < 10; ++i) setup.stepper->Step(setup.step++);
  };
  steps();
  for (auto _ : state) steps();
  setup.Wait();
}

/// 2^26 multiplications and additions in registers, shared out to the threads: what is possible.
void Peak(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(Threads()));
  for (auto _ : state) {
    at::parallel_for(0, Threads(), 1, [](int64_t begin, int64_t end) {
      benchmark::DoNotOptimize(
          bench::MultiplyAndAdd((int64_t{1} << 26) / Threads() * (end - begin)));
    });
  }
}

/// A row with the Taylor probe's 18 values: buffered, fetched, formatted, written.
void CsvRow(benchmark::State& state) {
  Setup setup(OneLayer(state), kTaylor);
  const auto path = std::filesystem::temp_directory_path() / "sgdscope_bench.csv";
  CsvWriter csv(path, MetricsLog::Columns(*setup.experiment));
  MetricsLog log(*setup.experiment, csv);
  const Stepper::Measured measured = setup.stepper->Step(setup.step);
  for (auto _ : state) log.Add(setup.step++, measured);
  log.Flush();
  std::filesystem::remove(path);
}

/// Both clocks; the processor's counts all threads.
void OfProcess(benchmark::internal::Benchmark* benchmark) {
  benchmark->Unit(benchmark::kMicrosecond)->MeasureProcessCPUTime()->UseRealTime();
}
void OfProcessByBatchSize(benchmark::internal::Benchmark* benchmark) {
  OfProcess(benchmark->Arg(16)->Arg(100)->Arg(1000));
}

BENCHMARK(PlainStep)->Arg(64)->Arg(2000)->Arg(8000)->Apply(OfProcess);
BENCHMARK(TaylorStep)->Arg(64)->Arg(2000)->Arg(8000)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(SeparateExactStep)->Arg(64)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(SeparateSampledStep)
    ->Arg(64)
    ->Arg(2000)
    ->Arg(8000)
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK(Peak)->Apply(OfProcess);
BENCHMARK(PlainStep7x64)->Apply(OfProcess);
BENCHMARK(PlainStep3x256)->Apply(OfProcess);
BENCHMARK(PlainStep3x4096)->Apply(OfProcess);
BENCHMARK(WinsorizedStep3x256)
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->Arg(8)
    ->Arg(25)
    ->Arg(50)
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK(MedianOfMeansStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(SignSumStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(ClippedStep3x256)->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(GaussianNoiseStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(IsotropicNoiseStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(SamStep3x256)->Arg(100)->Arg(25)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(AsamStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(CovarianceStep3x256)->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(CoherenceStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(ExplicitSgdStep3x256)->Arg(2)->Arg(10)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(InverseCovarianceStep3x256)
    ->Args({0, 1})
    ->Args({10, 1})
    ->Args({10, 10})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK(LoadImages)->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PlainStepTanh3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(WinsorizedStepTanh3x256)->Arg(2)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PlainStepConvNet)->Arg(1)->Arg(3)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(CovarianceStepConvNet)->Arg(1)->Arg(3)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(WinsorizedStepConvNet)->Arg(1)->Arg(3)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PlainStepAlexNet)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PlainStepResNet18)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(TaylorStepResNet18)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PlainStepWideResNet)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PenaltyStepWideResNet)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(PenaltyDifferenceStepWideResNet)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK_CAPTURE(ImagePlainStep, ConvNet, kSmallConvNet, "mnist")->Apply(OfProcessByBatchSize);
BENCHMARK_CAPTURE(ImagePlainStep, C1, kC1, "cifar10")->Apply(OfProcessByBatchSize);
BENCHMARK_CAPTURE(ImagePlainStep, WideResNet, kWideResNet, "cifar10")->Apply(OfProcessByBatchSize);
BENCHMARK_CAPTURE(ImagePlainStep, WideResNet8, kNarrowWideResNet, "cifar10")
    ->Apply(OfProcessByBatchSize);
BENCHMARK_CAPTURE(ImagePlainStep, ResNet18, {{"name", "resnet18"}}, "cifar10")
    ->Apply(OfProcessByBatchSize);
BENCHMARK_CAPTURE(ImagePlainStep, AlexNet, {{"name", "alexnet"}}, "cifar10")
    ->Apply(OfProcessByBatchSize);
BENCHMARK(PlainStepF1)->Arg(100)->Arg(200)->Arg(1000)->Apply(OfProcess);
BENCHMARK(NoiseEnhancedStepF1)->Arg(100)->Arg(1000)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(GapStepF1)->Arg(100)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(GapCovarianceStepF1)->Arg(100)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(SecondOrderStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(StabilityStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(StabilityBesideTaylorStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(UpdatingStabilityBesideTaylorStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(BatchSharpness3x256)->Arg(8)->Arg(100)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(LargestEigenvalueStep3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(Gradient3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(HessianProduct3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(GradientResNet18)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(HessianProductResNet18)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(TenStepsLargestEigenvalue3x256)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(CsvRow)->Arg(64)->Arg(2000)->Arg(8000)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  RestartWithFastBlas(argv);
  // Before the program's own, which gives way to what has a higher priority.
  if (MallocAlone()) c10::SetCPUAllocator(c10::GetDefaultCPUAllocator(), /*priority=*/2);
  benchmark::AddCustomContext("device", Device());
  benchmark::AddCustomContext("allocator", MallocAlone() ? "malloc" : "huge pages");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
