#include "run/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "config/json.h"
#include "core/files.h"
#include "core/tensor_file.h"
#include "tests/expect_error.h"
#include "tests/run/small_run.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

Checkpoint CheckpointAt(int64_t step) {
  return {step,
          {10 * step, "0000000a"},
          {20 * step, "0000000b"},
          {{"theta", at::full({3}, static_cast<double>(step))}}};
}

struct Loaded {
  std::optional<Checkpoint> checkpoint;
  std::vector<std::string> warnings;
};

Loaded LoadLast(const TempFolder& folder) {
  Loaded loaded;
  loaded.checkpoint = LoadLastCheckpoint(folder / "checkpoints", [&](const std::string& warning) {
    loaded.warnings.push_back(warning);
  });
  return loaded;
}

TEST(Checkpoint, LoadsWhatWasSaved) {
  TempFolder folder;
  const at::Tensor theta = at::tensor({1.5, -0.0, 1e-300}, at::kDouble);
  const at::Tensor velocity = at::tensor({0.1f, 3e-41f}, at::kFloat);
  SaveCheckpoint(
      folder / "checkpoints",
      {7, {100, "0000000a"}, {200, "0000000b"}, {{"theta", theta}, {"update.v", velocity}}});
  const Loaded loaded = LoadLast(folder);
  ASSERT_TRUE(loaded.checkpoint.has_value());
  EXPECT_EQ(loaded.checkpoint->step, 7);
  EXPECT_EQ(loaded.checkpoint->metrics.bytes, 100);
  EXPECT_EQ(loaded.checkpoint->metrics.crc32, "0000000a");
  EXPECT_EQ(loaded.checkpoint->eval.bytes, 200);
  EXPECT_EQ(loaded.checkpoint->eval.crc32, "0000000b");
  ASSERT_EQ(loaded.checkpoint->state.size(), 2);
  EXPECT_TRUE(at::equal(loaded.checkpoint->state.at("theta"), theta));
  EXPECT_TRUE(at::equal(loaded.checkpoint->state.at("update.v"), velocity));
  EXPECT_EQ(loaded.checkpoint->state.at("update.v").scalar_type(), at::kFloat);
  EXPECT_TRUE(loaded.warnings.empty());
}

TEST(Checkpoint, TheLastTwoAreKeptWhateverTheirDigits) {
  TempFolder folder;
  for (const int64_t step : {0l, 9l, 10l, 99l, 100l, 1000000000000000l}) {
    SaveCheckpoint(folder / "checkpoints", CheckpointAt(step));
    EXPECT_EQ(LoadLast(folder).checkpoint->step, step);
    EXPECT_LE(CheckpointNames(folder.path()).size(), 2);
  }
  EXPECT_EQ(CheckpointNames(folder.path()),
            (std::vector<std::string>{"step_0000000000000100.safetensors",
                                      "step_1000000000000000.safetensors"}));
}

TEST(Checkpoint, ThoseStayThatKeepNames) {
  const auto left = [](const Json& keep) {
    KeptCheckpoints kept;
    ReadFields(keep, "keep", [&](FieldVisitor& visitor) { kept.Fields(visitor); });
    kept.Prepare("keep", /*steps_per_epoch=*/3, /*steps=*/50);
    TempFolder folder;
    for (const int64_t step : {0, 1, 7, 9, 10, 12, 20, 50}) {
      SaveCheckpoint(folder / "checkpoints", CheckpointAt(step), kept);
      EXPECT_EQ(LoadLast(folder).checkpoint->step, step);
    }
    const std::vector<int64_t> steps = CheckpointSteps(folder / "checkpoints");
    for (const int64_t step : steps) {
      EXPECT_EQ(LoadCheckpoint(folder / "checkpoints", step).step, step);
    }
    return steps;
  };
  using Steps = std::vector<int64_t>;
  EXPECT_EQ(left(Json::object()), (Steps{20, 50}));
  EXPECT_EQ(left({{"last", 1}}), (Steps{50}));
  EXPECT_EQ(left({{"last", 4}}), (Steps{10, 12, 20, 50}));
  EXPECT_EQ(left({{"all", true}}), (Steps{0, 1, 7, 9, 10, 12, 20, 50}));
  EXPECT_EQ(left({{"last", 1}, {"steps", {1, 9}}}), (Steps{1, 9, 50}));
  EXPECT_EQ(left({{"last", 1}, {"every_epochs", 2}}), (Steps{0, 12, 50}));
  EXPECT_EQ(left({{"at", "log"}, {"per_decade", 1}}), (Steps{0, 1, 10, 20, 50}));
  ExpectError(ErrorKind::kConfig, {"keep.steps[1]", "51", "ends at step 50"},
              [&] { left({{"steps", {50, 51}}}); });
}

TEST(Checkpoint, NothingIsFoundInAnEmptyOrAbsentFolder) {
  TempFolder folder;
  EXPECT_FALSE(LoadLast(folder).checkpoint.has_value());
  std::filesystem::create_directory(folder / "checkpoints");
  const Loaded loaded = LoadLast(folder);
  EXPECT_FALSE(loaded.checkpoint.has_value());
  EXPECT_TRUE(loaded.warnings.empty());
}

TEST(Checkpoint, AnyFlippedBitOrMissingEndIsPassedOver) {
  TempFolder folder;
  SaveCheckpoint(folder / "checkpoints", CheckpointAt(1));
  SaveCheckpoint(folder / "checkpoints", CheckpointAt(2));
  const auto last = folder / "checkpoints/step_0000000000000002.safetensors";
  const std::string whole = ReadFile(last);
  std::vector<std::string> damaged;
  for (size_t i = 0; i < whole.size(); ++i) {
    damaged.push_back(whole);
    damaged.back()[i] = static_cast<char>(whole[i] ^ (1 << (i % 8)));
    damaged.push_back(whole.substr(0, i));
  }
  for (const std::string& content : damaged) {
    std::ofstream(last, std::ios::binary) << content;
    const Loaded loaded = LoadLast(folder);
    ASSERT_TRUE(loaded.checkpoint.has_value());
    ASSERT_EQ(loaded.checkpoint->step, 1);
    ASSERT_EQ(loaded.warnings.size(), 1);
    ASSERT_NE(loaded.warnings[0].find(last.string()), std::string::npos) << loaded.warnings[0];
  }
  WriteFileAtomically(folder / "checkpoints/step_0000000000000001.safetensors", "");
  ExpectError(
      ErrorKind::kData,
      {(folder / "checkpoints").string() + ": all checkpoints are damaged", "0002.safetensors",
       "0001.safetensors", "holds 0 bytes", "Nothing was changed", "--overwrite"},
      [&] { LoadLast(folder); });
}

/// What the system cannot read may be whole: it is neither passed over nor taken for absent.
TEST(Checkpoint, OneThatCannotBeReadIsAnError) {
  TempFolder folder;
  SaveCheckpoint(folder / "checkpoints", CheckpointAt(1));
  const auto last = folder / "checkpoints/step_0000000000000002.safetensors";
  const auto expect = [&](const std::string& reason) {
    ExpectError(ErrorKind::kResource, {last.string(), reason, "Nothing was changed", "--overwrite"},
                [&] { LoadLast(folder); });
    std::filesystem::remove(last);
  };
  std::filesystem::create_symlink(last.filename(), last);
  expect("symbolic links");
  std::filesystem::create_symlink("not_mounted", last);
  expect("No such file");
  std::filesystem::create_directory(last);
  expect("Is a directory");
  std::filesystem::remove_all(folder / "checkpoints");
  std::filesystem::create_symlink("not_mounted", folder / "checkpoints");
  ExpectError(ErrorKind::kResource, {(folder / "checkpoints").string(), "No such file"},
              [&] { LoadLast(folder); });
}

TEST(Checkpoint, TheNextOneTakesThePlaceOfDamagedOnes) {
  TempFolder folder;
  SaveCheckpoint(folder / "checkpoints", CheckpointAt(1));
  WriteFileAtomically(folder / "checkpoints/step_0000000000000008.safetensors", "");
  WriteFileAtomically(folder / "checkpoints/step_0000000000000009.safetensors", "");
  SaveCheckpoint(folder / "checkpoints", CheckpointAt(2));
  EXPECT_EQ(CheckpointNames(folder.path()),
            (std::vector<std::string>{"step_0000000000000001.safetensors",
                                      "step_0000000000000002.safetensors"}));
}

TEST(Checkpoint, FilesOfOtherNamesAreNoneOfOurs) {
  TempFolder folder;
  const std::vector<std::string> mine = {
      "step_1000.safetensors", "step_000000000000000x.safetensors", "step_final.safetensors"};
  std::filesystem::create_directory(folder / "checkpoints");
  for (const std::string& name : mine) WriteFileAtomically(folder / "checkpoints" / name, "mine");
  EXPECT_FALSE(LoadLast(folder).checkpoint.has_value());
  for (const int64_t step : {1, 2, 3}) SaveCheckpoint(folder / "checkpoints", CheckpointAt(step));
  for (const std::string& name : mine) {
    EXPECT_EQ(ReadFile(folder / "checkpoints" / name), "mine");
  }
  EXPECT_EQ(LoadLast(folder).checkpoint->step, 3);
}

TEST(Checkpoint, AnotherTensorFileIsNoCheckpoint) {
  TempFolder folder;
  SaveCheckpoint(folder / "checkpoints", CheckpointAt(1));
  const auto write = [&](const std::map<std::string, std::string>& metadata) {
    WriteTensorFile(folder / "checkpoints/step_0000000000000002.safetensors",
                    {{{"theta", at::zeros({1})}}, metadata});
  };
  write({{"step", "2"}, {"metrics_bytes", "5"}});
  Loaded loaded = LoadLast(folder);
  EXPECT_EQ(loaded.checkpoint->step, 1);
  ASSERT_EQ(loaded.warnings.size(), 1);
  EXPECT_NE(loaded.warnings[0].find("eval_bytes"), std::string::npos) << loaded.warnings[0];
  write({{"step", "-2"}, {"metrics_bytes", "5"}, {"eval_bytes", "5"}});
  EXPECT_EQ(LoadLast(folder).checkpoint->step, 1);
  // As an earlier version wrote it: nothing is known of the content of the CSVs.
  write({{"step", "2"}, {"metrics_bytes", "5"}, {"eval_bytes", "6"}});
  loaded = LoadLast(folder);
  EXPECT_EQ(loaded.checkpoint->step, 2);
  EXPECT_EQ(loaded.checkpoint->metrics.crc32, "");
  EXPECT_EQ(loaded.checkpoint->eval.bytes, 6);
}

TEST(Checkpoint, WhatACrashLeavesBehindIsNotTaken) {
  TempFolder folder;
  SaveCheckpoint(folder / "checkpoints", CheckpointAt(1));
  WriteFileAtomically(folder / "checkpoints/step_0000000000000002.safetensors.tmp", "half");
  const Loaded loaded = LoadLast(folder);
  EXPECT_EQ(loaded.checkpoint->step, 1);
  EXPECT_TRUE(loaded.warnings.empty());
}

}  // namespace
}  // namespace sgdscope
