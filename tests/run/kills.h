#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/rng.h"
#include "tests/run/folder_watch.h"
#include "tests/run/process.h"
#include "tests/run/small_run.h"

// Runs that are killed at random moments, resumed, and compared with one that never was.

namespace sgdscope {

/// That a run in `other` has ended with what the one in `run` has.
inline void ExpectSameRun(const std::filesystem::path& run, const std::filesystem::path& other) {
  namespace fs = std::filesystem;
  for (const std::string name :
       {"metrics.csv", "eval.csv", "learned.csv", "label_noise.safetensors"}) {
    EXPECT_EQ(fs::exists(run / name), fs::exists(other / name)) << name;
    if (!fs::exists(run / name)) continue;
    // EXPECT_EQ would print both files.
    EXPECT_TRUE(ReadFile(run / name) == ReadFile(other / name)) << name << " differs";
  }
  const std::string last = "checkpoints/" + CheckpointNames(run).back();
  EXPECT_TRUE(ReadFile(run / last) == ReadFile(other / last)) << last << " differs";
  EXPECT_EQ(ReadJson(other / "manifest.json")["status"], "done");
}

/// Kills once metrics.csv has that many bytes (0: it need not be there), at one of the next changes
/// of the run folder or up to two milliseconds after it.
inline Ended KillAtRandomMoment(const std::vector<std::string>& arguments,
                                const std::filesystem::path& run_folder, uintmax_t metrics_bytes,
                                Stream& stream) {
  const FolderWatch watch(run_folder);
  Process process(arguments);
  const uint64_t changes = 1 + stream.Below(12);  // a checkpoint is about 12 of them
  const std::chrono::microseconds delay(stream.Below(2000));
  if (metrics_bytes > 0 && !watch.UntilSize(process, run_folder / "metrics.csv", metrics_bytes)) {
    return process.Wait();
  }
  for (uint64_t i = 0; i < changes; ++i) {
    if (!watch.Next(process)) return process.Wait();
  }
  std::this_thread::sleep_for(delay);
  process.Signal(SIGKILL);
  return process.Wait();
}

inline std::set<std::string> LinesWith(const std::string& text, const std::string& part) {
  std::set<std::string> found;
  for (const std::string& line : Lines(text)) {
    const size_t begin = line.find(part);
    if (begin != std::string::npos) found.insert(line.substr(begin));
  }
  return found;
}

/// The run wrote all that it had to write; a kill may still have come before the process ended.
inline bool IsDone(const std::filesystem::path& run) {
  return std::filesystem::exists(run / "manifest.json") &&
         ReadJson(run / "manifest.json")["status"] == "done";
}

/// Kills runs that many times before their end, each time followed by a resume, and checks each run
/// that got there: on a slow machine one may do so before its next kill, and another one takes its
/// place. The first kill comes at the start, and each of the others at a random row of a part of the
/// run of its own: whatever the machine, they find checkpoints, and not all the same.
///
/// `Reference` has a run that is never killed, run(), and compares others with it, ExpectSame(run);
/// NewRun() makes a folder for one, and Arguments(run) begins it or goes on with it.
template <class Reference>
void ExpectKillsLeaveNoTrace(const Reference& reference, int kills, uint64_t seed) {
  namespace fs = std::filesystem;
  Stream stream(seed, "kill");
  std::set<std::string> resumes;
  const uintmax_t part = fs::file_size(reference.run() / "metrics.csv") / kills;
  int hits = 0;
  for (int runs = 0; hits < kills; ++runs) {
    ASSERT_LT(runs, 10 * kills) << "nearly all kills come too late: make the run longer";
    const fs::path run = reference.NewRun();
    int status = -SIGKILL;
    while (status == -SIGKILL && hits < kills) {
      const uintmax_t row = hits == 0 ? 0 : hits * part + stream.Below(part);
      status = KillAtRandomMoment(reference.Arguments(run), run, row, stream).status;
      if (status == -SIGKILL && !IsDone(run)) ++hits;
    }
    if (status == -SIGKILL) status = RunProgram(reference.Arguments(run)).status;
    ASSERT_EQ(status, 0) << ReadFile(run / "log.txt");
    reference.ExpectSame(run);
    resumes.merge(LinesWith(ReadFile(run / "log.txt"), "resuming at step"));
    fs::remove_all(run);
  }
  // The kills hit at different steps, not again and again at the same.
  EXPECT_GE(static_cast<int>(resumes.size()), kills / 2);
}

}  // namespace sgdscope
