#include <gtest/gtest.h>

#include "run/evaluation.h"
#include "run/learned.h"
#include "tests/experiment_helper.h"
#include "tests/tensors.h"

// CPU and CUDA runs of one config start from the same weights and see the same batches.

namespace sgdscope {
namespace {

TEST(Devices, StartFromIdenticalWeightsAndBatches) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ShortRun cpu(SyntheticConfig());
  ShortRun cuda(SyntheticConfig({{"device", "cuda"}}));
  EXPECT_TRUE(SameBits(cpu.stepper().theta(), cuda.stepper().theta().cpu()));
  for (int64_t step = 0; step < 30; ++step) {
    const Batch on_cpu = cpu.experiment().train().Load(cpu.experiment().sampler().At(step));
    const Batch on_cuda = cuda.experiment().train().Load(cuda.experiment().sampler().At(step));
    EXPECT_TRUE(SameBits(on_cpu.inputs, on_cuda.inputs.cpu())) << step;
    EXPECT_TRUE(SameBits(on_cpu.labels, on_cuda.labels.cpu())) << step;
  }
}

TEST(Devices, AugmentAlike) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  Json config = SyntheticConfig();
  config["data"]["shape"] = {3, 8, 7};
  config["data"]["augment"] = Json::object();
  ShortRun cpu(config);
  config["device"] = "cuda";
  ShortRun cuda(config);
  for (int64_t step = 0; step < 30; ++step) {
    const Examples examples = cpu.experiment().sampler().ExamplesAt(step);
    EXPECT_TRUE(SameBits(cuda.experiment().train().Load(examples).inputs.cpu(),
                         cpu.experiment().train().Load(examples).inputs))
        << step;
  }
}

TEST(Devices, HaveTheSameLabelNoiseAndTheSameEvaluationToRounding) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  Json config = SyntheticConfig({{"dtype", "float64"}});
  config["data"]["label_noise"] = {{"fraction", 0.5}};
  ShortRun cpu(config);
  config["device"] = "cuda";
  ShortRun cuda(config);
  const Split& there = cuda.experiment().data().train;
  const Split& here = cpu.experiment().data().train;
  EXPECT_TRUE(there.corrupt.is_cuda());
  EXPECT_TRUE(there.labels.cpu().equal(here.labels));
  EXPECT_TRUE(there.original_labels.cpu().equal(here.original_labels));
  const Sweep a = SweepSplit(cpu.experiment().train(), cpu.stepper().theta(), {}, here.corrupt);
  const Sweep b = SweepSplit(cuda.experiment().train(), cuda.stepper().theta(), {}, there.corrupt);
  EXPECT_TRUE(b.right.cpu().equal(a.right));
  EXPECT_NEAR(b.pristine.loss, a.pristine.loss, 1e-13);
  EXPECT_NEAR(b.corrupt.loss, a.corrupt.loss, 1e-13);
  Learned learned(there);
  learned.Add(3, b.right);
  EXPECT_TRUE(learned.State().at("learned.last_right").cpu().eq(3).equal(a.right));
}

TEST(Devices, ComputeTheSameStepsToRounding) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const Json probes = {
      {{"name", "taylor"}, {"recent_lag", 2}, {"long_ago_lag", 8}, {"hessian", true}},
      {{"name", "gradient_norm"}},
      {{"name", "covariance"}, {"gram", true}},
      {{"name", "coherence"}, {"whole_set", true}}};
  Json config = SyntheticConfig({{"dtype", "float64"}, {"probes", probes}});
  config["data"]["label_noise"] = {{"fraction", 0.5}};
  ShortRun cpu(config);
  config["device"] = "cuda";
  ShortRun cuda(config);
  for (int64_t step = 0; step < 30; ++step) {
    const Stepper::Measured a = cpu.stepper().Step(step);
    const Stepper::Measured b = cuda.stepper().Step(step);
    for (size_t i = 0; i < a.probes.size(); ++i) {
      // Losses are of order 1, and 30 steps of contraction don't amplify their rounding.
      EXPECT_TRUE(a.probes[i].nan_to_num().allclose(b.probes[i].cpu().nan_to_num(), 1e-9, 1e-11))
          << step << " " << a.probes[i] << b.probes[i];
    }
  }
  EXPECT_TRUE(cpu.stepper().theta().allclose(cuda.stepper().theta().cpu(), 1e-9, 1e-11));
}

TEST(Devices, RobustEstimatorsTakeTheSameStepsToRounding) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  Json images = SyntheticConfig({{"dtype", "float64"}, {"batch_size", 45}});
  images["data"]["shape"] = {2, 8, 8};
  images["model"] = {{"name", "convnet"}, {"channels", {4}}, {"hidden", {7}}};
  for (const Json& gradient :
       {Json{{"name", "winsorized"}, {"percentile", 3}},
        Json{{"name", "winsorized"}, {"percentile", 31}, {"method", "linear"}},
        Json{{"name", "trimmed_mean"}, {"fraction", 0.1}}, Json{{"name", "coordinate_median"}},
        Json{{"name", "median_of_means"}, {"groups", 4}}}) {
    for (Json config : {SyntheticConfig({{"dtype", "float64"}}), images}) {
      config["gradient"] = gradient;
      ShortRun cpu(config);
      config["device"] = "cuda";
      ShortRun cuda(config);
      for (int64_t step = 0; step < 30; ++step) {
        cpu.stepper().Step(step);
        cuda.stepper().Step(step);
      }
      EXPECT_TRUE(cpu.stepper().theta().allclose(cuda.stepper().theta().cpu(), 1e-9, 1e-11))
          << gradient;
    }
  }
}

}  // namespace
}  // namespace sgdscope
