#include "run/job_starter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/run/process.h"
#include "tests/run/small_run.h"

// `sgdscope start-jobs`: each job ends as if it had been started by itself.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

void ExpectHolds(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is missing in: " << text;
}

/// The program as it is told these lines; `begin`: what stands before it in a shell.
Ended Start(const TempFolder& folder, const std::vector<std::string>& lines,
            const std::string& begin = "exec") {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  WriteFileAtomically(folder / "lines", text);
  return RunShell(begin + " \"$0\" start-jobs <\"$1\"", {(folder / "lines").string()});
}

/// What it says of the jobs, in the order of their ids.
std::vector<std::string> Told(const Ended& ended) {
  EXPECT_EQ(ended.status, 0) << ended.err;
  std::vector<std::string> lines = Lines(ended.out);
  EXPECT_EQ(fs::path(lines.at(0)), fs::canonical(SGDSCOPE_BINARY));
  lines.erase(lines.begin());
  std::ranges::sort(lines);
  return lines;
}

TEST(JobStarter, JobsEndAsRunsByThemselves) {
  const TempFolder folder;
  const std::string config = WriteConfig(folder, SmallConfig());
  const auto line = [&](const std::string& id, const std::string& arguments) {
    return id + " - " + (folder / id).string() + ".log sgdscope run " + config + " " + arguments +
           " --output " + (folder / id).string();
  };
  const Ended ended =
      Start(folder, {line("a", "--seed 5"), line("b", "--set update.learning_rate=1e30"),
                     line("c", "--set update.learning_rat=1"), line("d", "--seed 6")});
  EXPECT_EQ(Told(ended), (std::vector<std::string>{"a 0", "b 4", "c 2", "d 0"}));
  EXPECT_EQ(ended.err, "");
  ExpectHolds(ReadFile(folder / "c.log"), "error: update.learning_rat: unknown key");
  for (const std::string id : {"a", "d"}) {
    const fs::path alone = folder / ("alone_" + id);
    const Ended once =
        RunProgram({"run", config, "--seed", id == "a" ? "5" : "6", "--output", alone.string()});
    EXPECT_EQ(once.status, 0) << once.err;
    EXPECT_EQ(CheckpointNames(folder / id), CheckpointNames(alone));
    const std::string last = "checkpoints/" + CheckpointNames(alone).back();
    for (const std::string file : {"metrics.csv", "eval.csv", "network.json", last.c_str()}) {
      EXPECT_EQ(ReadFile(folder / id / file), ReadFile(alone / file)) << file;
    }
    ExpectHolds(ReadFile(folder / (id + ".log")), "done: 60 steps");
  }
}

/// The dynamic linker tells of each library that it loads.
TEST(JobStarter, JobsShareOneStart) {
  const TempFolder folder;
  const std::string log = (folder / "log").string();
  const Ended ended =
      Start(folder, {"1 - " + log + " sgdscope --version", "2 - " + log + " sgdscope --version"},
            "LD_DEBUG=files exec");
  EXPECT_EQ(Told(ended), (std::vector<std::string>{"1 0", "2 0"}));
  ExpectHolds(ended.err, "libtorch_cpu.so");
  EXPECT_EQ(ReadFile(log), VersionLine() + VersionLine());
}

TEST(JobStarter, OtherProgramsAreStartedToo) {
  const TempFolder folder;
  const std::string log = (folder / "the log").string();
  cpu_set_t usable;
  sched_getaffinity(0, sizeof(usable), &usable);
  int last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &usable)) --last;
  const std::string rest = " '" + log + "' ";
  const Ended ended = Start(
      folder, {"1 -" + rest + "sh -c 'echo \"$1\"; exit 7' sh 'two  words'",
               "2 -" + rest + "sh -c 'kill -SEGV $$'",
               "3 " + std::to_string(last) + rest + "grep Cpus_allowed_list /proc/self/status",
               "4 -" + rest + "/no/such/program", "5 0,x" + rest + "true", "6 -" + rest + "cat"});
  EXPECT_EQ(Told(ended), (std::vector<std::string>{"1 7", "2 139", "3 0", "4 5", "5 2", "6 0"}));
  const std::string said = ReadFile(log);
  ExpectHolds(said, "two  words\n");
  ExpectHolds(said, "Cpus_allowed_list:\t" + std::to_string(last) + "\n");
  ExpectHolds(said, "error: /no/such/program: cannot start it: No such file or directory");
  ExpectHolds(said, "error: 0,x: is no list of processors");
}

TEST(JobStarter, StopsItsJobs) {
  const TempFolder folder;
  const std::string rest = " - " + (folder / "log").string() + " sleep 600";
  const Ended ended = Start(folder, {"1" + rest, "2" + rest, "stop"});
  EXPECT_EQ(Told(ended), (std::vector<std::string>{"1 143", "2 143"}));
}

TEST(JobStarter, RefusesWhatIsNoJob) {
  const TempFolder folder;
  for (const std::string line : {"", "1 - log", "stopp", "1 - log 'true"}) {
    const Ended ended = Start(folder, {line});
    EXPECT_EQ(ended.status, 2) << line;
    ExpectHolds(ended.err, "error: standard input, line 1: ");
  }
  const Ended full = RunShell("exec \"$0\" start-jobs </dev/null >/dev/full", {});
  EXPECT_EQ(full.status, 5);
  ExpectHolds(full.err, "standard output: cannot write: No space left");
}

/// A copy of this process would have none of its threads.
TEST(JobStarter, StartsJobsAnewWhereThereAreThreads) {
  const TempFolder folder;
  WriteFileAtomically(folder / "lines",
                      "1 - " + (folder / "log").string() + " sgdscope --gtest_list_tests\n");
  const pid_t process = fork();
  if (process == 0) {
    for (const auto& [stream, name, flags] : {std::tuple{0, "lines", O_RDONLY},
                                              {1, "out", O_WRONLY | O_CREAT},
                                              {2, "err", O_WRONLY | O_CREAT}}) {
      dup2(open((folder / name).c_str(), flags, 0600), stream);
    }
    std::thread([] { pause(); }).detach();
    _exit(StartJobs() ? 1 : 0);
  }
  int status = 0;
  waitpid(process, &status, 0);
  EXPECT_EQ(status, 0);
  ExpectHolds(ReadFile(folder / "err"), "warning: each job loads the program anew");
  ExpectHolds(ReadFile(folder / "log"), "StartsJobsAnewWhereThereAreThreads");
}

}  // namespace
}  // namespace sgdscope
