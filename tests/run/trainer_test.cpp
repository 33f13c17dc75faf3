#include "run/trainer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

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

Ending EndOf(const Json& stop) {
  const TempFolder folder;
  Json config = SmallConfig();
  if (!stop.is_null()) config["stop"] = stop;
  const auto run = folder / "run";
  const Ended ended = RunProgram({"run", WriteConfig(folder, config), "--output", run.string()});
  EXPECT_EQ(ended.status, 0) << ended.err;
  return {ReadJson(run / "manifest.json"), Lines(ReadFile(run / "metrics.csv")),
          Lines(ReadFile(run / "eval.csv")), CheckpointNames(run), ReadFile(run / "log.txt")};
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

}  // namespace
}  // namespace sgdscope
