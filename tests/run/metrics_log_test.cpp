#include "run/metrics_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/run/small_run.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// metrics.csv of a run whose losses and probe values the test makes up.
class Log {
 public:
  Log(const std::string& log, const std::string& probes, const Json& learning_rate = 0.05)
      : config_(ReadRunConfig(With(log, probes, learning_rate))), experiment_(*config_) {
    experiment_.LoadData();
    csv_ = std::make_unique<CsvWriter>(folder_ / "metrics.csv", MetricsLog::Columns(experiment_));
    log_ = std::make_unique<MetricsLog>(experiment_, *csv_);
  }

  /// One step with this loss; the values of probe i are 10 (i + 1) + 0, 1, 2, ...
  void Add(int64_t step, double loss) {
    Stepper::Measured measured{at::scalar_tensor(loss, at::kDouble), {}};
    double first = 0;
    for (const auto& probe : config_->probes.choices()) {
      first += 10;
      const auto count = static_cast<int64_t>((*probe)->Values().size());
      const bool due = (*probe)->MeasuresAt(step);
      measured.probes.push_back(due ? at::arange(count, at::kDouble).add(first) : at::Tensor());
    }
    log_->Add(step, measured);
  }
  MetricsLog& log() { return *log_; }
  std::vector<std::string> Rows() { return Lines(ReadFile(folder_ / "metrics.csv")); }

 private:
  static Json With(const std::string& log, const std::string& probes, const Json& learning_rate) {
    Json config = SmallConfig();
    config["update"]["learning_rate"] = learning_rate;
    config["log"] = Json::parse(log);
    config["probes"] = Json::parse(probes);
    return config;
  }

  TempFolder folder_;
  std::unique_ptr<RunConfig> config_;
  Experiment experiment_;
  std::unique_ptr<CsvWriter> csv_;
  std::unique_ptr<MetricsLog> log_;
};

TEST(MetricsLog, ColumnsAndCellsFollowTheOrderOfTheProbes) {
  Log log("{}",
          R"([{"name": "gradient_norm", "label": "z"}, {"name": "gradient_norm", "label": "a"},
              {"name": "snapshot", "steps": [1], "recent_lag": 1, "long_ago_lag": 2},
              {"name": "taylor", "label": "t", "batches": ["updating"], "cumulative": "logged"}])");
  log.Add(0, 0.5);
  EXPECT_EQ(log.Rows().size(), 1) << "rows are held back until a flush";
  EXPECT_TRUE(std::isnan(log.log().last_loss()));
  EXPECT_FALSE(log.log().Flush().has_value());
  EXPECT_EQ(log.log().last_loss(), 0.5);
  const auto rows = log.Rows();
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(
      rows[0],
      "step,epoch,loss,z.g,z.delta,a.g,a.delta,t.updating.dot,t.updating.delta_loss,"
      "t.updating.penalty,t.updating.cum_dot,t.updating.cum_delta_loss,t.updating.cum_penalty");
  EXPECT_EQ(rows[1], "0,0,0.5,10,11,20,21,40,41,42,43,44,45");
}

TEST(MetricsLog, RowsComeWhenTheLogOrAProbeIsDueWithTheOthersEmpty) {
  // The probe with cumulative sums measures at every step, but shows only what is due.
  Log log(R"({"every": 4})",
          R"([{"name": "gradient_norm", "every": 6},
              {"name": "taylor", "batches": ["updating"], "every_epochs": 1}])");
  for (int64_t step = 0; step < 13; ++step) log.Add(step, static_cast<double>(step) / 4);
  log.log().Flush();
  const auto rows = log.Rows();
  EXPECT_EQ(rows,
            (std::vector<std::string>{rows[0], "0,0,0,10,11,20,21,22,23,24,25", "4,0.4,1,,,,,,,,",
                                      "6,0.6,1.5,10,11,,,,,,", "8,0.8,2,,,,,,,,",
                                      "10,1,2.5,,,20,21,22,23,24,25", "12,1.2,3,10,11,,,,,,"}));
}

TEST(MetricsLog, ALogSpacedProbeHasItsRowsAndSoHasALogSpacedLog) {
  Log log(R"({"at": "log", "per_decade": 1})",
          R"([{"name": "gradient_norm", "at": "log", "per_decade": 2}])");
  for (int64_t step = 0; step < 40; ++step) log.Add(step, 1);
  log.log().Flush();
  const auto rows = log.Rows();
  EXPECT_EQ(rows, (std::vector<std::string>{rows[0], "0,0,1,10,11", "1,0.1,1,10,11",
                                            "3,0.3,1,10,11", "10,1,1,10,11", "32,3.2,1,10,11"}));
  Log thinned(R"({"at": "log", "per_decade": 1})", R"([{"name": "gradient_norm", "every": 25}])");
  for (int64_t step = 0; step < 40; ++step) thinned.Add(step, 1);
  thinned.log().Flush();
  EXPECT_EQ(thinned.Rows(), (std::vector<std::string>{rows[0], "0,0,1,10,11", "1,0.1,1,,",
                                                      "10,1,1,,", "25,2.5,1,10,11"}));
}

TEST(MetricsLog, TheLearningRateStandsInARowWhereItVaries) {
  const Json decay = {{"name", "step_decay"}, {"value", 0.5}};  // 60 steps
  Log log(R"({"every": 12})", R"([{"name": "gradient_norm"}])", decay);
  for (const int64_t step : {0, 29, 30, 42, 59}) log.Add(step, 1);
  log.log().Flush();
  EXPECT_EQ(log.Rows(), (std::vector<std::string>{
                            "step,epoch,loss,learning_rate,gradient_norm.g,gradient_norm.delta",
                            "0,0,1,0.5,10,11", "29,2.9,1,0.5,10,11", "30,3,1,0.25,10,11",
                            "42,4.2,1,0.0625,10,11", "59,5.9,1,0.015625,10,11"}));
  Log constant(R"({"every": 1})", "[]", {{"name", "constant"}, {"value", 0.5}});
  EXPECT_EQ(constant.Rows(), (std::vector<std::string>{"step,epoch,loss"}));
}

TEST(MetricsLog, ASnapshotAloneMakesNoRow) {
  Log log(R"({"every": 100})",
          R"([{"name": "snapshot", "every": 2, "recent_lag": 1, "long_ago_lag": 2}])");
  for (int64_t step = 0; step < 5; ++step) log.Add(step, 1);
  log.log().Flush();
  EXPECT_EQ(log.Rows(), (std::vector<std::string>{"step,epoch,loss", "0,0,1"}));
}

TEST(MetricsLog, NothingIsWrittenFromTheFirstLossOnThatIsNotFinite) {
  for (const double bad : {kNaN, HUGE_VAL, -HUGE_VAL}) {
    Log log("{}", "[]");
    log.Add(0, 2);
    log.Add(1, 3);
    log.Add(2, bad);
    log.Add(3, 4);
    EXPECT_EQ(log.log().Flush(), 2);
    EXPECT_EQ(log.log().last_loss(), 3);
    log.Add(4, 5);
    EXPECT_EQ(log.log().Flush(), 2);
    EXPECT_EQ(log.Rows(), (std::vector<std::string>{"step,epoch,loss", "0,0,2", "1,0.1,3"}));
  }
}

TEST(MetricsLog, AProbeThatIsNotFiniteIsNoDivergence) {
  Log log("{}", R"([{"name": "gradient_norm"}])");
  Stepper::Measured measured{at::scalar_tensor(1.0, at::kDouble),
                             {at::tensor({kNaN, HUGE_VAL}, at::kDouble)}};
  log.log().Add(0, measured);
  EXPECT_FALSE(log.log().Flush().has_value());
  EXPECT_EQ(log.Rows().back(), "0,0,1,nan,inf");
}

TEST(MetricsLog, MoreRowsThanTheBufferHoldsAreAllWritten) {
  Log log("{}", "[]");
  constexpr int64_t kSteps = 1000;
  for (int64_t step = 0; step < kSteps; ++step) log.Add(step, static_cast<double>(step));
  EXPECT_FALSE(log.log().Flush().has_value());
  const auto rows = log.Rows();
  ASSERT_EQ(rows.size(), 1 + kSteps);
  EXPECT_TRUE(rows[257].starts_with("256,25.6,256"));
  EXPECT_TRUE(rows.back().starts_with("999,99.9,999"));
}

TEST(MetricsLog, RowsAfterADivergenceFillNoBuffer) {
  Log log("{}", "[]");
  log.Add(0, 1);
  for (int64_t step = 1; step < 1000; ++step) log.Add(step, kNaN);
  EXPECT_EQ(log.log().Flush(), 1);
  EXPECT_EQ(log.Rows().size(), 2);
}

}  // namespace
}  // namespace sgdscope
