#include "tests/full_disk.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>

#include "run/checkpoint.h"
#include "tests/run/process.h"
#include "tests/run/small_run.h"

// What a run does when the disk is full, and that it goes on when there is space again.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

void ExpectWholeCheckpoint(const fs::path& run) {
  const auto checkpoint = LoadLastCheckpoint(
      run / "checkpoints", [](const std::string& warning) { ADD_FAILURE() << warning; });
  ASSERT_TRUE(checkpoint.has_value());
  EXPECT_GT(checkpoint->step, 0);
}

void ExpectDiskFull(const Ended& ended, const fs::path& run, const std::string& file, int reason) {
  EXPECT_EQ(ended.status, 5) << ended.err;
  for (const std::string& part : {(run / file).string(), std::string(std::strerror(reason)),
                                  std::string("Free space"), std::string("--resume")}) {
    EXPECT_NE(ended.err.find(part), std::string::npos) << part << " is missing in " << ended.err;
  }
}

void ExpectManifestNames(const fs::path& run, const std::string& file) {
  const Json manifest = ReadJson(run / "manifest.json");
  EXPECT_EQ(manifest["status"], "failed");
  EXPECT_NE(manifest["reason"].get<std::string>().find(file), std::string::npos) << manifest;
  EXPECT_GT(manifest["steps_done"].get<int64_t>(), 0);
}

void ExpectSameRuns(const fs::path& a, const fs::path& b) {
  for (const std::string& name : {std::string("metrics.csv"), std::string("eval.csv"),
                                  "checkpoints/" + CheckpointNames(a).back()}) {
    EXPECT_TRUE(ReadFile(a / name) == ReadFile(b / name)) << name << " differs";
  }
}

// Works without rights, for root as for everybody.
TEST(FullDiskRun, AtTheFileSizeLimitOfMetricsFailsAndGoesOnLater) {
  TempFolder folder;
  Json json = SmallConfig();
  json["steps"] = 400;  // metrics.csv: about 11 kB
  const std::string config = WriteConfig(folder, json);
  const fs::path run = folder / "limited";
  std::unique_ptr<Process> process;
  {
    const FullDisk limit(8000);
    process = std::make_unique<Process>(
        std::vector<std::string>{"run", config, "--output", run.string()});
  }
  ExpectDiskFull(process->Wait(), run, "metrics.csv", EFBIG);
  ExpectManifestNames(run, "metrics.csv");
  EXPECT_TRUE(ReadFile(run / "metrics.csv").ends_with('\n'));
  ExpectWholeCheckpoint(run);

  EXPECT_EQ(RunProgram({"run", config, "--output", run.string(), "--resume"}).status, 0);
  EXPECT_EQ(RunProgram({"run", config, "--output", (folder / "free").string()}).status, 0);
  ExpectSameRuns(folder / "free", run);
}

/// A small file system of its own.
class SmallDisk {
 public:
  explicit SmallDisk(fs::path path) : path_(std::move(path)) {
    fs::create_directories(path_);
    mounted_ = mount("none", path_.c_str(), "tmpfs", 0, "size=200k") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  bool Grow() const { return mount("none", path_.c_str(), "tmpfs", MS_REMOUNT, "size=4m") == 0; }

 private:
  fs::path path_;
  bool mounted_;
};

/// Runs on a file system of 200 kB until `file` finds it full, then, with more space, to the end.
void ExpectFailsAndGoesOn(const Json& json, const std::string& file) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, json);
  const SmallDisk disk(folder / "disk");
  if (!disk.mounted()) {
    GTEST_SKIP() << "a tmpfs cannot be mounted here: " << std::strerror(errno);
  }
  const fs::path run = folder / "disk/run";
  ExpectDiskFull(RunProgram({"run", config, "--output", run.string()}), run, file, ENOSPC);
  ExpectWholeCheckpoint(run);
  // Rows may leave no room for another status than "running", but checkpoints are larger than that.
  if (file != "metrics.csv") ExpectManifestNames(run, file);

  ASSERT_TRUE(disk.Grow());
  EXPECT_EQ(RunProgram({"run", config, "--output", run.string(), "--resume"}).status, 0);
  EXPECT_EQ(RunProgram({"run", config, "--output", (folder / "free").string()}).status, 0);
  ExpectSameRuns(folder / "free", run);
}

TEST(FullDiskRun, WithoutRoomForRowsFailsAndGoesOnLater) {
  Json json = SmallConfig();
  json["steps"] = 1500;  // metrics.csv: more than 200 kB
  json["probes"] = Json::parse(R"([{"name": "taylor", "recent_lag": 5, "long_ago_lag": 10}])");
  json["checkpoint"]["every_steps"] = 100;
  ExpectFailsAndGoesOn(json, "metrics.csv");
}

TEST(FullDiskRun, WithoutRoomForACheckpointFailsAndGoesOnLater) {
  Json json = SmallConfig();
  json["model"]["hidden"] = {600};  // a checkpoint of theta and velocity: 62 kB
  json["steps"] = 100;
  ExpectFailsAndGoesOn(json, "checkpoints/step_");
}

}  // namespace
}  // namespace sgdscope
