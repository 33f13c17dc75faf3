#include <gtest/gtest.h>
#include <sys/resource.h>

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/machine.h"
#include "run/memory.h"
#include "tests/data/array_files.h"
#include "tests/run/process.h"
#include "tests/run/small_run.h"

// Sizes that no machine has, or this one has not: told before anything is allocated.

namespace sgdscope {
namespace {

/// Expects the small config with these changes to be refused by a command, at once: with the status
/// and these words.
void ExpectRefused(const std::string& command, const std::vector<std::string>& changes, int status,
                   const std::vector<std::string>& parts) {
  TempFolder folder;
  Json json = SmallConfig();
  for (const std::string& change : changes) ApplyOverride(json, change);
  json["output"] = (folder / "run").string();
  const Ended ended = RunProgram({command, WriteConfig(folder, json)});
  EXPECT_EQ(ended.status, status) << ended.err;
  for (const std::string& part : parts) {
    EXPECT_NE(ended.err.find(part), std::string::npos) << part << " is missing in " << ended.err;
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "run/config.json"));
}

TEST(Limits, ParametersBeyondAnyMachineAreAnErrorOfTheConfig) {
  std::string hidden = "10000000";
  for (int i = 1; i < 100'000; ++i) hidden += ",10000000";
  for (const std::string command : {"validate", "describe", "run"}) {
    ExpectRefused(command, {"model.hidden=[" + hidden + "]"}, 2, {"model: ", "10^12 parameters"});
  }
}

TEST(Limits, WhatMemoryCannotHoldIsNamed) {
  const std::vector<std::string> wide = {"model.hidden=[900000,900000]"};
  for (const std::string command : {"describe", "run"}) {
    ExpectRefused(command, wide, 5, {"model: 8100", " GiB", "narrower layers", "more memory"});
    ExpectRefused(command,
                  {"sampler.name=replacement", "batch_size=1000000000", "model.hidden=[20000]"}, 5,
                  {"batch_size: the 1000000000 examples", " GiB", "smaller batches"});
  }
  ExpectRefused("run", {"data.train_size=12000000000"}, 5,
                {"data: the examples", " GiB", "fewer or smaller examples"});
}

/// Of files that hold nothing and take no space: 0.15 of the memory for inputs, 0.6 for targets.
TEST(Limits, TargetsCountAsTheyAreKept) {
  const TempFolder folder;
  const int64_t count = MemoryLimit() / 20 * 3;
  const auto write = [&](const std::string& name, const std::string& header, int64_t bytes) {
    WriteBytes(folder / name, header);
    std::filesystem::resize_file(folder / name, header.size() + static_cast<uintmax_t>(bytes));
  };
  const auto refused = [&](const std::string& targets) {
    Json json = SmallConfig();
    json["loss"] = "mean_squared_error";
    json["sampler"] = {{"name", "replacement"}};
    json["data"] = {{"name", "arrays"},
                    {"path", folder.path().string()},
                    {"train_files", {"x.npy", targets}},
                    {"split", {{"share", 0.5}}},
                    {"normalize", "none"}};
    const auto config = ReadRunConfig(json);
    const Experiment experiment(*config);
    try {
      CheckMemory(experiment);
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kResource;
    }
  };
  write("x.npy", Npy("'|u1'", {count, 1}, ""), count);
  write("floats.npy", Npy("'<f4'", {count}, ""), 4 * count);
  write("doubles.npy", Npy("'<f8'", {count}, ""), 8 * count);
  EXPECT_FALSE(refused("floats.npy"));
  EXPECT_TRUE(refused("doubles.npy"));
}

/// Sets a limit of this process, and of those that it starts, while it lives.
class Limit {
 public:
  Limit(__rlimit_resource which, rlim_t most) : which_(which) {
    getrlimit(which_, &old_);
    const rlimit limit = {most, old_.rlim_max};
    setrlimit(which_, &limit);
  }
  ~Limit() { setrlimit(which_, &old_); }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;

 private:
  __rlimit_resource which_;
  rlimit old_;
};

TEST(Limits, MemoryIsWhatTheProcessMayHave) {
  const int64_t before = MemoryLimit();
  EXPECT_GT(before, int64_t{64} << 20);
  const Limit space(RLIMIT_AS, rlim_t{1} << 50);
  EXPECT_LE(MemoryLimit(), before);
}

TEST(Limits, ThreadsThatTheSystemDoesNotStartAreNamed) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer takes more address space than the limit";
#endif
  TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  std::unique_ptr<Process> process;
  {
    const Limit stack(RLIMIT_STACK, rlim_t{8} << 20);  // of the address space, for each thread
    const Limit space(RLIMIT_AS, rlim_t{8} << 30);
    process = std::make_unique<Process>(std::vector<std::string>{
        "run", config, "--set", "threads=1024", "--output", (folder / "run").string()});
  }
  const Ended ended = process->Wait();
  EXPECT_EQ(ended.status, 5) << ended.err;
  for (const std::string part : {"threads: 1024 are asked for", "starts only", "ulimit"}) {
    EXPECT_NE(ended.err.find(part), std::string::npos) << part << " is missing in " << ended.err;
  }
}

}  // namespace
}  // namespace sgdscope
