#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/cadence.h"
#include "config/fields.h"
#include "core/csv.h"
#include "core/torch.h"
#include "data/sampler.h"
#include "gradients/extras.h"
#include "gradients/oracle.h"
#include "updates/update_rule.h"

namespace sgdscope {

/// What a probe sees of a step: delta is known and not yet applied.
struct StepView {
  int64_t step;
  const Batch& batch;
  const Gradients& gradients;
  const at::Tensor& theta;  // [p], before the step
  const at::Tensor& g;      // [p], the estimator's choice
  const Update& update;     // theta becomes theta + update.scale * update.direction
  const Oracle& oracle;     // of the training set
  const Oracle& test;       // of the test set
  Sampler& sampler;
  /// The run's estimator on another batch at theta. `draw` < 0 numbers its own draws.
  std::function<at::Tensor(const Batch& batch, int64_t draw)> estimate;
  const Extras& extras;  // of the run's estimator on the batch

  /// The losses of the batch along the step, with curvature: one sweep, whoever asks.
  const LineLosses& AlongStep() const;

  mutable std::optional<LineLosses> along_step = {};  // where it was made
};

/// The update rules that say where they become unstable (UpdateRule::KnowsStability), for texts.
inline constexpr const char* kRulesThatKnowStability = "adam, adamw, n_step, rmsprop, sgd";

/// What a probe may check and keep before the run; everything outlives the probe.
struct ProbeContext {
  std::string path;  // JSON path of the probe ("probes[0]")
  std::filesystem::path run_folder;
  uint64_t seed;
  int64_t steps;      // of the whole run
  int64_t examples;   // size of the training set
  int64_t test_size;  // 0: known only after reading
  const Sampler& sampler;
  const Network& network;
  bool label_noise = false;  // whether Split::corrupt will be there
  bool stability = true;     // whether Update::stability will be known
};

/// Measures a step without disturbing it: it modifies nothing that it sees. Leaves register by
/// name.
class Probe : public Configurable {
 public:
  /// Label and cadence, then the leaf's own fields.
  void Fields(FieldVisitor& visitor) final;

  /// Throws an Error of kind kConfig if the probe cannot measure this network.
  /// `path`: JSON path of the probe.
  virtual void CheckNetwork(const Network& network, const std::string& path) const {
    (void)network, (void)path;
  }
  /// Whether Measure uses what the layers saw of all examples of a batch at once, so that none can
  /// be evaluated in pieces.
  virtual bool NeedsWholeBatch() const { return false; }
  /// Cross-checks against the run (kConfig at context.path) and settles the cadence.
  void Prepare(const ProbeContext& context);
  /// Sizes of the batches that Measure makes for itself; known from Prepare on.
  virtual std::vector<int64_t> OwnBatches() const { return {}; }
  /// Those of them on which it takes the run's estimate (StepView::estimate).
  virtual std::vector<int64_t> EstimatedBatches() const { return {}; }
  /// The files that Allocate reads.
  virtual std::vector<std::filesystem::path> InputFiles() const { return {}; }
  /// Makes the state, on theta's device, once before the first step.
  virtual void Allocate(const at::Tensor& theta) { (void)theta; }

  /// Names of the values, in the order of Measure's result; known before step 0. The CSV column is
  /// "<label>.<value>".
  virtual std::vector<std::string> Values() const = 0;
  /// The values [Values().size()] of this step in double, on theta's device, without reading
  /// anything back to the host; kNotMeasured where a value does not exist at this step.
  virtual at::Tensor Measure(const StepView& view) = 0;

  /// Whether Measure is called at this step; it is wherever a row is logged.
  bool MeasuresAt(int64_t step) const { return EveryStep() || LogsAt(step); }
  bool LogsAt(int64_t step) const { return cadence_.At(step); }
  /// What changes from step to step, by name; checkpoints save it and copy it back.
  virtual std::map<std::string, at::Tensor> State() const { return {}; }

  const std::string& label() const { return label_; }
  /// Used where the config gives none.
  void SetDefaultLabel(const std::string& name) {
    if (label_.empty()) label_ = name;
  }

 protected:
  /// `cadence`: what holds where the config names none.
  explicit Probe(Cadence cadence = Cadence::EverySteps(1)) : cadence_(std::move(cadence)) {}
  virtual void OwnFields(FieldVisitor& visitor) { (void)visitor; }
  virtual void OwnPrepare(const ProbeContext& context) { (void)context; }
  /// Whether Measure is called at every step, also where nothing is logged (for running sums).
  virtual bool EveryStep() const { return false; }
  /// Whether the config gives `every`, `every_epochs` or `at`; known from OwnPrepare on.
  bool cadence_given() const { return cadence_given_; }

 private:
  std::string label_;
  Cadence cadence_;
  bool cadence_given_ = false;
};

/// Examples [n] of each batch of the epoch that this step lies in, as they are.
std::vector<at::Tensor> BatchesOfEpoch(const StepView& view);

/// numerator / denominator, kNotMeasured where the denominator is 0. A NaN stays what it is.
at::Tensor Ratio(const at::Tensor& numerator, const at::Tensor& denominator);

/// Field `cumulative` of probes that keep sums over the steps from step 0 on.
struct Cumulative {
  std::string over = "all";

  /// sums: what is summed; paper: where it sums it.
  void Fields(FieldVisitor& visitor, const std::string& sums, const std::string& paper = "");
  /// Whether there are sums.
  bool Kept() const { return over != "none"; }
  /// Whether they need a measurement at every step.
  bool EveryStep() const { return over == "all"; }
};

/// Fields `recent_lag` and `long_ago_lag` of probes that look at earlier batches, and their check.
struct Lags {
  int64_t recent = 10;
  int64_t long_ago = 300;

  void Fields(FieldVisitor& visitor);
  /// Throws an Error of kind kConfig unless recent < long_ago.
  void CheckOrder(const ProbeContext& context) const;
};

/// Fields `batches`, `recent_lag` and `long_ago_lag` of probes that measure on several batches.
struct BatchChoice {
  /// All that `batches` may name: "updating", "recent", "long_ago".
  static const std::vector<std::string>& All();

  std::vector<std::string> names = All();
  Lags lags;

  void Fields(FieldVisitor& visitor);
  /// That a batch is named, none twice, that some step of the run has each of them, and that they
  /// differ from the updating one.
  void Check(const ProbeContext& context) const;
  int64_t size() const { return static_cast<int64_t>(names.size()); }
  /// Batch names[i] at this step, augmented as when it was trained on; absent where the run is
  /// younger than its lag.
  std::optional<Examples> ExamplesAt(const StepView& view, int64_t i) const;
};

}  // namespace sgdscope
