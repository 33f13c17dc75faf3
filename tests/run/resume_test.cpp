#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <string>

#include "tests/data/array_files.h"
#include "tests/run/folder_watch.h"
#include "tests/run/kills.h"
#include "tests/run/process.h"
#include "tests/run/small_run.h"

// A run that was stopped, however and whenever, and resumed ends with the same bytes as one that
// never was.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

Json ProbedConfig(int64_t steps) {
  Json config = SmallConfig();
  config["steps"] = steps;
  config["log"]["every"] = 3;
  config["eval"]["every"] = 10;  // at every checkpoint, and between them
  config["eval"]["learned"] = true;
  config["data"]["shape"] = {1, 2, 4};
  config["data"]["augment"] = {{"pad", 1}};
  config["sampler"] = {{"name", "fixed_batches"}};
  config["update"]["learning_rate"] = Json::parse(
      R"({"name": "warmup", "epochs": 2, "then": {"name": "step_decay", "value": 0.05}})");
  config["data"]["label_noise"] = {{"fraction", 0.3}};
  config["probes"] = Json::parse(
      R"([{"name": "taylor", "every": 7, "recent_lag": 5, "long_ago_lag": 50, "hessian": true},
          {"name": "gradient_norm"}, {"name": "gradient_norm", "label": "rare", "at": "log"},
          {"name": "coherence", "every": 11}, {"name": "gradient_noise", "every": 45, "draws": 5}])");
  config["gradient"] = {{"name", "noise_enhanced"}, {"alpha", 1.5}};
  return config;
}

/// The rate drops and the run ends where the mean loss of an epoch is small.
Json ThresholdConfig(int64_t steps) {
  Json config = ProbedConfig(steps);
  config["data"]["label_noise"]["fraction"] = 0.05;
  config["probes"] = Json::parse(R"([{"name": "gradient_norm"}])");
  config["update"] = Json::parse(
      R"({"name": "adam", "learning_rate": {"name": "drop_at_loss", "value": 0.01, "train_loss": 1.1}})");
  config["train_loss"] = "epoch_mean";
  config["stop"] = {{"train_loss", 1}};
  return config;
}

/// A config, and the run of it that is never stopped.
class Reference {
 public:
  explicit Reference(const Json& config) : config_(WriteConfig(folder_, config)) {
    const Ended ended = RunProgram({"run", config_, "--output", run().string()});
    EXPECT_EQ(ended.status, 0) << ended.err;
  }
  fs::path run() const { return folder_ / "undisturbed"; }
  /// A new folder for another run, already there so that it can be watched.
  fs::path NewRun() const {
    fs::create_directories(folder_ / "stopped/checkpoints");
    return folder_ / "stopped";
  }
  std::vector<std::string> Arguments(const fs::path& output) const {
    return {"run", config_, "--resume", "--output", output.string()};
  }

  void ExpectSame(const fs::path& other) const { ExpectSameRun(run(), other); }

 private:
  TempFolder folder_;
  std::string config_;
};

TEST(Resume, AfterKillsEndsWithTheSameBytes) {
  ExpectKillsLeaveNoTrace(Reference(ProbedConfig(600)), 3, 1);
}

/// Numbers in place of classes: files of the test's own, two targets an example.
TEST(Resume, AfterKillsARunOnTargetsEndsWithTheSameBytes) {
  const TempFolder folder;
  std::vector<float> x(60 * 8), y(60 * 2);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i));
  for (size_t i = 0; i < y.size(); ++i) y[i] = 3 * std::cos(static_cast<float>(i));
  WriteBytes(folder / "x.npy", Npy("'<f4'", {60, 8}, BytesOf(x)));
  WriteBytes(folder / "y.npy", Npy("'<f4'", {60, 2}, BytesOf(y)));
  Json config = ProbedConfig(400);
  config["data"] = {{"name", "arrays"},
                    {"path", folder.path().string()},
                    {"train_files", {"x.npy", "y.npy"}},
                    {"split", {{"share", 0.2}}},
                    {"normalize", "dataset"}};
  config["loss"] = "mean_squared_error";
  config["batch_size"] = 12;
  config["eval"].erase("learned");
  config["probes"].erase(3);  // coherence, which needs label noise
  ExpectKillsLeaveNoTrace(Reference(config), 3, 1);
}

TEST(Resume, AfterKillsThresholdsAreMetAtTheSameSteps) {
  const Reference reference(ThresholdConfig(3000));
  const auto rows = Lines(ReadFile(reference.run() / "metrics.csv"));
  EXPECT_NE(rows[1].find(",0.01,"), std::string::npos) << rows[1];
  EXPECT_NE(rows.back().find(",0.005,"), std::string::npos) << rows.back();
  EXPECT_NE(ReadJson(reference.run() / "manifest.json")["reason"], "");
  ExpectKillsLeaveNoTrace(reference, 3, 1);
}

TEST(ResumeSlow, After25KillsEndsWithTheSameBytes) {
  for (const uint64_t seed : {1, 2})
    ExpectKillsLeaveNoTrace(Reference(ProbedConfig(4000)), 25, seed);
}

// Damages the last checkpoint; returns its name.
template <class Damage>
std::string DamageLastCheckpoint(const fs::path& run, const Damage& damage) {
  const std::string name = CheckpointNames(run).back();
  std::string content = ReadFile(run / "checkpoints" / name);
  damage(content);
  WriteFileAtomically(run / "checkpoints" / name, content);
  return name;
}

TEST(Resume, AfterTerminationAndDamagedCheckpointsEndsWithTheSameBytes) {
  const Reference reference(ProbedConfig(600));
  const fs::path run = reference.NewRun();
  const auto interrupt_at = [&](uintmax_t metrics_bytes) {
    const FolderWatch watch(run);
    Process process(reference.Arguments(run));
    EXPECT_TRUE(watch.UntilSize(process, run / "metrics.csv", metrics_bytes));
    process.Signal(SIGTERM);
    return process.Wait();
  };
  const uintmax_t all = fs::file_size(reference.run() / "metrics.csv");

  Ended ended = interrupt_at(all / 4);
  EXPECT_EQ(ended.status, 128 + SIGTERM) << ended.err;
  EXPECT_EQ(ReadJson(run / "manifest.json")["status"], "interrupted");
  ASSERT_EQ(CheckpointNames(run).size(), 2);
  std::string damaged =
      DamageLastCheckpoint(run, [](std::string& content) { content.resize(content.size() / 2); });

  ended = interrupt_at(all / 2);
  EXPECT_EQ(ended.status, 128 + SIGTERM) << ended.err;
  EXPECT_NE(ended.err.find("passing over a damaged checkpoint"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find(damaged), std::string::npos) << ended.err;
  damaged =
      DamageLastCheckpoint(run, [](std::string& content) { content[content.size() - 5] ^= 4; });

  ended = RunProgram(reference.Arguments(run));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.err.find(damaged), std::string::npos) << ended.err;
  reference.ExpectSame(run);
}

/// The whole length would be 4000 steps.
Json StoppingConfig() {
  Json config = ProbedConfig(4000);
  config["update"]["learning_rate"] = 0.01;
  config["data"].erase("augment");
  config["data"]["label_noise"]["fraction"] = 0.1;
  config["stop"] = {{"train_loss", 0.2}};
  return config;
}

TEST(Resume, ARunThatStopsEarlyEndsWithTheSameBytes) {
  const Reference reference(StoppingConfig());
  const Json manifest = ReadJson(reference.run() / "manifest.json");
  const auto steps = manifest["steps_done"].get<int64_t>();
  ASSERT_GT(steps, 100);
  ASSERT_LT(steps, 4000);
  const fs::path run = reference.NewRun();
  const FolderWatch watch(run);
  Process process(reference.Arguments(run));
  EXPECT_TRUE(watch.UntilSize(process, run / "metrics.csv",
                              fs::file_size(reference.run() / "metrics.csv") / 2));
  process.Signal(SIGKILL);
  process.Wait();
  ASSERT_EQ(RunProgram(reference.Arguments(run)).status, 0);
  reference.ExpectSame(run);
  EXPECT_EQ(ReadJson(run / "manifest.json")["reason"], manifest["reason"]);
  EXPECT_EQ(ReadJson(run / "manifest.json")["steps_done"], steps);
}

/// As if it had been killed between the last checkpoint and the end, at any point of what is
/// written there.
TEST(Resume, ARunThatWasAboutToStopStopsAtTheSameStep) {
  const Reference reference(StoppingConfig());
  const fs::path run = reference.NewRun();
  for (const bool with_row : {true, false}) {
    fs::remove_all(run);
    fs::copy(reference.run(), run, fs::copy_options::recursive);
    Json manifest = ReadJson(run / "manifest.json");
    manifest["status"] = "running";
    WriteFileAtomically(run / "manifest.json", manifest.dump());
    fs::remove(run / "learned.csv");
    const std::string eval = ReadFile(run / "eval.csv");
    if (!with_row) fs::resize_file(run / "eval.csv", eval.rfind('\n', eval.size() - 2) + 1);
    ASSERT_EQ(RunProgram(reference.Arguments(run)).status, 0);
    reference.ExpectSame(run);
  }
}

/// A run as if it had been killed after its last checkpoint.
class Killed {
 public:
  Killed() : reference_(ProbedConfig(60)) { SetStatus("running"); }
  fs::path run() const { return reference_.run(); }

  void SetStatus(const std::string& status) const {
    Json manifest = ReadJson(run() / "manifest.json");
    manifest["status"] = status;
    WriteFileAtomically(run() / "manifest.json", manifest.dump(2));
  }
  Ended Resume() const { return RunProgram(reference_.Arguments(run())); }

  /// Resumes; expects that it ends with this status, says all parts, and changes nothing.
  void ExpectRefused(int status, const std::vector<std::string>& parts) const {
    const auto before = Contents();
    const Ended ended = Resume();
    EXPECT_EQ(ended.status, status) << ended.err;
    for (const std::string& part : parts) {
      EXPECT_NE(ended.err.find(part), std::string::npos) << part << " is missing in\n" << ended.err;
    }
    EXPECT_EQ(ended.err.find("step 0"), std::string::npos) << ended.err;
    EXPECT_TRUE(Contents() == before);
  }

 private:
  std::map<std::string, std::string> Contents() const {
    std::map<std::string, std::string> contents;
    for (const auto& entry : fs::recursive_directory_iterator(run())) {
      if (entry.is_symlink() || !entry.is_regular_file()) continue;
      contents[entry.path()] = ReadFile(entry.path());
    }
    return contents;
  }
  Reference reference_;
};

TEST(Resume, WithDamagedCheckpointsOnlyIsRefused) {
  const Killed killed;
  const auto names = CheckpointNames(killed.run());
  for (const std::string& name : names) {
    fs::resize_file(killed.run() / "checkpoints" / name, 100);
  }
  killed.ExpectRefused(
      3, {"all checkpoints are damaged", names[0], names[1], "Nothing was changed", "--overwrite"});
}

TEST(Resume, WithCheckpointsThatCannotBeReadIsRefused) {
  const Killed killed;
  const fs::path last = killed.run() / "checkpoints" / CheckpointNames(killed.run()).back();
  fs::remove(last);
  fs::create_symlink(last.filename(), last);
  killed.ExpectRefused(5, {last.string(), "symbolic links", "Nothing was changed", "--overwrite"});
}

TEST(Resume, WithoutTheCheckpointsThatTheManifestTellsOfIsRefused) {
  const Killed killed;
  const fs::path checkpoints = killed.run() / "checkpoints";
  fs::rename(checkpoints, killed.run() / "elsewhere");
  killed.ExpectRefused(3, {checkpoints.string(), "there is no checkpoint", "60 steps",
                           "Nothing was changed", "--overwrite"});
  fs::create_symlink("not_mounted", checkpoints);
  killed.ExpectRefused(5, {checkpoints.string(), "No such file"});
  fs::remove(checkpoints);
  // A run may diverge before its first checkpoint.
  killed.SetStatus("diverged");
  const std::string metrics = ReadFile(killed.run() / "metrics.csv");
  const Ended ended = killed.Resume();
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.err.find("starting from step 0"), std::string::npos) << ended.err;
  EXPECT_EQ(ReadFile(killed.run() / "metrics.csv"), metrics);
}

TEST(Resume, RowsThatWereChangedAreFoundBeforeAnythingIsCutBack) {
  const Killed killed;
  for (const std::string name : {"metrics.csv", "eval.csv"}) {
    const fs::path csv = killed.run() / name;
    const std::string content = ReadFile(csv);
    std::string changed = content;
    char& digit = changed[changed.find("\n0,") + 6];
    digit = digit == '1' ? '2' : '1';
    WriteFileAtomically(csv, changed);
    killed.ExpectRefused(3, {csv.string(), "checksum", "was changed after the checkpoint",
                             "Restore it", "--overwrite"});
    std::string converted;
    for (const std::string& line : Lines(content)) converted += line + "\r\n";
    WriteFileAtomically(csv, converted);
    killed.ExpectRefused(3, {csv.string(), "CR LF", "Restore it"});
    WriteFileAtomically(csv, content + "7,half a ro");  // after the checkpoint
  }
  const Ended ended = killed.Resume();
  EXPECT_EQ(ended.status, 0) << ended.err;
}

/// A kill while the run begins, at each of its first files.
TEST(Resume, AfterAnInterruptedStartEndsWithTheSameBytes) {
  const Reference reference(ProbedConfig(60));
  const fs::path run = reference.NewRun();
  for (const std::string last : {"manifest.json", "config.json", "eval.csv"}) {
    fs::remove_all(run);
    fs::create_directory(run);
    for (const std::string name :
         {"manifest.json", "config.json", "log.txt", "metrics.csv", "eval.csv"}) {
      if (name == "manifest.json") {
        Json manifest = ReadJson(reference.run() / name);
        manifest["status"] = "running";
        manifest["steps_done"] = 0;
        WriteFileAtomically(run / name, manifest.dump(2));
      } else {
        WriteFileAtomically(
            run / name, name == "config.json" ? ReadFile(reference.run() / name) : std::string());
      }
      if (name == last) break;
    }
    WriteFileAtomically(run / "manifest.json.tmp", "{");
    const Ended ended = RunProgram(reference.Arguments(run));
    ASSERT_EQ(ended.status, 0) << ended.err;
    reference.ExpectSame(run);
    EXPECT_FALSE(fs::exists(run / "manifest.json.tmp"));
  }
}

TEST(Resume, OfAFinishedRunDoesNothing) {
  Json config = SmallConfig();
  config["stop"] = {{"train_accuracy", 0.1}};  // which the first evaluation reaches
  const Reference reference(config);
  const auto written = fs::last_write_time(reference.run() / "metrics.csv");
  const Ended ended = RunProgram(reference.Arguments(reference.run()));
  EXPECT_EQ(ended.status, 0);
  EXPECT_NE(ended.err.find("done already"), std::string::npos) << ended.err;
  EXPECT_EQ(fs::last_write_time(reference.run() / "metrics.csv"), written);
}

}  // namespace
}  // namespace sgdscope
