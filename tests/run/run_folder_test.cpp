#include "run/run_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
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

const std::vector<InputFile> kInputs = {{"/no/config/of/a/test.json", "the config"}};

RunFolder Open(const std::filesystem::path& path, IfExists if_exists) {
  return {path, Config(), if_exists, kInputs};
}

/// A manifest.json as runs have it.
void WriteManifest(const std::filesystem::path& path, const std::string& status = "running",
                   int64_t steps_done = 0) {
  const Json manifest = {{"status", status},
                         {"reason", ""},
                         {"steps_done", steps_done},
                         {"wall_seconds", 0.5},
                         {"versions", {{"sgdscope", "0"}}}};
  WriteFileAtomically(path / "manifest.json", manifest.dump(2));
}

/// Opens the folder and begins a run in it; says whether it was resumed.
bool Begun(const std::filesystem::path& path, IfExists if_exists) {
  const RunFolder run = Open(path, if_exists);
  if (!run.earlier()) WriteManifest(path);
  run.Begin();
  return run.earlier().has_value();
}

/// All files in a folder and below, with their contents.
std::map<std::string, std::string> FilesBelow(const std::filesystem::path& path) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (!entry.is_regular_file()) continue;
    files[std::filesystem::relative(entry.path(), path).string()] = ReadFile(entry.path());
  }
  return files;
}

const std::string kStep = "step_0000000000000020.safetensors";

TEST(RunFolder, ANewFolderHoldsTheConfigOnceTheRunBegins) {
  TempFolder folder;
  const RunFolder run = Open(folder / "a/b", IfExists::kRefuse);
  EXPECT_FALSE(run.earlier().has_value());
  EXPECT_EQ(run.warning(), "");
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
              [&] { Open(folder.path(), IfExists::kRefuse); });
  EXPECT_TRUE(Begun(folder.path(), IfExists::kResume));
  EXPECT_EQ(ReadFile(folder / "metrics.csv"), "rows");
  {
    const RunFolder not_begun = Open(folder.path(), IfExists::kOverwrite);
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

TEST(RunFolder, WhatNoRunWroteIsInTheWayAndStaysAsItIs) {
  for (const std::string name :
       {"config.json", "manifest.json", "metrics.csv", "eval.csv", "learned.csv",
        "label_noise.safetensors", "log.txt", "config.json.tmp", "manifest.json.tmp",
        "learned.csv.tmp", "label_noise.safetensors.tmp"}) {
    for (const std::string content : {"", "mine", "{\"status\": \"done\"}"}) {
      if (name == "manifest.json.tmp" && content.empty()) continue;  // of an interrupted start
      TempFolder folder;
      WriteFileAtomically(folder / name, content);
      const auto before = FilesBelow(folder.path());
      for (const auto if_exists : {IfExists::kRefuse, IfExists::kResume, IfExists::kOverwrite}) {
        ExpectError(ErrorKind::kConfig, {(folder / name).string() + ": is in the way", "--output"},
                    [&] { Open(folder.path(), if_exists); });
      }
      EXPECT_EQ(FilesBelow(folder.path()), before);
    }
  }
  for (const std::string& name : {"checkpoints/" + kStep, "checkpoints/" + kStep + ".tmp",
                                  std::string("snapshots/step_7.safetensors")}) {
    TempFolder folder;
    std::filesystem::create_directories((folder / name).parent_path());
    WriteFileAtomically(folder / name, "mine");
    ExpectError(ErrorKind::kConfig, {(folder / name).string(), "is in the way"},
                [&] { Open(folder.path(), IfExists::kOverwrite); });
    EXPECT_EQ(FilesBelow(folder.path()), (std::map<std::string, std::string>{{name, "mine"}}));
  }
  TempFolder folder;
  std::filesystem::create_symlink("nowhere", folder / "log.txt");
  ExpectError(ErrorKind::kConfig, {"log.txt", "is in the way"},
              [&] { Open(folder.path(), IfExists::kRefuse); });
}

/// Files that a run never writes, in a folder of the user's.
const std::map<std::string, std::string> kMine = {{"notes.txt", "1"},
                                                  {"metrics.csv.tmp", "2"},
                                                  {"checkpoints/resnet_mine.pt", "3"},
                                                  {"checkpoints/step_9.safetensors", "4"},
                                                  {"snapshots/photo.png", "5"},
                                                  {"snapshots/step_x.safetensors", "6"},
                                                  {"snapshots/my.step_7.safetensors", "6"},
                                                  {"mine/config.json", "7"}};

void WriteAll(const TempFolder& folder, const std::map<std::string, std::string>& files) {
  for (const auto& [name, content] : files) {
    std::filesystem::create_directories((folder / name).parent_path());
    std::ofstream(folder / name) << content;  // not atomically: there may be a NAME.tmp
  }
}

TEST(RunFolder, OnlyWhatRunsWriteIsReplaced) {
  TempFolder folder;
  WriteAll(folder, kMine);
  EXPECT_FALSE(Begun(folder.path(), IfExists::kRefuse));
  const auto begun = FilesBelow(folder.path());
  WriteAll(folder, {{"checkpoints/" + kStep, ""},
                    {"checkpoints/" + kStep + ".tmp", ""},
                    {"snapshots/step_7.safetensors", ""},
                    {"snapshots/step_7.a.b.safetensors", ""},
                    {"snapshots/step_7.label.safetensors.tmp", ""},
                    {"snapshots/step_123.safetensors.tmp", ""},
                    {"metrics.csv", ""},
                    {"eval.csv", ""},
                    {"learned.csv", ""},
                    {"learned.csv.tmp", ""},
                    {"label_noise.safetensors", ""},
                    {"log.txt", ""},
                    {"config.json", "{}"}});
  EXPECT_FALSE(Begun(folder.path(), IfExists::kOverwrite));
  EXPECT_EQ(FilesBelow(folder.path()), begun);
  for (const auto& [name, content] : kMine) EXPECT_EQ(begun.at(name), content);
}

TEST(RunFolder, AFolderWithTheNameOfAFileIsNotReplaced) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  WriteAll(folder, {{"log.txt/mine", "1"}, {"metrics.csv", "rows"}});
  ExpectError(ErrorKind::kConfig, {(folder / "log.txt").string(), "Move it away"},
              [&] { Open(folder.path(), IfExists::kOverwrite); });
  EXPECT_EQ(ReadFile(folder / "metrics.csv"), "rows");
}

TEST(RunFolder, TheGivenConfigIsNotReplaced) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  const std::string other = R"({"seed": 2})";
  WriteFileAtomically(folder / "config.json", other);
  std::filesystem::create_symlink(folder / "config.json", folder / "link.json");
  std::filesystem::create_hard_link(folder / "config.json", folder / "hard.json");
  for (const std::string name : {"config.json", "link.json", "hard.json"}) {
    const std::vector<InputFile> inputs = {{folder / name, "the config that was given"}};
    ExpectError(ErrorKind::kConfig,
                {(folder / "config.json").string(), "the config that was given", "--output"},
                [&] { RunFolder(folder.path(), Config(), IfExists::kOverwrite, inputs); });
    EXPECT_EQ(ReadFile(folder / name), other);
  }
  // The saved config of a run is a config: replacing the run by itself leaves it alone.
  Begun(folder.path(), IfExists::kOverwrite);
  WriteFileAtomically(folder / "metrics.csv", "rows");
  std::filesystem::create_hard_link(folder / "config.json", folder / "same.json");
  const RunFolder run(folder.path(), Config(), IfExists::kOverwrite,
                      {{folder / "config.json", "the config that was given"}});
  run.Begin();
  EXPECT_FALSE(std::filesystem::exists(folder / "metrics.csv"));
  EXPECT_TRUE(std::filesystem::equivalent(folder / "config.json", folder / "same.json"));
}

TEST(RunFolder, NoFileThatTheNewRunReadsIsReplaced) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  WriteAll(folder, {{"checkpoints/" + kStep, "theta"},
                    {"snapshots/step_7.safetensors", "theta"},
                    {"label_noise.safetensors", "labels"}});
  const auto before = FilesBelow(folder.path());
  for (const std::string& name :
       {"checkpoints/" + kStep, std::string("snapshots/step_7.safetensors"),
        std::string("label_noise.safetensors")}) {
    const std::vector<InputFile> inputs = {kInputs[0], {folder / name, "what init.from names"}};
    ExpectError(ErrorKind::kConfig,
                {(folder / name).string(), "is what init.from names", "Copy it", "--output"},
                [&] { RunFolder(folder.path(), Config(), IfExists::kOverwrite, inputs); });
    EXPECT_EQ(FilesBelow(folder.path()), before);
    EXPECT_TRUE(
        RunFolder(folder.path(), Config(), IfExists::kResume, inputs).earlier().has_value());
  }
}

/// The input may be, or be linked to, what a new run would write.
TEST(RunFolder, AConfigThatIsAsARunWouldWriteItIsNotInTheWay) {
  TempFolder folder;
  WriteFileAtomically(folder / "config.json", Config().dump(2) + "\n");
  std::filesystem::create_hard_link(folder / "config.json", folder / "same.json");
  EXPECT_FALSE(Begun(folder.path(), IfExists::kRefuse));
  EXPECT_TRUE(std::filesystem::equivalent(folder / "config.json", folder / "same.json"));
}

/// The manifest is written first, then the config, then everything else.
TEST(RunFolder, AnInterruptedStartIsBegunAgain) {
  TempFolder folder;
  const std::string manifest = "{\n  \"status\": \"running\",";
  for (const size_t length : {size_t{0}, size_t{5}, manifest.size()}) {
    WriteFileAtomically(folder / "manifest.json.tmp", manifest.substr(0, length));
    Open(folder.path(), IfExists::kRefuse);
  }
  WriteManifest(folder.path());
  EXPECT_FALSE(Begun(folder.path(), IfExists::kResume));
  EXPECT_TRUE(Begun(folder.path(), IfExists::kResume));
}

TEST(RunFolder, ARunWithoutItsConfigIsNotResumed) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  WriteManifest(folder.path(), "interrupted", 20);
  std::filesystem::remove(folder / "config.json");
  const auto before = FilesBelow(folder.path());
  ExpectError(ErrorKind::kData, {(folder / "config.json").string(), "is gone", "--overwrite"},
              [&] { Open(folder.path(), IfExists::kResume); });
  EXPECT_EQ(FilesBelow(folder.path()), before);
}

TEST(RunFolder, AManifestThatCannotBeReadIsAnError) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  std::filesystem::remove(folder / "manifest.json");
  std::filesystem::create_symlink("manifest.json", folder / "manifest.json");
  for (const auto if_exists : {IfExists::kRefuse, IfExists::kResume, IfExists::kOverwrite}) {
    ExpectError(ErrorKind::kResource, {"manifest.json", "symbolic links", "Nothing was changed"},
                [&] { Open(folder.path(), if_exists); });
  }
}

TEST(RunFolder, HalfWrittenFilesOfAnInterruptionAreRemoved) {
  TempFolder folder;
  WriteAll(folder, kMine);
  Begun(folder.path(), IfExists::kRefuse);
  WriteAll(folder, {{"metrics.csv", "rows"}, {"checkpoints/" + kStep, "whole"}});
  const auto before = FilesBelow(folder.path());
  WriteAll(folder, {{"manifest.json.tmp", ""},
                    {"config.json.tmp", "half"},
                    {"learned.csv.tmp", ""},
                    {"label_noise.safetensors.tmp", ""},
                    {"checkpoints/" + kStep + ".tmp", ""},
                    {"snapshots/step_7.safetensors.tmp", ""}});
  EXPECT_TRUE(Begun(folder.path(), IfExists::kResume));
  EXPECT_EQ(FilesBelow(folder.path()), before);
}

TEST(RunFolder, ResumingWithAnotherConfigNamesTheFirstDifference) {
  TempFolder folder;
  Begun(folder.path(), IfExists::kRefuse);
  const auto expect = [&](const std::string& difference, const auto& change) {
    Json config = Config();
    change(config);
    ExpectError(ErrorKind::kConfig,
                {(folder / "config.json").string(), "another config: " + difference, "--output"},
                [&] { RunFolder(folder.path(), config, IfExists::kResume, kInputs); });
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
  EXPECT_TRUE(RunFolder(folder / "new", config, IfExists::kResume, kInputs).earlier().has_value());
}

TEST(RunFolder, IsLockedWhileItLives) {
  TempFolder folder;
  {
    const RunFolder first = Open(folder.path(), IfExists::kRefuse);
    WriteManifest(folder.path());
    first.Begin();
    for (const auto if_exists : {IfExists::kRefuse, IfExists::kResume, IfExists::kOverwrite}) {
      ExpectError(ErrorKind::kConfig, {folder.path().string(), "another process"},
                  [&] { Open(folder.path(), if_exists); });
    }
    EXPECT_EQ(ReadJson(first.config()), Config());
  }
  EXPECT_TRUE(Open(folder.path(), IfExists::kResume).earlier().has_value());
}

TEST(RunFolder, AFileInTheWayIsAnError) {
  TempFolder folder;
  WriteFileAtomically(folder / "file", "");
  ExpectError(ErrorKind::kResource, {(folder / "file").string(), "--output"},
              [&] { Open(folder / "file", IfExists::kRefuse); });
  ExpectError(ErrorKind::kResource, {(folder / "file/run").string(), "--output"},
              [&] { Open(folder / "file/run", IfExists::kOverwrite); });
  WriteFileAtomically(folder / "checkpoints", "mine");
  ExpectError(ErrorKind::kConfig, {(folder / "checkpoints").string(), "is in the way"},
              [&] { Open(folder.path(), IfExists::kRefuse); });
}

}  // namespace
}  // namespace sgdscope
