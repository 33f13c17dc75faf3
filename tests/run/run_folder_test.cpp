#include "run/run_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "tests/expect_error.h"
#include "tests/run/small_run.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

Json Config() {
  return Json::parse(
      R"({"seed": 1, "model": {"name": "mlp", "hidden": [64, 10]},
          "probes": [{"name": "taylor", "every": 1}], "output": "here"})");
}

/// Opens the folder and begins a run in it; says whether it was resumed.
bool Begun(const std::filesystem::path& path, IfExists if_exists) {
  const RunFolder run(path, Config(), if_exists);
  run.Begin();
  return run.resumed();
}

TEST(RunFolder, ANewFolderHoldsTheConfigOnceTheRunBegins) {
  TempFolder folder;
  const RunFolder run(folder / "a/b", Config(), IfExists::kRefuse);
  EXPECT_FALSE(run.resumed());
  EXPECT_FALSE(std::filesystem::exists(run.config()));
  run.Begin();
  EXPECT_EQ(run.path(), folder / "a/b");
  EXPECT_EQ(ReadFile(run.config()), Config().dump(2) + "\n");
}

TEST(RunFolder, ARunIsRefusedResumedOrReplaced) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  WriteFileAtomically(folder / "metrics.csv", "rows");
  ExpectError(ErrorKind::kConfig, {folder.path().string(), "--resume", "--overwrite", "--output"},
              [&] { RunFolder(folder.path(), Config(), IfExists::kRefuse); });
  EXPECT_TRUE(Begun(folder.path(), IfExists::kResume));
  EXPECT_EQ(ReadFile(folder / "metrics.csv"), "rows");
  {
    const RunFolder not_begun(folder.path(), Config(), IfExists::kOverwrite);
  }
  EXPECT_EQ(ReadFile(folder / "metrics.csv"), "rows");
  EXPECT_FALSE(Begun(folder.path(), IfExists::kOverwrite));
  EXPECT_FALSE(std::filesystem::exists(folder / "metrics.csv"));
  EXPECT_EQ(ReadFile(folder / "config.json"), Config().dump(2) + "\n");
}

TEST(RunFolder, NothingToResumeIsANewRun) {
  TempFolder folder;
  EXPECT_FALSE(Begun(folder / "new", IfExists::kResume));
  EXPECT_TRUE(Begun(folder / "new", IfExists::kResume));
}

TEST(RunFolder, OnlyWhatRunsWriteIsReplaced) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  for (const std::string folder_of_a_run : {"checkpoints", "snapshots", "mine"}) {
    std::filesystem::create_directory(folder / folder_of_a_run);
    WriteFileAtomically(folder / folder_of_a_run / "file", "");
  }
  for (const std::string name : {"manifest.json", "eval.csv", "learned.csv",
                                 "label_noise.safetensors", "log.txt", "notes.txt"}) {
    WriteFileAtomically(folder / name, "");
  }
  Begun(folder.path(), IfExists::kOverwrite);
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    left.insert(entry.path().filename());
  }
  EXPECT_EQ(left, (std::set<std::string>{".lock", "config.json", "mine", "notes.txt"}));
}

TEST(RunFolder, ResumingWithAnotherConfigNamesTheFirstDifference) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  const auto expect = [&](const std::string& difference, const auto& change) {
    Json config = Config();
    change(config);
    ExpectError(ErrorKind::kConfig,
                {(folder / "config.json").string(), "another config: " + difference, "--output"},
                [&] { RunFolder(folder.path(), config, IfExists::kResume); });
  };
  expect("seed is 1 there and 2 here", [](Json& config) { config["seed"] = 2; });
  expect("model.hidden[1] is 10 there and 11 here",
         [](Json& config) { config["model"]["hidden"][1] = 11; });
  expect("model.hidden is [64,10] there and [64] here",
         [](Json& config) { config["model"]["hidden"].erase(1); });
  expect("probes[0].every is 1 there and absent here",
         [](Json& config) { config["probes"][0].erase("every"); });
  expect("probes[0].label is absent there and \"x\" here",
         [](Json& config) { config["probes"][0]["label"] = "x"; });
  expect("seed is 1 there and 2 here", [](Json& config) {
    config["probes"] = Json::array();
    config["seed"] = 2;
  });
  EXPECT_EQ(ReadJson(folder / "config.json"), Config());
}

TEST(RunFolder, AMovedRunIsResumed) {
  TempFolder folder;
  Begun(folder / "old", IfExists::kRefuse);
  std::filesystem::rename(folder / "old", folder / "new");
  Json config = Config();
  config["output"] = "new";
  EXPECT_TRUE(RunFolder(folder / "new", config, IfExists::kResume).resumed());
}

TEST(RunFolder, IsLockedWhileItLives) {
  TempFolder folder;
  {
    const RunFolder first(folder.path(), Config(), IfExists::kRefuse);
    first.Begin();
    for (const IfExists if_exists : {IfExists::kResume, IfExists::kOverwrite}) {
      ExpectError(ErrorKind::kConfig, {folder.path().string(), "another process"},
                  [&] { RunFolder(folder.path(), Config(), if_exists); });
    }
    EXPECT_EQ(ReadJson(first.config()), Config());
  }
  EXPECT_TRUE(RunFolder(folder.path(), Config(), IfExists::kResume).resumed());
}

TEST(RunFolder, AFileInTheWayIsAnError) {
  TempFolder folder;
  WriteFileAtomically(folder / "file", "");
  ExpectError(ErrorKind::kResource, {(folder / "file").string(), "--output"},
              [&] { RunFolder(folder / "file", Config(), IfExists::kRefuse); });
  ExpectError(ErrorKind::kResource, {(folder / "file/run").string(), "--output"},
              [&] { RunFolder(folder / "file/run", Config(), IfExists::kOverwrite); });
}

}  // namespace
}  // namespace sgdscope
