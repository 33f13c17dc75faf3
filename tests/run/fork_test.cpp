#include "run/fork.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>

#include "core/tensor_file.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/run/in_process.h"
#include "tests/run/kills.h"
#include "tests/tensors.h"
#include "updates/schedule.h"

// A fork without changes goes on as its parent did, byte for byte; one with changes begins at the
// same weights, and says what of the state is not as it was.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStep = 10;  // of the forks: in the middle of an epoch of 7 steps

/// 30 steps with everything that a run writes.
Json ParentConfig(const Json& changes = Json::object()) {
  Json config = Json::parse(R"({
    "name": "parent", "seed": 3, "steps": 30, "batch_size": 6, "train_loss": "epoch_mean",
    "data": {"name": "synthetic", "train_size": 42, "test_size": 9, "shape": [2, 3], "classes": 4,
             "label_noise": {"fraction": 0.5}},
    "model": {"name": "mlp", "hidden": [8, 5]},
    "update": {"name": "sgd", "learning_rate": 0.1},
    "stop": {"train_loss": 0},
    "eval": {"every": 4, "learned": true},
    "checkpoint": {"every_steps": 10, "keep": {"all": true}}
  })");
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

Json WithName(const LeafCase& leaf) {
  Json config = leaf.fields;
  config["name"] = leaf.name;
  return config;
}

int64_t StepOf(const std::string& row) { return std::stoll(row); }

/// The header of a CSV, and the rows from a step on.
std::vector<std::string> Tail(const fs::path& csv, int64_t step) {
  std::vector<std::string> lines = Lines(ReadFile(csv));
  std::erase_if(lines, [&](const std::string& line) {
    return std::isdigit(static_cast<unsigned char>(line[0])) != 0 && StepOf(line) < step;
  });
  return lines;
}

/// Of a checkpoint.
std::string NameOf(int64_t step) {
  const std::string digits = std::to_string(step);
  return "step_" + std::string(kCheckpointDigits - digits.size(), '0') + digits + ".safetensors";
}

std::map<std::string, at::Tensor> TensorsAt(const fs::path& run, int64_t step) {
  return LoadCheckpoint(run / "checkpoints", step).state;
}

void ExpectSameTensors(const std::map<std::string, at::Tensor>& a,
                       const std::map<std::string, at::Tensor>& b, const std::string& what) {
  EXPECT_EQ(a.size(), b.size()) << what;
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name << " of " << what;
    EXPECT_TRUE(SameBits(tensor, b.at(name))) << name << " of " << what;
  }
}

/// That the run in `fork` is what the one in `parent` does from `step` on.
void ExpectTail(const fs::path& parent, const fs::path& fork, int64_t step,
                const std::string& what) {
  for (const std::string csv : {"metrics.csv", "eval.csv"}) {
    EXPECT_TRUE(Tail(parent / csv, step) == Lines(ReadFile(fork / csv))) << csv << " of " << what;
  }
  for (const std::string name : {"learned.csv", "label_noise.safetensors"}) {
    EXPECT_TRUE(ReadFile(parent / name) == ReadFile(fork / name)) << name << " of " << what;
  }
  std::vector<int64_t> steps = CheckpointSteps(parent / "checkpoints");
  std::erase_if(steps, [&](int64_t s) { return s < step; });
  EXPECT_EQ(CheckpointSteps(fork / "checkpoints"), steps) << what;
  for (const int64_t s : steps) ExpectSameTensors(TensorsAt(parent, s), TensorsAt(fork, s), what);
  for (const fs::path& snapshot : FilesIn(fork / "snapshots")) {
    EXPECT_TRUE(ReadFile(snapshot) == ReadFile(parent / "snapshots" / snapshot.filename()))
        << snapshot << " of " << what;
  }
  const Json record = ReadJson(fork / "manifest.json")["fork"];
  EXPECT_EQ(record["run"], fs::canonical(parent).string());
  EXPECT_EQ(record["step"], step);
  EXPECT_EQ(record["theta_crc32"], ChecksumOf(TensorsAt(parent, step).at("theta")));
  EXPECT_EQ(record["anew"], Json::array()) << what;
  EXPECT_EQ(record["left"], Json::array()) << what;
}

void ExpectUnchangedForkIsTail(const Json& config, const std::string& what) {
  const TempFolder folder;
  TrainInto(folder / "parent", config);
  ForkInto(folder / "fork", folder / "parent", kStep);
  ExpectTail(folder / "parent", folder / "fork", kStep, what);
}

TEST(UnchangedFork, IsTheTailOfItsParentForEveryUpdateRule) {
  for (const LeafCase& rule : AllLeaves<UpdateRule>()) {
    ExpectUnchangedForkIsTail(ParentConfig({{"update", WithName(rule)}}), rule.Text());
  }
}

TEST(UnchangedFork, IsTheTailOfItsParentForEverySchedule) {
  for (const LeafCase& schedule : AllLeaves<Schedule>()) {
    Json config = ParentConfig();
    config["update"]["learning_rate"] = WithName(schedule);
    if (schedule.fields.contains("train_loss")) config["update"]["learning_rate"]["train_loss"] = 2;
    ExpectUnchangedForkIsTail(config, schedule.Text());
  }
}

TEST(UnchangedFork, IsTheTailOfItsParentForEverySampler) {
  for (const LeafCase& sampler : AllLeaves<Sampler>()) {
    Json config = ParentConfig({{"sampler", WithName(sampler)}});
    if (sampler.name == "full") config.erase("batch_size");
    ExpectUnchangedForkIsTail(config, sampler.Text());
  }
}

TEST(UnchangedFork, IsTheTailOfItsParentForEveryEstimator) {
  for (const LeafCase& estimator : AllLeaves<Estimator>()) {
    ExpectUnchangedForkIsTail(ParentConfig({{"gradient", WithName(estimator)}}), estimator.Text());
  }
}

TEST(UnchangedFork, IsTheTailOfItsParentWithAllProbes) {
  Json config = ParentConfig();
  config["probes"] = Json::array();
  size_t with_state = 0;
  for (const LeafCase& probe : AllLeaves<Probe>()) {
    Json json = WithName(probe);
    json["label"] = "probe" + std::to_string(config["probes"].size());
    json["every"] = 4 * probe.fields.value("every", int64_t{1});
    config["probes"].push_back(json);
  }
  const TempFolder folder;
  TrainInto(folder / "parent", config);
  ForkInto(folder / "fork", folder / "parent", kStep);
  ExpectTail(folder / "parent", folder / "fork", kStep, "all probes");
  for (const auto& [name, tensor] : TensorsAt(folder / "fork", 30)) {
    if (name.starts_with("probe.")) ++with_state;
  }
  EXPECT_GT(with_state, 4u);
}

TEST(UnchangedFork, IsTheTailOfItsParentUnderBatchNormalization) {
  Json config = ParentConfig({{"model", {{"name", "resnet18"}, {"channels", 2}}}});
  config["data"]["shape"] = {1, 9, 8};
  ExpectUnchangedForkIsTail(config, "batch normalization");
}

TEST(UnchangedFork, OfAForkIsTheTailOfTheFirstParent) {
  const TempFolder folder;
  const Json adam = {{"update", {{"name", "adam"}, {"learning_rate", 0.01}}}};
  TrainInto(folder / "parent",
            ParentConfig({{"update", {{"name", "sgd"}, {"learning_rate", 0.1}}}}));
  ForkInto(folder / "child", folder / "parent", kStep, adam);
  ForkInto(folder / "grandchild", folder / "child", 20);
  ExpectTail(folder / "child", folder / "grandchild", 20, "a fork of a fork");
}

// ---- With changes

/// What the fork of a run with `parent` says of its state with these changes.
Json RecordOf(const Json& parent, const Json& changes) {
  const TempFolder folder;
  TrainInto(folder / "parent", ParentConfig(parent));
  ForkInto(folder / "fork", folder / "parent", kStep, changes);
  Json record = ReadJson(folder / "fork/manifest.json")["fork"];
  const std::string log = ReadFile(folder / "fork/log.txt");
  for (const char* list : {"anew", "left"}) {
    for (const auto& text : record[list]) {
      EXPECT_NE(log.find(text.get<std::string>()), std::string::npos) << log;
    }
  }
  return record;
}

Json Rule(const std::string& text) { return {{"update", Json::parse(text)}}; }

const Json kMomentum = Rule(R"({"name": "sgd", "learning_rate": 0.1, "momentum": 0.9})");
const Json kAdam = Rule(R"({"name": "adam", "learning_rate": 0.01})");

TEST(ForkState, IsCarriedWhereItMeansTheSame) {
  using Names = std::vector<std::string>;
  const auto expect = [](const Json& parent, const Json& changes, const Names& anew,
                         const Names& left) {
    const Json record = RecordOf(parent, changes);
    EXPECT_EQ(record["anew"], Json(anew)) << parent << changes;
    EXPECT_EQ(record["left"], Json(left)) << parent << changes;
  };
  const Names none;
  expect(kMomentum, Rule(R"({"name": "sgd", "learning_rate": 0.2, "momentum": 0.5})"), none, none);
  expect(kMomentum, Rule(R"({"name": "sgd", "learning_rate": 0.2})"), none, {"update.velocity"});
  expect(kMomentum,
         Rule(R"({"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "dampening": 0.9})"),
         {"update.velocity (update.dampening is another)"}, none);
  expect(kMomentum, kAdam,
         {"update.mean (update is adam, was sgd)", "update.square (update is adam, was sgd)"},
         {"update.velocity"});
  expect(kAdam, Rule(R"({"name": "adamw", "learning_rate": 0.01})"), none, none);
  // What they divide by tells the age of means with these betas only.
  expect(kAdam, Rule(R"({"name": "adam", "learning_rate": 0.02, "epsilon": 1e-6})"), none, none);
  expect(kAdam, Rule(R"({"name": "adam", "learning_rate": 0.01, "beta2": 0.99})"),
         {"update.mean (update.beta2 is another)", "update.square (update.beta2 is another)"},
         none);
  expect(kAdam, Rule(R"({"name": "adamw", "learning_rate": 0.01, "beta1": 0.8})"),
         {"update.mean (update.beta1 is another)", "update.square (update.beta1 is another)"},
         none);
  expect(Rule(R"({"name": "lion", "learning_rate": 0.01})"),
         Rule(R"({"name": "lion", "learning_rate": 0.01, "beta2": 0.9})"), none, none);
  expect(kAdam, Rule(R"({"name": "lion", "learning_rate": 0.01})"), none, {"update.square"});
  expect(kAdam, Rule(R"({"name": "rmsprop", "learning_rate": 0.01})"), none, {"update.mean"});
  // All of a rule's state or nothing: the mean square alone would be taken for a young one.
  expect(
      Rule(R"({"name": "rmsprop", "learning_rate": 0.01})"), kAdam,
      {"update.mean (update is adam, was rmsprop)", "update.square (update is adam, was rmsprop)"},
      none);
  expect({}, {{"batch_size", 14}}, {"epoch_mean.sum (batch_size is another)"}, none);
  expect({}, {{"seed", 4}},
         {"epoch_mean.sum (seed is another)", "learned.first_right (seed is another)",
          "learned.last_right (seed is another)"},
         none);
  expect({}, {{"dtype", "float64"}, {"gradient", {{"name", "coordinate_median"}}}}, none, none);
}

TEST(ForkState, OfProbesIsCarriedUnlessTheyChange) {
  const Json parent = {
      {"probes", Json::parse(R"([{"name": "taylor", "recent_lag": 1, "long_ago_lag": 2},
      {"name": "distance", "every": 1}, {"name": "distance", "label": "distance.b", "every": 1}])")}};
  Json changed = parent;
  changed["probes"][0]["hessian"] = true;
  changed["probes"][2]["every"] = 2;
  const std::vector<std::string> anew = {"probe.distance.b.start (the probe is another)",
                                         "probe.taylor.sums (the probe is another)"};
  EXPECT_EQ(RecordOf(parent, changed)["anew"], Json(anew));
}

/// A rule without its state goes on as it begins in a run of its own from these weights.
TEST(ForkState, ThatIsNotCarriedBeginsAsAtStepZero) {
  const TempFolder folder;
  Json config = ParentConfig({{"sampler", {{"name", "full"}}},
                              {"checkpoint", {{"every_steps", 1}, {"keep", {{"all", true}}}}}});
  config.erase("batch_size");
  TrainInto(folder / "parent", config);
  const std::string name = "checkpoints/" + NameOf(kStep);
  size_t count = 0;
  for (const LeafCase& rule : AllLeaves<UpdateRule>()) {
    const std::string label = std::to_string(count++);
    const Json changes = {{"update", WithName(rule)}, {"steps", kStep + 1}};
    ForkInto(folder / ("fork" + label), folder / "parent", kStep, changes);
    Json fresh = config;
    fresh["update"] = WithName(rule);
    fresh["steps"] = 1;
    fresh["init"] = {{"from", (folder / "parent" / name).string()}};
    TrainInto(folder / ("fresh" + label), fresh);
    EXPECT_TRUE(SameBits(TensorsAt(folder / ("fork" + label), kStep + 1).at("theta"),
                         TensorsAt(folder / ("fresh" + label), 1).at("theta")))
        << rule.Text();
  }
}

TEST(ForkProbes, ThatAreNewBeginAtTheFork) {
  const TempFolder folder;
  TrainInto(folder / "parent", ParentConfig());
  ForkInto(folder / "fork", folder / "parent", kStep,
           {{"seed", 8}, {"probes", Json::parse(R"([{"name": "distance", "every": 1}])")}});
  const auto rows = Lines(ReadFile(folder / "fork/metrics.csv"));
  EXPECT_NE(rows[0].find("loss,distance.start,"), std::string::npos) << rows[0];
  const std::string row = rows[1].substr(rows[1].find(',', rows[1].find(',', 3) + 1));
  EXPECT_TRUE(row.starts_with(",0,")) << rows[1];
}

/// Under another seed the batch of two steps ago is not that of the new sampler.
TEST(ForkProbes, HaveNoEarlierBatchesThanThoseOfTheRun) {
  const TempFolder folder;
  const Json probes = {{"probes", Json::parse(R"([{"name": "taylor", "batches": ["recent"],
      "recent_lag": 2, "cumulative": "none"},
      {"name": "snapshot", "every": 1, "recent_lag": 2, "long_ago_lag": 4}])")}};
  TrainInto(folder / "parent", ParentConfig(probes));
  const auto measured = [&](const std::string& name, size_t row) {
    return !Lines(ReadFile(folder / name / "metrics.csv"))[row].ends_with(",,,");
  };
  ForkInto(folder / "other", folder / "parent", kStep, {{"seed", 4}});
  for (size_t row = 1; row < 5; ++row) EXPECT_EQ(measured("other", row), row > 2) << row;
  const auto snapshot = [&](int64_t step) {
    return ReadTensorFile(folder / "other/snapshots" /
                          ("step_" + std::to_string(step) + ".safetensors"))
        .tensors;
  };
  EXPECT_FALSE(snapshot(kStep + 1).contains("batch.recent"));
  EXPECT_TRUE(snapshot(kStep + 2).contains("batch.recent"));
  EXPECT_FALSE(snapshot(kStep + 3).contains("batch.long_ago"));
  EXPECT_TRUE(snapshot(kStep + 4).contains("batch.long_ago"));
  // So do forks of it, and resumed ones.
  ForkInto(folder / "of_other", folder / "other", 20);
  EXPECT_EQ(LoadCheckpoint(folder / "of_other/checkpoints", 30).batches_begin, kStep);
  ForkInto(folder / "same", folder / "parent", kStep,
           Rule(R"({"name": "sgd", "learning_rate": 1})"));
  EXPECT_TRUE(measured("same", 1));
}

TEST(ForkEpochMean, OfAnEpochThatBeganBeforeTheForkIsNotKnown) {
  EpochMean mean(4, at::kCPU);
  mean.Forget();
  for (const int64_t step : {6, 7, 8, 9, 10, 11}) {
    EXPECT_FALSE(step > 6 && mean.Before(step).has_value()) << step;
    mean.Add(step, at::scalar_tensor(static_cast<double>(step), at::kDouble));
  }
  EXPECT_EQ(mean.Before(12), 9.5);
  mean.Forget();  // at the end of an epoch
  EXPECT_FALSE(mean.Before(12).has_value());
}

// ---- What is refused

class ForkErrors : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    TrainInto(Parent(), ParentConfig());
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static fs::path Parent() { return *folder_ / "parent"; }

  static void ExpectRefused(ErrorKind kind, const Json& changes,
                            const std::vector<std::string>& parts) {
    ExpectError(kind, parts, [&] { ForkInto(*folder_ / "refused", Parent(), kStep, changes); });
    EXPECT_FALSE(fs::exists(*folder_ / "refused"));
  }

  static std::unique_ptr<TempFolder> folder_;
};
std::unique_ptr<TempFolder> ForkErrors::folder_;

TEST_F(ForkErrors, AStepWithoutCheckpointNamesThoseThatThereAre) {
  ExpectError(ErrorKind::kConfig,
              {"--at", "no checkpoint of step 11", "those of 10, 20, 30", "keep.steps=[11]"},
              [] { ReadFork(Parent(), 11); });
  const TempFolder empty;
  ExpectError(ErrorKind::kConfig, {empty.path().string(), "there is no run here", "fork runs/mine"},
              [&] { ReadFork(empty.path(), 10); });
}

TEST_F(ForkErrors, AnotherNetworkIsRefused) {
  ExpectRefused(ErrorKind::kConfig, {{"model", {{"name", "mlp"}, {"hidden", {9, 5}}}}},
                {"another network", "linear1.weight [8, 6] there", "linear1.weight [9, 6] here"});
  // As many parameters: 125.
  ExpectRefused(ErrorKind::kConfig, {{"model", {{"name", "mlp"}, {"hidden", {1, 19}}}}},
                {"linear1.weight [8, 6] there", "linear1.weight [1, 6] here"});
  ExpectRefused(ErrorKind::kConfig,
                {{"model", {{"name", "mlp"}, {"hidden", {8, 5}}, {"bias", false}}}},
                {"linear1.bias [8] there", "linear2.weight [5, 8] here"});
}

TEST_F(ForkErrors, WeightsThatAreNotFiniteAreRefused) {
  TrainInto(*folder_ / "diverged", ParentConfig());
  const fs::path checkpoints = *folder_ / "diverged/checkpoints";
  Checkpoint checkpoint = LoadCheckpoint(checkpoints, kStep);
  checkpoint.state.at("theta")[3] = NAN;
  SaveCheckpoint(checkpoints, checkpoint);
  ExpectError(ErrorKind::kConfig, {"--at", "step 10", "not finite", "earlier step"},
              [] { ForkInto(*folder_ / "refused", *folder_ / "diverged", kStep); });
  EXPECT_FALSE(fs::exists(*folder_ / "refused"));
}

TEST_F(ForkErrors, AForkThatWouldNotTakeAStepIsRefused) {
  ExpectRefused(ErrorKind::kConfig, {{"steps", 10}}, {"--at", "end at step 10", "--set steps=20"});
}

TEST_F(ForkErrors, DamagedCheckpointsAreRefused) {
  const fs::path file = Parent() / "checkpoints" / NameOf(20);
  std::string content = ReadFile(file);
  content[content.size() - 5] ^= 4;
  WriteFileAtomically(file, content);
  ExpectError(ErrorKind::kData, {file.string(), "checksum", "Use another checkpoint"},
              [] { ReadFork(Parent(), 20); });
  // What a manifest tells of is what it was, or an error.
  Json record = ReadFork(Parent(), kStep).Record();
  record["theta_crc32"] = "00000000";
  ExpectError(ErrorKind::kData, {Parent().string(), "began with \"00000000\"", "--overwrite"},
              [&] { ReadFork(record); });
}

// ---- Kills

/// A fork that is never stopped, and others that are: those with a checkpoint of their own go on
/// without their parent.
class ForkReference {
 public:
  /// Of a parent with this update rule, by these arguments.
  ForkReference(const Json& update, std::vector<std::string> changes)
      : changes_(std::move(changes)) {
    Json config = ParentConfig(update);
    config["steps"] = kLong;
    config["checkpoint"]["every_steps"] = 20;
    TrainInto(parent(), config);
    EXPECT_EQ(RunProgram(Beginning(run())).status, 0);
    EXPECT_EQ(ReadJson(run() / "manifest.json")["steps_done"], kEnd);
  }

  fs::path run() const { return folder_ / "undisturbed"; }
  fs::path NewRun() const {
    fs::create_directories(folder_ / "stopped/checkpoints");
    return folder_ / "stopped";
  }

  std::vector<std::string> Arguments(const fs::path& output) const {
    const bool on_its_own = !CheckpointNames(output).empty();
    if (fs::exists(parent()) == on_its_own) {
      fs::rename(on_its_own ? parent() : gone(), on_its_own ? gone() : parent());
    }
    if (!on_its_own) return Beginning(output);
    return {"run", (output / "config.json").string(), "--resume"};
  }

  void ExpectSame(const fs::path& other) const {
    ExpectSameRun(run(), other);
    EXPECT_EQ(ReadJson(run() / "manifest.json")["fork"], ReadJson(other / "manifest.json")["fork"]);
  }

 private:
  static constexpr int64_t kLong = 20;  // of the parent
  static constexpr int64_t kEnd = 1500;

  fs::path parent() const { return folder_ / "parent"; }
  fs::path gone() const { return folder_ / "gone"; }
  std::vector<std::string> Beginning(const fs::path& output) const {
    std::vector<std::string> words = {"fork",
                                      parent().string(),
                                      "--at",
                                      std::to_string(kLong),
                                      "--resume",
                                      "--set",
                                      "steps=" + std::to_string(kEnd),
                                      "-o",
                                      output.string()};
    words.insert(words.end(), changes_.begin(), changes_.end());
    return words;
  }

  TempFolder folder_;
  std::vector<std::string> changes_;
};

/// Of a fork that changes nearly everything.
const std::vector<std::string> kOtherRun = {
    "--set",  R"(update={"name": "adam", "learning_rate": 0.003})",
    "--set",  "batch_size=null",
    "--set",  R"(sampler={"name": "full"})",
    "--set",  R"(probes=[{"name": "taylor", "batches": ["updating"]}])",
    "--seed", "5"};

TEST(KilledFork, EndsWithTheSameBytes) {
  ExpectKillsLeaveNoTrace(ForkReference(kMomentum, kOtherRun), 3, 1);
}

/// With the state of their parents, at another rate.
TEST(KilledForkSlow, Of25KillsEndsWithTheSameBytes) {
  for (const std::string rule :
       {R"({"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": true})",
        R"({"name": "adamw", "learning_rate": 0.01})",
        R"({"name": "rmsprop", "learning_rate": 0.01, "momentum": 0.9})",
        R"({"name": "lion", "learning_rate": 0.001})"}) {
    const ForkReference reference(Rule(rule), {"--set", "update.learning_rate=0.002"});
    EXPECT_EQ(ReadJson(reference.run() / "manifest.json")["fork"]["anew"], Json::array()) << rule;
    ExpectKillsLeaveNoTrace(reference, 25, 1);
  }
}

// ---- The command

class ForkCommand : public testing::Test {
 protected:
  ForkCommand() {
    config_ = ParentConfig(kMomentum);
    config_["steps"] = 300;
    config_["checkpoint"]["every_steps"] = 50;
    TrainInto(parent_, config_);
  }
  Ended Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"fork", parent_, "--at", "100"});
    return RunProgram(arguments);
  }
  std::vector<std::string> Arguments(const std::string& output) const {
    std::vector<std::string> words = kOtherRun;
    words.insert(words.end(), {"-o", (folder_ / output).string()});
    return words;
  }

  TempFolder folder_;
  std::string parent_ = (folder_ / "parent").string();
  Json config_;
};

/// As if it had been killed after any of them.
TEST_F(ForkCommand, ResumedAtAnyOfItsCheckpointsEndsWithTheSameBytes) {
  ASSERT_EQ(Run(Arguments("fork")).status, 0);
  const fs::path fork = folder_ / "fork";
  const std::string metrics = ReadFile(fork / "metrics.csv");
  const fs::path last = fork / "checkpoints" / CheckpointNames(fork).back();
  const std::string end = ReadFile(last);
  fs::remove_all(parent_);
  for (const int64_t step : {200, 100}) {
    for (const int64_t later : CheckpointSteps(fork / "checkpoints")) {
      if (later > step) fs::remove(fork / "checkpoints" / NameOf(later));
    }
    Json manifest = ReadJson(fork / "manifest.json");
    manifest["status"] = "running";
    WriteFileAtomically(fork / "manifest.json", manifest.dump(2));
    const Ended ended = RunProgram({"run", (fork / "config.json").string(), "--resume"});
    ASSERT_EQ(ended.status, 0) << ended.err;
    EXPECT_NE(ended.err.find("resuming at step " + std::to_string(step)), std::string::npos)
        << ended.err;
    EXPECT_TRUE(ReadFile(fork / "metrics.csv") == metrics) << step;
    EXPECT_TRUE(ReadFile(last) == end) << step;
  }
}

/// As if it had been killed before its first checkpoint: its manifest tells where it begins.
TEST_F(ForkCommand, WithoutACheckpointYetBeginsAgainAtItsParent) {
  ASSERT_EQ(Run(Arguments("fork")).status, 0);
  const fs::path fork = folder_ / "fork";
  const std::string metrics = ReadFile(fork / "metrics.csv");
  Json manifest = ReadJson(fork / "manifest.json");
  manifest["status"] = "running";
  manifest["steps_done"] = 0;
  const auto resume = [&] {
    WriteFileAtomically(fork / "manifest.json", manifest.dump(2));
    fs::remove_all(fork / "checkpoints");
    return RunProgram({"run", (fork / "config.json").string(), "--resume"});
  };
  EXPECT_EQ(resume().status, 0);
  EXPECT_TRUE(ReadFile(fork / "metrics.csv") == metrics);
  EXPECT_EQ(ReadJson(fork / "manifest.json")["fork"], manifest["fork"]);
  fs::remove_all(fs::path(parent_) / "checkpoints");
  const Ended ended = resume();
  EXPECT_EQ(ended.status, 3);
  for (const std::string part : {"no checkpoint of its own yet",
                                 "no checkpoint of step 100, nor of another", "--overwrite"}) {
    EXPECT_NE(ended.err.find(part), std::string::npos) << part << " is missing in " << ended.err;
  }
}

TEST_F(ForkCommand, KeepsItsParentAndGoesIntoAFolderOfItsOwn) {
  const Json before = ReadJson(parent_ + "/manifest.json");
  Ended ended = Run({"--set", "steps=102", "--quiet"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  const fs::path child = parent_ + "_fork_100";
  EXPECT_EQ(ReadJson(child / "config.json")["output"], child.string());
  EXPECT_EQ(Lines(ReadFile(child / "metrics.csv")).size(), 3u);  // the header, 100, 101
  EXPECT_EQ(ReadJson(parent_ + "/manifest.json"), before);

  const auto refused = [&](std::vector<std::string> arguments,
                           const std::vector<std::string>& parts) {
    ended = Run(std::move(arguments));
    EXPECT_EQ(ended.status, 2);
    for (const std::string& part : parts) {
      EXPECT_NE(ended.err.find(part), std::string::npos) << part << " is missing in " << ended.err;
    }
  };
  refused({"--set", "steps=102"}, {child.string(), "there is a run in this folder", "--overwrite"});
  refused({"--set", "model.init=he_normal"}, {"model.init", "its parent's weights"});
  refused({"--set", "init.from=x"}, {"init: a fork begins with its parent's weights", "run "});
  refused({"--overwrite", "-o", parent_}, {"the folder of the parent", "--output"});
  refused({"--resume", "-o", parent_}, {"the folder of the parent"});
  EXPECT_EQ(Run({"--set", "steps=102", "--resume"}).err,
            child.string() + ": this run is done already\n");
  EXPECT_EQ(Run({"--set", "steps=103", "--overwrite"}).status, 0);
  EXPECT_EQ(Lines(ReadFile(child / "metrics.csv")).size(), 4u);
  // One that --resume finds nothing of starts at its parent's step, and not from step 0.
  const Ended anew = Run({"--set", "steps=102", "--resume", "-o", child.string() + "_anew"});
  EXPECT_EQ(anew.status, 0) << anew.err;
  EXPECT_EQ(anew.err.find("step 0"), std::string::npos) << anew.err;
  // Another run there is not taken for this fork.
  ended = RunProgram(
      {"fork", parent_, "--at", "150", "--set", "steps=160", "--resume", "-o", child.string()});
  EXPECT_EQ(ended.status, 2) << ended.err;
  EXPECT_EQ(ReadJson(parent_ + "/manifest.json"), before);
}

}  // namespace
}  // namespace sgdscope
