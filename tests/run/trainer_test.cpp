#include "run/trainer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "run/checkpoint.h"
#include "tests/run/small_run.h"
#include "tests/temp_folder.h"

// What ends a run.

namespace sgdscope {
namespace {

struct Ending {
  Json manifest;
  std::vector<std::string> metrics;
  std::vector<std::string> eval;
  std::vector<std::string> checkpoints;
  std::string log;
};

/// Of SmallConfig with these changes.
Ending EndOfRun(const Json& changes, int status = 0) {
  const TempFolder folder;
  Json config = SmallConfig();
  for (const auto& [key, value] : changes.items()) config[key] = value;
  const auto run = folder / "run";
  const Ended ended = RunProgram({"run", WriteConfig(folder, config), "--output", run.string()});
  EXPECT_EQ(ended.status, status) << ended.err;
  return {ReadJson(run / "manifest.json"), Lines(ReadFile(run / "metrics.csv")),
          Lines(ReadFile(run / "eval.csv")), CheckpointNames(run), ReadFile(run / "log.txt")};
}

Ending EndOf(const Json& stop) {
  return EndOfRun(stop.is_null() ? Json::object() : Json{{"stop", stop}});
}

double Cell(const std::string& row, int column) {
  size_t begin = 0;
  for (; column > 0; --column) begin = row.find(',', begin) + 1;
  return std::stod(row.substr(begin));
}

/// Evaluations of the run without stops: at steps 0, 25, 50 and at its end, 60.
TEST(Stop, TheFirstEvaluationThatReachesAValueIsTheLast) {
  const Ending whole = EndOf(nullptr);
  ASSERT_EQ(whole.eval.size(), 5u);
  EXPECT_EQ(whole.manifest["reason"], "");
  constexpr int kLoss = 2;
  constexpr int kAccuracy = 3;
  for (size_t row = 1; row < 4; ++row) {
    const double loss = Cell(whole.eval[row], kLoss);
    const double accuracy = Cell(whole.eval[row], kAccuracy);
    if (row > 1) {  // reached for the first time in this row
      ASSERT_LT(loss, Cell(whole.eval[row - 1], kLoss));
      ASSERT_GT(accuracy, Cell(whole.eval[row - 1], kAccuracy));
    }
    for (const Json& stop : {Json{{"train_loss", loss}}, Json{{"train_accuracy", accuracy}},
                             Json{{"train_loss", loss}, {"train_accuracy", 1}},
                             Json{{"train_loss", 0}, {"train_accuracy", accuracy}}}) {
      const Ending ending = EndOf(stop);
      const int64_t step = row == 1 ? 0 : row == 2 ? 25 : 50;
      EXPECT_EQ(ending.manifest["status"], "done") << stop;
      EXPECT_EQ(ending.manifest["steps_done"], step) << stop;
      const auto reason = ending.manifest["reason"].get<std::string>();
      const bool by_loss = stop.contains("train_loss") && stop["train_loss"] == loss;
      EXPECT_NE(reason.find(by_loss ? "stop.train_loss" : "stop.train_accuracy"), std::string::npos)
          << reason;
      EXPECT_NE(ending.log.find("stopped: " + reason), std::string::npos) << ending.log;
      // Up to there it is the same run, and the checkpoint is that of its end.
      EXPECT_EQ(ending.eval,
                std::vector<std::string>(whole.eval.begin(), whole.eval.begin() + row + 1));
      EXPECT_EQ(ending.metrics,
                std::vector<std::string>(whole.metrics.begin(), whole.metrics.begin() + step + 1));
      EXPECT_NE(ending.checkpoints.back().find(std::to_string(step)), std::string::npos);
    }
  }
}

TEST(Stop, WhatIsNeverReachedStopsNothing) {
  const Ending whole = EndOf(nullptr);
  const Ending ending = EndOf({{"train_loss", 0}});
  EXPECT_EQ(ending.manifest["status"], "done");
  EXPECT_EQ(ending.manifest["reason"], "");
  EXPECT_EQ(ending.manifest["steps_done"], 60);
  EXPECT_EQ(ending.eval, whole.eval);
  EXPECT_EQ(ending.metrics, whole.metrics);
}

TEST(Stop, AValueReachedAtTheFullLengthIsSaidToo) {
  const Ending whole = EndOf(nullptr);
  const Ending ending = EndOf({{"train_loss", Cell(whole.eval[4], 2)}});
  EXPECT_EQ(ending.manifest["steps_done"], 60);
  EXPECT_NE(ending.manifest["reason"], "");
  EXPECT_EQ(ending.eval, whole.eval);
}

TEST(Keep, StepsHaveACheckpointWhateverTheDistance) {
  const auto kept = [](const Json& keep) {
    return EndOfRun({{"checkpoint", {{"every_steps", 20}, {"keep", keep}}}});
  };
  using Names = std::vector<std::string>;
  const auto name = [](const std::string& digits) {
    return "step_" + std::string(16 - digits.size(), '0') + digits + ".safetensors";
  };
  const Ending whole = EndOf(nullptr);
  const Ending listed = kept({{"last", 1}, {"steps", {0, 7, 33}}});
  EXPECT_EQ(listed.checkpoints, (Names{name("0"), name("7"), name("33"), name("60")}));
  EXPECT_EQ(listed.metrics, whole.metrics);
  EXPECT_EQ(listed.eval, whole.eval);
  EXPECT_EQ(kept({{"all", true}}).checkpoints, (Names{name("20"), name("40"), name("60")}));
  EXPECT_EQ(kept({{"last", 1}, {"every", 25}}).checkpoints,
            (Names{name("0"), name("25"), name("50"), name("60")}));
}

constexpr int64_t kEpoch = 10;  // steps
constexpr int kMetricsLoss = 2;
constexpr int kRate = 3;  // column learning_rate, where it varies

/// The mean loss of an epoch, summed as the program does.
double EpochLoss(const std::vector<std::string>& metrics, int64_t epoch) {
  double sum = 0;
  for (int64_t step = epoch * kEpoch; step < (epoch + 1) * kEpoch; ++step) {
    sum += Cell(metrics[static_cast<size_t>(step + 1)], kMetricsLoss);
  }
  return sum / static_cast<double>(kEpoch);
}

Json DropAt(double train_loss) {
  return {
      {"name", "sgd"},
      {"momentum", 0.9},
      {"learning_rate", {{"name", "drop_at_loss"}, {"value", 0.05}, {"train_loss", train_loss}}}};
}

void ExpectDropAt(const std::vector<std::string>& metrics, int64_t drop) {
  ASSERT_NE(metrics[0].find("loss,learning_rate"), std::string::npos);
  for (int64_t step = 0; step + 1 < static_cast<int64_t>(metrics.size()); ++step) {
    const double rate = Cell(metrics[static_cast<size_t>(step + 1)], kRate);
    ASSERT_EQ(rate, step < drop ? 0.05 : 0.025) << step;
  }
}

/// noise_enhancement, section 3: the rate is halved at L*, the run ends at L**.
TEST(TrainLoss, EvaluationsDropTheRateAndThenEndTheRun) {
  const Ending whole = EndOf(nullptr);
  const double reached = Cell(whole.eval[2], 2);  // at step 25
  ASSERT_LT(reached, Cell(whole.eval[1], 2));
  const Ending dropped = EndOfRun({{"update", DropAt(reached)}});
  ExpectDropAt(dropped.metrics, 25);
  EXPECT_EQ(dropped.eval[2], whole.eval[2]);
  EXPECT_NE(dropped.eval[3], whole.eval[3]);
  const double low = Cell(dropped.eval[3], 2);  // at step 50
  ASSERT_LT(low, reached);
  const Ending ended = EndOfRun({{"update", DropAt(reached)}, {"stop", {{"train_loss", low}}}});
  EXPECT_EQ(ended.manifest["steps_done"], 50);
  EXPECT_NE(ended.manifest["reason"], "");
  EXPECT_EQ(ended.eval[3], dropped.eval[3]);
}

TEST(TrainLoss, EpochMeansDropTheRateAndThenEndTheRun) {
  const Ending whole = EndOf(nullptr);
  const double reached = EpochLoss(whole.metrics, 1);
  ASSERT_LT(reached, EpochLoss(whole.metrics, 0));
  Json config = {{"update", DropAt(reached)}, {"train_loss", "epoch_mean"}};
  const Ending dropped = EndOfRun(config);
  ExpectDropAt(dropped.metrics, 2 * kEpoch);
  EXPECT_EQ(dropped.manifest["reason"], "");

  const double low = EpochLoss(dropped.metrics, 3);
  for (int64_t epoch = 0; epoch < 3; ++epoch) ASSERT_GT(EpochLoss(dropped.metrics, epoch), low);
  config["stop"] = {{"train_loss", low}};
  const Ending ended = EndOfRun(config);
  EXPECT_EQ(ended.manifest["status"], "done");
  EXPECT_EQ(ended.manifest["steps_done"], 4 * kEpoch);
  EXPECT_NE(ended.manifest["reason"].get<std::string>().find("stop.train_loss"), std::string::npos);
  EXPECT_EQ(ended.metrics, std::vector<std::string>(dropped.metrics.begin(),
                                                    dropped.metrics.begin() + 4 * kEpoch + 1));
  // Evaluated every 25 steps, and where it ends.
  ASSERT_EQ(ended.eval.size(), 4u);
  EXPECT_EQ(Cell(ended.eval[3], 0), 4 * kEpoch);
  EXPECT_EQ(ended.eval[2], dropped.eval[2]);

  // At the full length the last epoch's mean is looked at, too.
  config["stop"] = {{"train_loss", EpochLoss(dropped.metrics, 5)}};
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    ASSERT_GT(EpochLoss(dropped.metrics, epoch), EpochLoss(dropped.metrics, 5));
  }
  const Ending last = EndOfRun(config);
  EXPECT_EQ(last.manifest["steps_done"], 6 * kEpoch);
  EXPECT_NE(last.manifest["reason"], "");
  EXPECT_EQ(last.eval, dropped.eval);
}

/// Also where no row shows it.
TEST(TrainLoss, AnEpochMeanThatIsNotFiniteIsADivergence) {
  Json update = DropAt(0.1);
  update["learning_rate"]["value"] = 1e30;
  const Ending ending = EndOfRun({{"update", update},
                                  {"train_loss", "epoch_mean"},
                                  {"log", {{"every", 1000}}},
                                  {"eval", {{"every", 1000}}},
                                  {"checkpoint", {{"every_steps", 1000}}}},
                                 /*status=*/4);
  EXPECT_EQ(ending.manifest["status"], "diverged");
  EXPECT_EQ(ending.manifest["steps_done"], kEpoch);
}

/// A linear network whose weights grow without bound, of which no row tells before its end.
Json SilentlyDiverging(int64_t checkpoint_every) {
  return {{"loss", "mean_squared_error"},
          {"model", {{"name", "mlp"}, {"hidden", {5, 5}}, {"activation", "identity"}}},
          {"update", {{"name", "sgd"}, {"learning_rate", 3}}},
          {"steps", 200},
          {"log", {{"every", 1000}}},
          {"eval", {{"every", 1000}}},
          {"checkpoint", {{"every_steps", checkpoint_every}}}};
}

TEST(Divergence, TheLastCheckpointsAreThoseBeforeIt) {
  const TempFolder folder;
  Json config = SmallConfig();
  config.update(SilentlyDiverging(1));
  const std::string path = WriteConfig(folder, config), run = (folder / "run").string();
  for (const std::string option : {"--quiet", "--resume"}) {
    const Ended ended = RunProgram({"run", path, "--output", run, option});
    EXPECT_EQ(ended.status, 4) << ended.err;
    EXPECT_NE(ended.err.find("learning rate may help"), std::string::npos) << ended.err;
    const Json manifest = ReadJson(folder / "run/manifest.json");
    EXPECT_EQ(manifest["status"], "diverged");
    const int64_t end = manifest["steps_done"];
    EXPECT_LT(end, 200);
    EXPECT_EQ(manifest["reason"], "a weight before step " + std::to_string(end) + " is not finite");
    ASSERT_EQ(CheckpointSteps(folder / "run/checkpoints"),
              (std::vector<int64_t>{end - 2, end - 1}));
    for (const int64_t step : {end - 2, end - 1}) {
      const Checkpoint checkpoint = LoadCheckpoint(folder / "run/checkpoints", step);
      EXPECT_TRUE(checkpoint.state.at("theta").isfinite().all().item<bool>()) << step;
    }
  }
}

TEST(Divergence, ThatNoStepBeforeTheEndTellsLeavesNoCheckpointThere) {
  const Ending ending = EndOfRun(SilentlyDiverging(1000), /*status=*/4);
  EXPECT_EQ(ending.manifest["reason"], "a weight before step 200 is not finite");
  EXPECT_EQ(ending.checkpoints, std::vector<std::string>());
}

/// No learning rate is to blame for it.
TEST(Divergence, BeforeAnyStepLiesInTheWeightsOrTheData) {
  Json data = SmallConfig()["data"];
  data["std"] = 1e30;  // which float32 holds, but not its square
  const Ending ending = EndOfRun({{"data", data}, {"loss", "mean_squared_error"}}, /*status=*/4);
  EXPECT_EQ(ending.log.find("learning rate"), std::string::npos) << ending.log;
  EXPECT_NE(ending.log.find("its data"), std::string::npos) << ending.log;
}

}  // namespace
}  // namespace sgdscope
