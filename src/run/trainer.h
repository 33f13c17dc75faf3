#pragma once

#include <csignal>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/csv.h"
#include "run/checkpoint.h"
#include "run/console.h"
#include "run/epoch_mean.h"
#include "run/evaluation.h"
#include "run/experiment.h"
#include "run/fork.h"
#include "run/learned.h"
#include "run/manifest.h"
#include "run/metrics_log.h"
#include "run/run_folder.h"
#include "run/stepper.h"

namespace sgdscope {

/// How a run ended.
struct Outcome {
  std::string status;  // as in the manifest: done, diverged, interrupted
  int exit_status;     // of the process
};

/// Trains an experiment into its run folder: steps, rows, evaluations, checkpoints, manifest.
class Trainer {
 public:
  /// Keeps references. `stop_signal`: 0, or the number of the signal that asks the run to stop.
  /// `fork`: where a new run begins that is a fork.
  Trainer(Experiment& experiment, const RunFolder& folder, Console& console, Manifest& manifest,
          const volatile std::sig_atomic_t& stop_signal, std::optional<Fork> fork = {});

  /// Runs to the end, to divergence or to a signal, from the last checkpoint if there is one.
  Outcome Run();

 private:
  void Open();
  /// The state and the CSVs as the last checkpoint has them; all is checked before anything is cut
  /// back. False if the run was stopped before its first checkpoint.
  bool Resume();
  /// For readers of the run: the shape of an example, the classes, and the network as a list of
  /// layers.
  void WriteNetwork() const;
  /// New CSVs, and the state in front of the first step: drawn, from a file, or of a fork.
  void Begin();
  void BeginWithGivenWeights();
  void BeginAsFork();
  /// Begins with these weights in place of drawn ones; whatever else is made from theta, too.
  void SetWeights(const at::Tensor& theta, const at::Tensor& running);
  Outcome Loop();
  /// As of MetricsLog, whose time they tell.
  std::optional<int64_t> AddRow(int64_t step, const Stepper::Measured& measured);
  std::optional<int64_t> FlushRows();
  /// Evaluates theta as it is; false if the run has diverged.
  bool Evaluate();
  /// Writes what Evaluate found before step `step` into eval.csv.
  void Record(int64_t step);
  /// Compares what was measured before step `step` with the thresholds: tells the learning rate's
  /// schedule the training loss, and says in reason_ what ends the run. `evaluated`: whether
  /// Evaluate was called. False if the run has diverged.
  bool Watch(int64_t step, bool evaluated);
  /// Writes the checkpoint of step `step`. False, with those before it kept, if theta is not finite:
  /// the run has diverged, though no loss that was looked at has shown it.
  bool Save(int64_t step);
  /// All that a checkpoint holds; the live tensors.
  std::map<std::string, at::Tensor> State() const;
  void WriteLearned() const;
  /// After Evaluate, and after the checkpoint of this step, so that a crash loses nothing.
  Outcome Finish(int64_t step);
  /// `what`: what is not finite before step `step`, where no logged loss shows it.
  Outcome Diverged(int64_t step, const std::string& what = "the training loss");
  Outcome Interrupted(int64_t step);
  void ShowProgress(int64_t step);

  Experiment& experiment_;
  const RunFolder& folder_;
  Console& console_;
  Manifest& manifest_;
  const volatile std::sig_atomic_t& stop_signal_;
  Stepper stepper_;
  std::optional<Fork> fork_;
  int64_t start_ = 0;             // first step of this process
  bool resumed_ = false;          // whether an earlier process made steps of this run
  std::optional<int64_t> saved_;  // the step of the last checkpoint
  std::unique_ptr<CsvWriter> metrics_csv_;
  std::unique_ptr<CsvWriter> eval_csv_;
  std::optional<MetricsLog> metrics_;
  std::optional<Learned> learned_;
  std::optional<EpochMean> epoch_mean_;  // where thresholds are compared with it
  std::string reason_;                   // what of `stop` was reached, as a sentence
  Sweep last_train_;
  SplitScore last_test_;
};

}  // namespace sgdscope
