#include "run/evaluation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tests/experiment_helper.h"

namespace sgdscope {
namespace {

/// 2,300 training examples, that is three chunks, the last of them not full.
Json ManyExamples(const Json& label_noise) {
  Json config = SyntheticConfig({{"dtype", "float64"}, {"batch_size", 100}});
  config["data"]["train_size"] = 2300;
  config["data"]["test_size"] = 40;
  if (!label_noise.is_null()) config["data"]["label_noise"] = label_noise;
  return config;
}

/// The same by single examples, summed one by one.
struct SlowScore {
  double loss = 0;
  double right = 0;
  double examples = 0;
  void Add(double example_loss, bool is_right) {
    loss += example_loss;
    right += is_right ? 1 : 0;
    examples += 1;
  }
};
struct SlowSweep {
  SlowScore all;
  SlowScore pristine;
  SlowScore corrupt;
  std::vector<bool> right;
};

SlowSweep SlowlySweep(const Oracle& oracle, const at::Tensor& theta, const at::Tensor& corrupt) {
  SlowSweep sweep;
  for (int64_t i = 0; i < oracle.size(); ++i) {
    const Batch example = oracle.Load(at::tensor({i}, at::kLong));
    const oracle::Vector z = ToVector(oracle.Logits(example, theta));
    const auto largest = std::ranges::max_element(z) - z.begin();
    const bool right = largest == example.labels.item<int64_t>();
    const auto loss = oracle.Losses(example, theta).item<double>();
    sweep.all.Add(loss, right);
    sweep.right.push_back(right);
    if (corrupt.defined())
      (corrupt[i].item<bool>() ? sweep.corrupt : sweep.pristine).Add(loss, right);
  }
  return sweep;
}

void ExpectScore(const SplitScore& fast, const SlowScore& slow) {
  if (slow.examples == 0) {
    EXPECT_TRUE(IsNotMeasured(fast.loss));
    EXPECT_TRUE(IsNotMeasured(fast.accuracy));
    return;
  }
  // Sums of n positive numbers in another order, each from products in another order, of at most 8
  // terms a layer in 3 layers.
  const double mean = slow.loss / slow.examples;
  const double bound = (slow.examples + 8 * 3) * Epsilon(at::kDouble) * (1 + mean);
  EXPECT_NEAR(fast.loss, mean, bound);
  EXPECT_EQ(fast.accuracy, slow.right / slow.examples);
}

void ExpectSameSweep(const ShortRun& run, const at::Tensor& theta, const at::Tensor& corrupt) {
  const Sweep fast = SweepSplit(run.experiment().train(), theta, {}, corrupt);
  const SlowSweep slow = SlowlySweep(run.experiment().train(), theta, corrupt);
  ExpectScore(fast.all, slow.all);
  ExpectScore(fast.pristine, slow.pristine);
  ExpectScore(fast.corrupt, slow.corrupt);
  ASSERT_EQ(fast.right.size(0), static_cast<int64_t>(slow.right.size()));
  for (size_t i = 0; i < slow.right.size(); ++i) {
    EXPECT_EQ(fast.right[static_cast<int64_t>(i)].item<bool>(), slow.right[i]) << i;
  }
}

TEST(Evaluation, OneSweepAgreesWithSingleExamples) {
  ShortRun run(ManyExamples({{"fraction", 0.6}}));
  for (int64_t step = 0; step < 20; ++step) run.stepper().Step(step);
  const at::Tensor& theta = run.stepper().theta();
  const at::Tensor& corrupt = run.experiment().data().train.corrupt;
  ASSERT_GT(corrupt.sum().item<int64_t>(), 500);
  ExpectSameSweep(run, theta, corrupt);
  ExpectSameSweep(run, theta, at::zeros_like(corrupt));
  ExpectSameSweep(run, theta, at::ones_like(corrupt));
  ExpectSameSweep(run, theta, {});
}

TEST(Evaluation, WithoutLabelNoiseTheRowsHaveSixColumns) {
  ShortRun run(ManyExamples(nullptr));
  EXPECT_EQ(EvalColumns(run.experiment()),
            (std::vector<std::string>{"step", "epoch", "train_loss", "train_accuracy", "test_loss",
                                      "test_accuracy"}));
  Sweep train;
  train.all = {0.5, 0.75};
  EXPECT_EQ(EvalRow(run.experiment(), 46, train, {0.25, 0.875}),
            (std::vector<double>{46, 2, 0.5, 0.75, 0.25, 0.875}));
}

/// The cells of the row that these scores make, by column.
std::map<std::string, double> RowOf(const ShortRun& run, const Sweep& train,
                                    const SplitScore& test) {
  const auto columns = EvalColumns(run.experiment());
  const auto cells = EvalRow(run.experiment(), 0, train, test);
  EXPECT_EQ(columns.size(), cells.size());
  std::map<std::string, double> row;
  for (size_t i = 0; i < std::min(columns.size(), cells.size()); ++i) row[columns[i]] = cells[i];
  return row;
}

TEST(Evaluation, WithLabelNoiseTheRowTellsPristineFromCorruptAndTheOverfit) {
  for (const std::string kind : {"permute", "uniform"}) {
    ShortRun run(ManyExamples({{"fraction", 0.5}, {"kind", kind}}));
    const auto row = RowOf(run, {{1, 0.75}, {2, 0.5}, {3, 0.25}, {}}, {4, 0.625});
    ASSERT_EQ(row.size(), 12);
    EXPECT_EQ(row.at("train_accuracy"), 0.75);
    EXPECT_EQ(row.at("train_pristine_loss"), 2);
    EXPECT_EQ(row.at("train_pristine_accuracy"), 0.5);
    EXPECT_EQ(row.at("train_corrupt_loss"), 3);
    EXPECT_EQ(row.at("train_corrupt_accuracy"), 0.25);
    const Split& train = run.experiment().data().train;
    double pristine = 0;
    for (int64_t i = 0; i < 2300; ++i) {
      if (train.labels[i].equal(train.original_labels[i])) ++pristine;
    }
    EXPECT_EQ(row.at("proper_accuracy"), pristine / 2300);
    // Four classes; all numbers are sums of powers of two.
    EXPECT_EQ(row.at("overfit"), 0.75 - (0.5 * 0.25 + 0.5 * 0.625));
  }
}

TEST(Evaluation, LabelNoiseOfNobodyLeavesTheCellsOfTheCorruptEmpty) {
  ShortRun run(ManyExamples({{"fraction", 0}}));
  const Sweep train = SweepSplit(run.experiment().train(), run.stepper().theta(), {},
                                 run.experiment().data().train.corrupt);
  const auto row = RowOf(run, train, {1, 0.5});
  EXPECT_TRUE(IsNotMeasured(row.at("train_corrupt_loss")));
  EXPECT_TRUE(IsNotMeasured(row.at("train_corrupt_accuracy")));
  EXPECT_EQ(row.at("train_pristine_loss"), row.at("train_loss"));
  EXPECT_EQ(row.at("train_pristine_accuracy"), row.at("train_accuracy"));
  EXPECT_EQ(row.at("proper_accuracy"), 1);
  EXPECT_EQ(row.at("overfit"), row.at("train_accuracy") - 0.5);
}

}  // namespace
}  // namespace sgdscope
