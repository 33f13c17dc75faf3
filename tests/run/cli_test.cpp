#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "core/csv.h"
#include "core/csv_table.h"
#include "core/tensor_file.h"
#include "core/torch.h"
#include "run/checkpoint.h"
#include "tests/data/array_files.h"
#include "tests/run/folder_watch.h"
#include "tests/run/process.h"
#include "tests/run/small_run.h"

// The executable as its user meets it: arguments, messages, exit statuses, the run folder.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

void ExpectFailure(const Arguments& arguments, int status, const std::vector<std::string>& parts) {
  const Ended ended = RunProgram(arguments);
  std::string command;
  for (const std::string& argument : arguments) command += argument + " ";
  EXPECT_EQ(ended.status, status) << command << "\n" << ended.err;
  for (const std::string& part : parts) {
    EXPECT_NE(ended.err.find(part), std::string::npos)
        << "'" << part << "' is missing after " << command << "\n"
        << ended.err;
  }
}

/// Runs a config to its end and returns what it said.
std::string RunWell(const Arguments& arguments) {
  const Ended ended = RunProgram(arguments);
  EXPECT_EQ(ended.status, 0) << ended.err;
  return ended.err;
}

TEST(Cli, UsageErrorsExitWith2) {
  ExpectFailure({}, 2, {"subcommand"});
  ExpectFailure({"lsit"}, 2, {"lsit", "Did you mean 'list'", "describe"});
  ExpectFailure({"run"}, 2, {"config"});
  ExpectFailure({"run", "a.json", "--resume", "--overwrite"}, 2, {"--overwrite", "--resume"});
  ExpectFailure({"run", "/no/such/file.json"}, 2, {"/no/such/file.json", "No such file"});
  ExpectFailure({"list", "fishes"}, 2, {"fishes", "probes"});
}

TEST(Cli, ConfigErrorsExitWith2AndNamePathAndRemedy) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  ExpectFailure({"run", config, "--set", "update.learning_rat=1"}, 2,
                {"update.learning_rat", "Did you mean 'learning_rate'?"});
  ExpectFailure({"validate", config, "--seed", "many"}, 2, {"seed", "many", "a whole number"});
  ExpectFailure({"validate", config, "--set", "epochs=1"}, 2,
                {"both steps and epochs", "exactly one"});
  ExpectFailure({"validate", config, "--set", "data.path"}, 2, {"data.path", "no '='"});
  ExpectFailure({"validate", config, "--set", "checkpoint.keep=all"}, 2,
                {"checkpoint.keep: found \"all\", must be an object", "{\"all\": true}"});
  ExpectFailure({"validate", config, "--output", "\xff"}, 2, {"output", "UTF-8"});
  WriteFileAtomically(folder / "broken.json", "{\n  \"name\": \"x\",,\n}");
  ExpectFailure({"describe", (folder / "broken.json").string()}, 2, {"broken.json:2:"});
  WriteFileAtomically(folder / "list.json", "[1]");
  ExpectFailure({"validate", (folder / "list.json").string(), "--device", "cpu"}, 2, {"an object"});
}

TEST(Cli, EmptyArgumentsExitWith2) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  for (const std::string option : {"--seed", "--device", "--output", "--set"}) {
    ExpectFailure({"run", config, option, ""}, 2, {option + ": the option is empty", "unset"});
    ExpectFailure({"run", config, option + "="}, 2, {option + ": the option is empty"});
    ExpectFailure({"run", config, option}, 2, {option + ": the option is empty"});
    ExpectFailure({"run", config, option + "=", "--resume"}, 2, {option + ": the option is empty"});
    ExpectFailure({"run", option, "--quiet", config}, 2, {option, "--quiet follows it"});
    ExpectFailure({"run", config, option, "-h"}, 2, {option, "-h follows it"});
    ExpectFailure({"validate", config, option, "--no-such"}, 2, {option, "--no-such follows it"});
  }
  ExpectFailure({"run", config, "--quiet="}, 2, {"--quiet: the option is empty"});
  ExpectFailure({"run", config, "--set", "=3"}, 2, {"--set =3", "a key is missing"});
  ExpectFailure({"run", config, "--set", "output="}, 2, {"--set output=", "the value is empty"});
  ExpectFailure({"run", ""}, 2, {"argument 2: it is empty"});
  ExpectFailure({"list", ""}, 2, {"argument 2: it is empty"});
  ExpectFailure({""}, 2, {"argument 1: it is empty"});
  EXPECT_FALSE(fs::exists("runs/small")) << "a run has begun";
}

TEST(Cli, AValueLikeAnOptionIsGivenWithAnEqualsSign) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  const Ended ended = RunProgram({"validate", config, "--output=--resume", "--set=seed=5"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  ExpectFailure({"validate", config, "--seed", "-1"}, 2, {"seed: found -1, must be"});
}

TEST(Cli, FaultsOfTheDataComeBeforeAdviceForTheirNumber) {
  TempFolder folder;
  WriteBytes(folder / "train-images-idx3-ubyte", IdxImages(40));
  WriteBytes(folder / "train-labels-idx1-ubyte", IdxLabels(std::vector<int>(39, 1)));
  WriteBytes(folder / "t10k-images-idx3-ubyte", IdxImages(2));
  WriteBytes(folder / "t10k-labels-idx1-ubyte", IdxLabels({1, 2}));
  Json json = SmallConfig();
  json["data"] = {{"name", "mnist"}, {"path", folder.path().string()}};
  const std::string output = (folder / "run").string();
  ExpectFailure({"run", WriteConfig(folder, json), "--output", output}, 3,
                {"train-labels-idx1-ubyte", "39 labels, expected 40"});
  for (int i = 1; i <= 5; ++i) {
    const std::string bytes = CifarRecord({1}, 0) + CifarRecord({2}, 1) + CifarRecord({3}, 2);
    const std::string name = "own_" + std::to_string(i) + ".bin";
    json["data"]["train_files"].push_back(name);
    WriteBytes(folder / name, bytes.substr(0, i == 3 ? 9000 : bytes.size()));
  }
  WriteBytes(folder / "own_test.bin", CifarRecord({1}, 0));
  json["data"]["test_files"] = {"own_test.bin"};
  json["data"]["name"] = "cifar10";
  ExpectFailure({"run", WriteConfig(folder, json), "--output", output}, 3,
                {"own_3.bin", "offset 6146", "truncated"});
  EXPECT_FALSE(fs::exists(folder / "run/config.json"));
}

TEST(Cli, MissingDataExitsWith3) {
  TempFolder folder;
  Json json = SmallConfig();
  json["data"] = {{"name", "mnist"}, {"path", (folder / "nowhere").string()}};
  const fs::path run = folder / "run";
  ExpectFailure({"run", WriteConfig(folder, json), "--set", "sampler.drop_last=true", "--output",
                 run.string()},
                3,
                {(folder / "nowhere").string(), "train-images", "scripts/download_data.sh mnist"});
  // Nothing has begun: with the data in place the same command works, without a flag.
  EXPECT_FALSE(fs::exists(run / "config.json"));
  EXPECT_FALSE(fs::exists(run / "manifest.json"));
}

TEST(Cli, OverwritingWithMissingDataKeepsTheOldRun) {
  TempFolder folder;
  const std::string run = (folder / "run").string();
  ASSERT_EQ(RunProgram({"run", WriteConfig(folder, SmallConfig()), "--output", run}).status, 0);
  const std::string metrics = ReadFile(folder / "run" / "metrics.csv");
  Json json = SmallConfig();
  json["data"] = {{"name", "mnist"}, {"path", (folder / "nowhere").string()}};
  ExpectFailure({"run", WriteConfig(folder, json), "--set", "sampler.drop_last=true", "--output",
                 run, "--overwrite"},
                3, {"nowhere"});
  EXPECT_EQ(ReadFile(folder / "run" / "metrics.csv"), metrics);
}

TEST(Cli, ResumingWithOtherDataFilesExitsWith3) {
  TempFolder folder;
  const fs::path run = folder / "run";
  const std::vector<std::string> arguments = {"run", WriteConfig(folder, SmallConfig()), "--output",
                                              run.string()};
  ASSERT_EQ(RunProgram(arguments).status, 0);
  // As if the run had been interrupted, and had read a file that is no longer used.
  Json manifest = ReadJson(run / "manifest.json");
  manifest["status"] = "interrupted";
  manifest["data"] = {{{"path", "old"}, {"bytes", 1}, {"crc32", "00000000"}}};
  WriteFileAtomically(run / "manifest.json", manifest.dump());
  std::vector<std::string> resume = arguments;
  resume.push_back("--resume");
  ExpectFailure(resume, 3, {"data", "00000000", "--overwrite"});
}

TEST(Cli, AnAbsentDeviceExitsWith5) {
  if (at::hasCUDA()) GTEST_SKIP() << "there is a CUDA device here";
  TempFolder folder;
  ExpectFailure({"run", WriteConfig(folder, SmallConfig()), "--device", "cuda", "--output",
                 (folder / "run").string()},
                5, {"device", "cuda", "--device cpu"});
}

/// Runs until it diverges and checks what is left: whole rows with finite losses.
void ExpectDiverges(const Json& json) {
  TempFolder folder;
  const fs::path run = folder / "run";
  ExpectFailure({"run", WriteConfig(folder, json), "--output", run.string()}, 4,
                {"diverged", "is not finite", "learning rate"});
  const Json manifest = ReadJson(run / "manifest.json");
  EXPECT_EQ(manifest["status"], "diverged");
  const auto rows = Lines(ReadFile(run / "metrics.csv"));
  ASSERT_GE(rows.size(), 2);  // the header, and at least step 0
  for (size_t i = 1; i < rows.size(); ++i) {
    EXPECT_TRUE(rows[i].starts_with(std::to_string(i - 1) + ",")) << rows[i];
    EXPECT_TRUE(std::isfinite(std::stod(rows[i].substr(rows[i].rfind(',') + 1)))) << rows[i];
  }
  EXPECT_EQ(manifest["steps_done"], rows.size() - 1);
  EXPECT_EQ(Lines(ReadFile(run / "learned.csv")).size(), 201) << "a row for each example";
}

TEST(Cli, DivergenceExitsWith4AndKeepsTheFiniteRows) {
  Json json = SmallConfig();
  json["update"]["learning_rate"] = 1e25;
  json["eval"]["learned"] = true;
  ExpectDiverges(json);
}

TEST(Cli, DivergenceOfAWinsorizedRunIsNotHidden) {
  Json json = SmallConfig();
  json["gradient"] = {{"name", "winsorized"}, {"percentile", 10}};
  json["update"]["learning_rate"] = 1e25;
  json["eval"] = {{"every", 60}, {"learned", true}};
  ExpectDiverges(json);
}

TEST(Cli, LossesThatAreNotFiniteEndAWinsorizedRunAtTheFirstStep) {
  TempFolder folder;
  const fs::path run = folder / "run";
  Json json = SmallConfig();
  json["data"]["std"] = 1e30;  // which float32 holds, but not its square
  json["loss"] = "mean_squared_error";
  json["gradient"] = {{"name", "winsorized"}, {"percentile", 10}};
  json["eval"] = {{"every", 60}};
  ExpectFailure({"run", WriteConfig(folder, json), "--output", run.string()}, 4,
                {"diverged", "is not finite"});
  EXPECT_EQ(ReadJson(run / "manifest.json")["status"], "diverged");
  EXPECT_EQ(Lines(ReadFile(run / "metrics.csv")).size(), 1) << "only the header";
}

TEST(Cli, DivergenceIsNoticedWithoutEvaluationOrCheckpoint) {
  Json json = SmallConfig();
  json["update"]["learning_rate"] = 1e25;
  json["steps"] = 3000;
  json["eval"] = {{"every", 3000}, {"learned", true}};
  json["checkpoint"]["every_steps"] = 3000;
  ExpectDiverges(json);
}

TEST(Cli, ValidateReadsNoDataAndWritesNothing) {
  TempFolder folder;
  Json json = SmallConfig();
  json["data"] = {{"name", "mnist"}, {"path", (folder / "nowhere").string()}};
  json["output"] = (folder / "run").string();
  const Ended ended = RunProgram({"validate", WriteConfig(folder, json)});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.out.find("valid (12730 parameters"), std::string::npos) << ended.out;
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST(Cli, DescribeShowsLayersParametersLengthMemoryAndTime) {
  TempFolder folder;
  Json json = SmallConfig();
  json["output"] = (folder / "run").string();
  const Ended ended = RunProgram({"describe", WriteConfig(folder, json)});
  EXPECT_EQ(ended.status, 0) << ended.err;
  for (const std::string part :
       {"linear1", "[16 x 8]", "[4 x 16]", "212 in all", "60 steps of 20 examples",
        "10 steps an epoch of 200 examples", "memory", "ms a step"}) {
    EXPECT_NE(ended.out.find(part), std::string::npos) << part << " is missing in\n" << ended.out;
  }
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST(Cli, DescribeTellsTheMemoryOfTiles) {
  TempFolder folder;
  Json json = SmallConfig();
  json["gradient"] = {{"name", "winsorized"}, {"percentile", 10}, {"tile_memory", 17}};
  const Ended ended = RunProgram({"describe", WriteConfig(folder, json)});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.out.find("\n  per-example tiles at most 17 MiB (gradient.tile_memory)\n"),
            std::string::npos)
      << ended.out;
  const Ended plain = RunProgram({"describe", WriteConfig(folder, SmallConfig())});
  EXPECT_EQ(plain.out.find("tiles"), std::string::npos) << plain.out;
}

TEST(Cli, DescribeTellsTheEffectiveBatchSize) {
  TempFolder folder;
  Json json = SmallConfig();  // batches of 20; 1.5^2 + 0.5^2 = 2.5
  const auto described = [&](const Json& gradient) {
    json["gradient"] = gradient;
    return RunProgram({"describe", WriteConfig(folder, json)}).out;
  };
  const std::string text = described({{"name", "noise_enhanced"}, {"alpha", 1.5}});
  EXPECT_NE(text.find("\ngradient\n  as noisy as plain SGD with batches of 8 examples (B_eff"),
            std::string::npos)
      << text;
  EXPECT_EQ(described({{"name", "mean"}}).find("gradient"), std::string::npos);
}

TEST(Cli, ListSchemaAndVersionAnswerOnStandardOutput) {
  const Ended list = RunProgram({"list", "probes"});
  EXPECT_EQ(list.status, 0);
  EXPECT_NE(list.out.find("taylor"), std::string::npos);
  EXPECT_EQ(list.out.find("sgd:"), std::string::npos) << "only probes were asked for";
  const Ended schema = RunProgram({"schema"});
  EXPECT_EQ(schema.status, 0);
  EXPECT_EQ(Json::parse(schema.out)["type"], "object");
  const Ended version = RunProgram({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.out, VersionLine());
}

TEST(Cli, ARunLeavesAFolderThatSaysEverything) {
  TempFolder folder;
  Json json = SmallConfig();
  json["log"]["every"] = 20;
  json["probes"] = Json::parse(
      R"([{"name": "taylor", "label": "t", "batches": ["updating"], "cumulative": "none", "every": 30},
          {"name": "gradient_norm", "every": 20},
          {"name": "snapshot", "steps": [7], "recent_lag": 1, "long_ago_lag": 2}])");
  const fs::path run = folder / "run";
  // Comments of both kinds are allowed.
  WriteFileAtomically(folder / "commented.json", "// first\n/* second */ " + json.dump());
  const std::string said =
      RunWell({"run", (folder / "commented.json").string(), "--output", run.string()});
  EXPECT_NE(said.find("done: 60 steps"), std::string::npos) << said;

  const auto metrics = Lines(ReadFile(run / "metrics.csv"));
  ASSERT_EQ(metrics.size(), 5);  // the rows of steps 0, 20, 30, 40
  EXPECT_EQ(metrics[0],
            "step,epoch,loss,t.updating.dot,t.updating.delta_loss,t.updating.penalty,gradient_norm."
            "g,gradient_norm.delta");
  EXPECT_TRUE(metrics[2].starts_with("20,2,")) << metrics[2];
  EXPECT_NE(metrics[2].find(",,,,"), std::string::npos) << "taylor is not due: " << metrics[2];
  EXPECT_TRUE(metrics[3].starts_with("30,3,")) << metrics[3];
  EXPECT_TRUE(metrics[3].ends_with(",,")) << "gradient_norm is not due: " << metrics[3];
  const auto eval = Lines(ReadFile(run / "eval.csv"));
  ASSERT_EQ(eval.size(), 5);  // steps 0, 25, 50 and the end
  EXPECT_EQ(eval[0], "step,epoch,train_loss,train_accuracy,test_loss,test_accuracy");
  EXPECT_TRUE(eval[4].starts_with("60,6,")) << eval[4];

  EXPECT_EQ(CheckpointNames(run), (std::vector<std::string>{"step_0000000000000040.safetensors",
                                                            "step_0000000000000060.safetensors"}));
  EXPECT_TRUE(fs::exists(run / "snapshots/step_7.safetensors"));
  const std::string log = ReadFile(run / "log.txt");
  EXPECT_NE(log.find("done: 60 steps"), std::string::npos) << log;
  EXPECT_EQ(log.find('\033'), std::string::npos) << "a colour in log.txt";

  const Json manifest = ReadJson(run / "manifest.json");
  EXPECT_EQ(manifest["status"], "done");
  EXPECT_EQ(manifest["reason"], "");
  EXPECT_EQ(manifest["steps_done"], 60);
  EXPECT_GT(manifest["wall_seconds"], 0);
  EXPECT_GT(manifest["seconds"]["start"], 0.02) << "loading LibTorch takes longer";
  EXPECT_GT(manifest["peak_memory_bytes"], 1e6);
  EXPECT_EQ(manifest["device"], "cpu");
  EXPECT_EQ(manifest["threads"], 1);
  EXPECT_EQ(manifest["versions"]["sgdscope"], SGDSCOPE_VERSION);
  EXPECT_EQ(manifest["versions"]["commit"], Commit());
  for (const std::string version : {"libtorch", "blas", "cpu_capability", "kernels", "cuda"}) {
    EXPECT_NE(manifest["versions"].value(version, ""), "") << version;
  }
  EXPECT_TRUE(manifest["data"].is_array());
  EXPECT_FALSE(manifest.contains("corrupt_examples"));
  EXPECT_FALSE(fs::exists(run / "label_noise.safetensors"));
  EXPECT_FALSE(fs::exists(run / "learned.csv"));
}

/// As NumPy's format 1.0 has it: magic, version, length, a description, and the numbers.
TEST(Cli, ColumnsAreAnArrayOfNumPy) {
  TempFolder folder;
  const fs::path run = folder / "run";
  RunWell({"run", WriteConfig(folder, SmallConfig()), "--output", run.string()});
  const std::string csv = (run / "metrics.csv").string();
  const Ended ended = RunProgram({"columns", csv, "--columns", "loss,step"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  ASSERT_TRUE(ended.out.starts_with(std::string("\x93NUMPY\1\0", 8)));
  const size_t begin = 10 + static_cast<unsigned char>(ended.out[8]) +
                       256 * static_cast<unsigned char>(ended.out[9]);
  EXPECT_EQ(begin % 64, 0u);
  EXPECT_NE(ended.out.find("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 60), }"),
            std::string::npos);
  ASSERT_EQ(ended.out.size(), begin + 2 * 60 * sizeof(double));
  EXPECT_EQ(ended.out[begin - 1], '\n');
  std::vector<double> numbers(2 * 60);
  std::memcpy(numbers.data(), ended.out.data() + begin, numbers.size() * sizeof(double));
  const CsvTable table = ReadCsv(csv);
  for (size_t i = 0; i < 60; ++i) {
    EXPECT_EQ(numbers[i], (*table.Find("loss"))[i]);
    EXPECT_EQ(numbers[60 + i], static_cast<double>(i));
  }
  ExpectFailure({"columns", csv, "--columns", "losss"}, 2, {csv, "losss", "first line"});
  ExpectFailure({"columns", (folder / "no.csv").string()}, 3, {"no.csv", "has begun"});
  const Ended no_room = RunShell("exec \"$0\" columns \"$1\" > /dev/full", {csv});
  EXPECT_EQ(no_room.status, 5) << no_room.err;
  EXPECT_NE(no_room.err.find("stdout"), std::string::npos) << no_room.err;
}

TEST(Cli, DiagnoseJudgesAllRunsThatItCanRead) {
  TempFolder folder;
  const fs::path run = folder / "run", damaged = folder / "damaged";
  RunWell({"run", WriteConfig(folder, SmallConfig()), "--output", run.string()});
  const Ended sound = RunProgram({"diagnose", run.string()});
  EXPECT_EQ(sound.status, 0) << sound.err;
  EXPECT_TRUE(sound.out.starts_with(run.string() + ": done, 60 steps")) << sound.out;
  const Ended none = RunProgram({"diagnose", (folder / "nothing").string(), run.string()});
  EXPECT_EQ(none.status, 2);
  EXPECT_EQ(none.out, sound.out);
  EXPECT_NE(none.err.find("nothing: there is no run here"), std::string::npos) << none.err;
  fs::copy(run, damaged, fs::copy_options::recursive);
  WriteFileAtomically(damaged / "metrics.csv", ReadFile(run / "metrics.csv") + "60,x,1\n");
  const Ended ended = RunProgram({"diagnose", "--json", damaged.string(), run.string()});
  EXPECT_EQ(ended.status, 3);
  EXPECT_NE(ended.err.find("metrics.csv: line 62 has a cell 'x'"), std::string::npos) << ended.err;
  const Json json = Json::parse(ended.out);
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["run"], run.string());
  EXPECT_EQ(json[0]["findings"], Json::array()) << json;
  EXPECT_EQ(json[0]["seconds"], ReadJson(run / "manifest.json")["seconds"]);
  ExpectFailure({"diagnose"}, 2, {"run"});
  const Ended help = RunProgram({"diagnose", "--help"});
  for (const std::string rule : {"divergence", "dead_units", "wide_errors", "probe_time"}) {
    EXPECT_NE(help.out.find("  " + rule + ": "), std::string::npos) << help.out;
  }
}

TEST(Cli, LabelNoiseAndWhatWasLearnedStandInTheRunFolder) {
  TempFolder folder;
  Json json = SmallConfig();
  json["data"]["label_noise"] = {{"fraction", 0.5}, {"kind", "uniform"}};
  json["eval"] = {{"at", "log"}, {"per_decade", 2}, {"learned", true}};
  const fs::path run = folder / "run";
  RunWell({"run", WriteConfig(folder, json), "--output", run.string()});

  const TensorFile noise = ReadTensorFile(run / "label_noise.safetensors");
  const at::Tensor labels = noise.tensors.at("labels");
  const at::Tensor originals = noise.tensors.at("original_labels");
  const at::Tensor corrupt = noise.tensors.at("corrupt");
  ASSERT_EQ(labels.size(0), 200);
  EXPECT_TRUE(corrupt.equal(labels.ne(originals).to(at::kByte)));
  const auto count = corrupt.sum().item<int64_t>();
  EXPECT_EQ(ReadJson(run / "manifest.json")["corrupt_examples"], count);

  const auto eval = Lines(ReadFile(run / "eval.csv"));
  ASSERT_EQ(eval.size(), 1 + 6);  // steps 0, 1, 3, 10, 32 and the end
  EXPECT_TRUE(eval[0].ends_with(
      "test_accuracy,train_pristine_loss,train_pristine_accuracy,train_corrupt_loss,"
      "train_corrupt_accuracy,proper_accuracy,overfit"));
  EXPECT_TRUE(eval[5].starts_with("32,3.2,")) << eval[5];
  std::string proper_accuracy;
  AppendNumber(static_cast<double>(200 - count) / 200, proper_accuracy);
  EXPECT_NE(eval[6].find("," + proper_accuracy + ","), std::string::npos) << eval[6];

  const auto learned = Lines(ReadFile(run / "learned.csv"));
  ASSERT_EQ(learned.size(), 1 + 200);
  EXPECT_EQ(learned[0], "example,label,original_label,corrupt,first_right,last_right");
  int64_t right_at_the_end = 0;
  for (int64_t i = 0; i < 200; ++i) {
    const std::string& row = learned[static_cast<size_t>(1 + i)];
    const auto number = [&](const at::Tensor& of) {
      return std::to_string(of[i].item<int64_t>()) + ",";
    };
    const std::string begin =
        std::to_string(i) + "," + number(labels) + number(originals) + number(corrupt);
    EXPECT_TRUE(row.starts_with(begin)) << row;
    if (row.ends_with(",60")) ++right_at_the_end;
  }
  std::string accuracy;
  AppendNumber(static_cast<double>(right_at_the_end) / 200, accuracy);
  EXPECT_NE(eval[6].find("," + accuracy + ","), std::string::npos) << eval[6];
}

TEST(Cli, TheCommandLineWinsAndTheResolvedConfigGivesTheSameRun) {
  TempFolder folder;
  Json json = SmallConfig();
  json["output"] = (folder / "in_the_file").string();
  const fs::path first = folder / "first";
  const fs::path second = folder / "second";
  RunWell({"run", WriteConfig(folder, json), "--set", "model.hidden=[5]", "--set", "seed=7",
           "--seed", "8", "--set", "device=cuda", "--device", "cpu", "--output", first.string(),
           "--quiet"});
  EXPECT_FALSE(fs::exists(folder / "in_the_file"));
  const Json resolved = ReadJson(first / "config.json");
  EXPECT_EQ(resolved["model"]["hidden"], Json::parse("[5]"));
  EXPECT_EQ(resolved["seed"], 8);
  EXPECT_EQ(resolved["device"], "cpu");
  EXPECT_EQ(resolved["output"], first.string());

  const std::string said =
      RunWell({"run", (first / "config.json").string(), "--output", second.string(), "--quiet"});
  EXPECT_EQ(said, "") << "--quiet";
  EXPECT_EQ(ReadFile(first / "metrics.csv"), ReadFile(second / "metrics.csv"));
  EXPECT_EQ(ReadFile(first / "eval.csv"), ReadFile(second / "eval.csv"));
  Json again = ReadJson(second / "config.json");
  again["output"] = first.string();
  EXPECT_EQ(again, resolved);
}

TEST(Cli, ResumingWhereThereIsNoRunSaysThatOneStarts) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig()), run = (folder / "run").string();
  for (const std::string words :
       {": there is no run here yet: it starts from step 0", ": this run is done already"}) {
    const Ended ended = RunProgram({"run", config, "--output", run, "--resume"});
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_NE(ended.err.find(run + words), std::string::npos) << ended.err;
  }
}

TEST(Cli, AnExistingRunIsKeptUnlessToldOtherwise) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  const fs::path run = folder / "run";
  RunWell({"run", config, "--output", run.string()});
  const std::string metrics = ReadFile(run / "metrics.csv");
  ExpectFailure({"run", config, "--output", run.string(), "--seed", "9"}, 2,
                {run.string(), "--resume", "--overwrite"});
  ExpectFailure({"run", config, "--output", run.string(), "--seed", "9", "--resume"}, 2,
                {"seed is 3 there and 9 here", "sgdscope fork " + run.string() + " --at STEP"});
  EXPECT_EQ(ReadFile(run / "metrics.csv"), metrics);

  WriteFileAtomically(run / "notes.txt", "mine");
  WriteFileAtomically(run / "checkpoints/step_0000000000009999.safetensors", "of the older run");
  RunWell({"run", config, "--output", run.string(), "--seed", "9", "--overwrite"});
  EXPECT_NE(ReadFile(run / "metrics.csv"), metrics);
  EXPECT_EQ(ReadFile(run / "notes.txt"), "mine");
  EXPECT_EQ(CheckpointNames(run), (std::vector<std::string>{"step_0000000000000040.safetensors",
                                                            "step_0000000000000060.safetensors"}));
}

TEST(Cli, OverwritingKeepsWhatTheNewRunReads) {
  TempFolder folder;
  const fs::path run = folder / "run";
  Json json = SmallConfig();
  json["data"]["label_noise"] = {{"fraction", 0.5}};
  const std::string config = WriteConfig(folder, json);
  RunWell({"run", config, "--output", run.string()});
  WriteBytes(folder / "x.npy", Npy("'<f4'", {200, 8}, BytesOf(std::vector<float>(200 * 8, 0.5F))));
  const std::string weights = (run / "checkpoints/step_0000000000000040.safetensors").string();
  const std::string labels = (run / "label_noise.safetensors").string();
  const Json probes = {{{"name", "distance"}, {"to", weights}}};
  const Json data = {{"name", "arrays"},
                     {"path", folder.path().string()},
                     {"train_files", {"x.npy", labels + ":labels"}},
                     {"split", {{"share", 0.5}}},
                     {"normalize", "none"}};
  const auto refused = [&](const std::string& change, const std::vector<std::string>& parts) {
    const auto names = CheckpointNames(run);
    ExpectFailure({"run", config, "--output", run.string(), "--overwrite", "--set", change}, 2,
                  parts);
    EXPECT_EQ(CheckpointNames(run), names);
    EXPECT_TRUE(fs::exists(labels));
    EXPECT_EQ(ReadJson(run / "manifest.json")["status"], "done");
  };
  refused("init.from=" + weights, {weights + ": is what init.from names"});
  refused("probes=" + probes.dump(), {weights + ": is what probes[0] names"});
  refused("data=" + data.dump(), {labels + ": is a file of data"});
}

TEST(Cli, DataThatFloat32DoesNotHoldExitWith3) {
  TempFolder folder;
  const Arguments run = {"run",      WriteConfig(folder, SmallConfig()),
                         "--output", (folder / "run").string(),
                         "--set",    "data.std=3e38"};  // some are two and more of them from 0
  ExpectFailure(run, 3,
                {"data: found ", "inputs of example", "training set", "\"dtype\": \"float64\""});
  EXPECT_FALSE(fs::exists(folder / "run/config.json"));
}

TEST(Cli, ARunningFolderIsLockedAndAnInterruptSavesTheRun) {
  TempFolder folder;
  Json json = SmallConfig();
  json["steps"] = 100'000'000;  // until the signal
  json["eval"]["learned"] = true;
  const std::string config = WriteConfig(folder, json);
  const fs::path run = folder / "run";
  fs::create_directory(run);
  const FolderWatch watch(run);
  Process process({"run", config, "--output", run.string()});
  ASSERT_TRUE(watch.UntilSize(process, run / "metrics.csv", 1000));
  for (const std::string option : {"--resume", "--overwrite"}) {
    ExpectFailure({"run", config, "--output", run.string(), option}, 2,
                  {run.string(), "another process"});
  }
  process.Signal(SIGINT);
  const Ended ended = process.Wait();
  EXPECT_EQ(ended.status, 128 + SIGINT) << ended.err;
  EXPECT_NE(ended.err.find("--resume"), std::string::npos) << ended.err;

  const Json manifest = ReadJson(run / "manifest.json");
  EXPECT_EQ(manifest["status"], "interrupted");
  const auto checkpoint = LoadLastCheckpoint(run / "checkpoints", [](const std::string&) {});
  ASSERT_TRUE(checkpoint.has_value());
  EXPECT_EQ(checkpoint->step, manifest["steps_done"]);
  EXPECT_EQ(checkpoint->metrics.bytes, fs::file_size(run / "metrics.csv"));
  const auto rows = Lines(ReadFile(run / "metrics.csv"));
  EXPECT_EQ(rows.size() - 1, manifest["steps_done"]) << "one row a step, up to the interrupt";
  EXPECT_EQ(Lines(ReadFile(run / "learned.csv")).size(), 201) << "a row for each example";
}

/// Until a signal ends it.
Json EndlessConfig() {
  Json json = SmallConfig();
  json["steps"] = 100'000'000;
  return json;
}

void ExpectInterrupted(const Ended& ended, int signal, const fs::path& run) {
  EXPECT_EQ(ended.status, 128 + signal) << ended.err;
  const Json manifest = ReadJson(run / "manifest.json");
  EXPECT_EQ(manifest["status"], "interrupted");
  const auto checkpoint = LoadLastCheckpoint(run / "checkpoints", [](const std::string&) {});
  ASSERT_TRUE(checkpoint.has_value());
  EXPECT_EQ(checkpoint->step, manifest["steps_done"]);
}

/// The kernel and the shell may both tell of a terminal that is gone.
TEST(CliSignals, AHangupSavesTheRunHoweverOftenItComes) {
  TempFolder folder;
  const fs::path run = folder / "run";
  fs::create_directory(run);
  const FolderWatch watch(run);
  Process process({"run", WriteConfig(folder, EndlessConfig()), "--output", run.string()});
  ASSERT_TRUE(watch.UntilSize(process, run / "metrics.csv", 1000));
  for (int i = 0; i < 10; ++i) process.Signal(SIGHUP);
  ExpectInterrupted(process.Wait(), SIGHUP, run);
}

TEST(CliSignals, AHangupThatIsIgnoredFromTheStartStaysSo) {
  TempFolder folder;
  const fs::path run = folder / "run";
  fs::create_directory(run);
  const FolderWatch watch(run);
  Process process(ShellLine("trap '' HUP; exec \"$0\" run \"$1\" --output \"$2\"",
                            {WriteConfig(folder, EndlessConfig()), run.string()}),
                  "/bin/sh");
  ASSERT_TRUE(watch.UntilSize(process, run / "metrics.csv", 1000));
  process.Signal(SIGHUP);
  ASSERT_TRUE(
      watch.UntilSize(process, run / "metrics.csv", 1000 + fs::file_size(run / "metrics.csv")));
  process.Signal(SIGTERM);
  ExpectInterrupted(process.Wait(), SIGTERM, run);
}

TEST(CliOutput, ARunGoesOnWithoutTheReaderOfWhatItPrints) {
  TempFolder folder;
  const fs::path run = folder / "run";
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  const Ended ended =
      RunShell("exec \"$0\" run \"$1\" --output \"$2\" >&$3 2>&$3",
               {WriteConfig(folder, SmallConfig()), run.string(), std::to_string(ends[1])});
  close(ends[1]);
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ReadJson(run / "manifest.json")["status"], "done");
  EXPECT_NE(ReadFile(run / "log.txt").find("results: "), std::string::npos);
}

TEST(CliOutput, NoFileOfARunTakesThePlaceOfAClosedStandardStream) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  const fs::path open = folder / "open";
  const fs::path closed = folder / "closed";
  RunWell({"run", config, "--output", open.string()});
  const Ended ended =
      RunShell("exec \"$0\" run \"$1\" --output \"$2\" <&- >&- 2>&-", {config, closed.string()});
  EXPECT_EQ(ended.status, 0);
  for (const std::string name : {"metrics.csv", "eval.csv", ".lock"}) {
    EXPECT_EQ(ReadFile(closed / name), ReadFile(open / name)) << name;
  }
}

/// What cannot be delivered is no success, however short.
TEST(CliOutput, AResultThatCannotBeWrittenExitsWith5) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  for (const std::string command :
       {"list", "schema", "validate \"$1\"", "describe \"$1\"", "--help", "--version"}) {
    const Ended full = RunShell("exec \"$0\" " + command + " >/dev/full", {config});
    EXPECT_EQ(full.status, 5) << command;
    EXPECT_NE(full.err.find("standard output: cannot write: No space left"), std::string::npos)
        << command << ": " << full.err;
  }
  const Ended closed = RunShell("exec \"$0\" list >&-", {});
  EXPECT_EQ(closed.status, 5);
  EXPECT_NE(closed.err.find("standard output: cannot write"), std::string::npos) << closed.err;
  const Ended limited =
      RunShell("ulimit -f 1; exec \"$0\" schema >\"$1\"", {(folder / "out").string()});
  EXPECT_EQ(limited.status, 5);
  EXPECT_NE(limited.err.find("File too large"), std::string::npos) << limited.err;
}

/// LibTorch would take back thousands of registrations, as the dynamic linker would tell.
TEST(CliOutput, TheProcessEndsWithoutTakingItsLibrariesDown) {
  const Ended ended = RunShell("LD_DEBUG=files exec \"$0\" --version", {});
  EXPECT_EQ(ended.out, VersionLine());
  EXPECT_NE(ended.err.find("calling init"), std::string::npos);
  EXPECT_EQ(ended.err.find("calling fini"), std::string::npos);
}

TEST(CliFolder, AFolderWithOtherFilesOfTheSameNamesIsLeftAlone) {
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  const fs::path run = folder / "project";
  fs::create_directory(run);
  WriteFileAtomically(run / "metrics.csv", "a,b");
  ExpectFailure({"run", config, "--output", run.string(), "--overwrite"}, 2,
                {(run / "metrics.csv").string(), "in the way", "--output"});
  EXPECT_EQ(std::distance(fs::directory_iterator(run), fs::directory_iterator()), 1);
  EXPECT_EQ(ReadFile(run / "metrics.csv"), "a,b");
}

TEST(CliFolder, TheSavedConfigReplacesItsRunButNotItself) {
  TempFolder folder;
  const fs::path run = folder / "run";
  RunWell({"run", WriteConfig(folder, SmallConfig()), "--output", run.string()});
  const std::string saved = (run / "config.json").string();
  RunWell({"run", saved, "--overwrite"});
  ExpectFailure({"run", saved, "--overwrite", "--seed", "9"}, 2,
                {saved, "the config that was given", "--output"});
  EXPECT_EQ(ReadJson(saved)["seed"], 3);
  EXPECT_EQ(ReadJson(run / "manifest.json")["status"], "done");
}

/// A run that cannot go on leaves no file that says that it runs.
TEST(CliFolder, AFailureWhileARunBeginsStandsInItsManifest) {
  TempFolder folder;
  const fs::path run = folder / "run";
  const Ended ended = RunShell("ulimit -f 2; exec \"$0\" run \"$1\" --output \"$2\"",
                               {WriteConfig(folder, SmallConfig()), run.string()});
  EXPECT_EQ(ended.status, 5) << ended.err;
  EXPECT_EQ(ReadJson(run / "manifest.json")["status"], "failed");
}

}  // namespace
}  // namespace sgdscope
