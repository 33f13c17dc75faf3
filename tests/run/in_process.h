#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <string>

#include "run/fork.h"
#include "run/manifest.h"
#include "run/run_folder.h"
#include "run/trainer.h"
#include "tests/run/small_run.h"

// Whole runs, with their folders, in the process of the test: a program of its own takes half a
// second to start.

namespace sgdscope {

/// Trains a config into a new folder, to its end, which has this status.
inline void TrainInto(const std::filesystem::path& output, Json json,
                      const std::optional<Fork>& fork = {}, const std::string& status = "done") {
  json["output"] = output.string();
  const auto config = ReadRunConfig(json);
  Experiment experiment(*config);
  if (fork) fork->Check(experiment);
  const RunFolder folder(output, ResolvedConfig(*config), IfExists::kRefuse, {});
  experiment.LoadData();
  Manifest manifest(folder.manifest(), *config);
  manifest.SetData(experiment.data());
  manifest.Write("running", "", 0);
  folder.Begin();
  Console console(folder.log(), /*quiet=*/true);
  const volatile std::sig_atomic_t no_signal = 0;
  Trainer trainer(experiment, folder, console, manifest, no_signal, fork);
  EXPECT_EQ(trainer.Run().status, status) << json;
}

/// Forks the run in `parent` with these values in place of whole keys.
inline void ForkInto(const std::filesystem::path& output, const std::filesystem::path& parent,
                     int64_t step, const Json& changes = Json::object()) {
  const Fork fork = ReadFork(parent, step);
  Json config = fork.config;
  for (const auto& [key, value] : changes.items()) config[key] = value;
  TrainInto(output, config, fork);
}

}  // namespace sgdscope
