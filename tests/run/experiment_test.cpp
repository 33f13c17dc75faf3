#include "run/experiment.h"

#include <gtest/gtest.h>

#include "tests/experiment_helper.h"

namespace sgdscope {
namespace {

Json WithNoise(const Json& changes = Json::object()) {
  Json config = SyntheticConfig(changes);
  config["data"]["label_noise"] = {{"fraction", 0.5}};
  return config;
}

TEST(Experiment, LabelNoiseDependsOnNothingButTheSeedAndTheData) {
  ShortRun plain(WithNoise());
  const Split& train = plain.experiment().data().train;
  ASSERT_GT(train.corrupt.sum().item<int64_t>(), 5);
  for (const Json& changes :
       {Json{{"sampler", {{"name", "replacement"}}}}, Json{{"batch_size", 45}},
        Json{{"probes", {{{"name", "gradient_norm"}}}}}, Json{{"dtype", "float64"}},
        Json{{"model", {{"name", "mlp"}, {"hidden", {3}}}}}, Json{{"steps", 100}}}) {
    ShortRun other(WithNoise(changes));
    EXPECT_TRUE(other.experiment().data().train.labels.equal(train.labels)) << changes;
    EXPECT_TRUE(other.experiment().data().train.corrupt.equal(train.corrupt)) << changes;
  }
  ShortRun other_seed(WithNoise({{"seed", 4}}));
  EXPECT_FALSE(other_seed.experiment().data().train.labels.equal(train.labels));
}

TEST(Experiment, BatchesHaveTheNoisyLabelsAndTheTestSetIsUntouched) {
  ShortRun clean(SyntheticConfig());
  ShortRun noisy(WithNoise());
  const LoadedData& original = clean.experiment().data();
  const LoadedData& data = noisy.experiment().data();
  EXPECT_FALSE(original.train.corrupt.defined());
  EXPECT_TRUE(data.train.inputs.equal(original.train.inputs));
  EXPECT_TRUE(data.train.original_labels.equal(original.train.labels));
  EXPECT_TRUE(data.test.labels.equal(original.test.labels));
  EXPECT_FALSE(data.test.corrupt.defined());
  const at::Tensor all = at::arange(45, at::kLong);
  EXPECT_TRUE(noisy.experiment().train().Load(all).labels.equal(data.train.labels));
}

TEST(Experiment, GivenDataGetsTheNoiseToo) {
  const auto config = ReadRunConfig(WithNoise());
  Experiment experiment(*config);
  const at::Tensor labels = at::arange(45, at::kLong).remainder(4);
  const Split split{at::zeros({45, 2, 3}, at::kDouble), labels};
  experiment.UseData({split, split, {}});
  ShortRun loaded(WithNoise());
  // The labels of the synthetic set are the same ones.
  EXPECT_TRUE(experiment.data().train.labels.equal(loaded.experiment().data().train.labels));
  EXPECT_TRUE(experiment.data().test.labels.equal(labels));
}

}  // namespace
}  // namespace sgdscope
