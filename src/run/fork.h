#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "config/json.h"
#include "run/checkpoint.h"
#include "run/experiment.h"

namespace sgdscope {

/// A checkpoint of another run, the parent, from which a run goes on with a config of its own.
struct Fork {
  std::filesystem::path run;  // the parent's folder
  Json config;                // its resolved config
  Json manifest;
  Checkpoint checkpoint;

  /// Throws an Error of kind kConfig unless the checkpoint is of the experiment's network, finite,
  /// and of a step before its end, as far as that is known.
  void Check(const Experiment& experiment) const;
  /// Throws an Error of kind kConfig where the fork's resolved config asks for other first weights.
  void CheckConfig(const Json& resolved) const;
  /// Throws an Error of kind kConfig unless the run with this manifest, in this folder, began here.
  void CheckBegan(const Json& manifest, const std::string& folder) const;
  /// What the manifest of a fork tells of its parent: folder, step, and checksum of theta.
  Json Record() const;
};

/// The checkpoint of exactly this step. Error kConfig if there is no run or no such checkpoint,
/// which names those that there are; kData and kResource if they can't be read.
Fork ReadFork(const std::filesystem::path& run, int64_t step);
/// The one that a manifest's Record tells of. Error kData if it is not what it was.
Fork ReadFork(const Json& record);

/// What becomes of the parent's state.
struct Carried {
  std::vector<std::string> taken = {};  // tensors
  std::vector<std::string> anew = {};   // of the fork, which start as in a new run, each with why
  std::vector<std::string> left = {};   // of the parent, which the fork has no use for
  bool update;                          // whether the update rule's state is taken
  bool batches;                         // whether the batches of earlier steps are the parent's

  /// What is not as it was, as a sentence; "" if nothing is.
  std::string Text() const;
};

/// Copies the parent's state into the live tensors of a run with this config, where it means the
/// same: theta; the running statistics; the state of a rule where all of it means the same, that
/// of a schedule or probe that is unchanged; what is told of single examples where the data are
/// unchanged, and of an epoch where its batches are, too.
Carried CarryState(const Fork& fork, const Json& config,
                   const std::map<std::string, at::Tensor>& live);

}  // namespace sgdscope
