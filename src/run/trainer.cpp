#include "run/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "core/error.h"
#include "core/tensor_file.h"

namespace sgdscope {
namespace {

/// What a checkpoint would hold that is not finite.
constexpr const char* kWeights = "a weight";

/// What of `stop` has been reached, as a sentence; "" if nothing.
std::string StopReason(const Stop& stop, std::optional<double> loss,
                       std::optional<double> accuracy) {
  char text[120] = "";
  if (stop.train_loss && loss && *loss <= *stop.train_loss) {
    std::snprintf(text, sizeof(text), "the training loss %.6g is at most stop.train_loss = %.6g",
                  *loss, *stop.train_loss);
  } else if (stop.train_accuracy && accuracy && *accuracy >= *stop.train_accuracy) {
    std::snprintf(text, sizeof(text),
                  "the training accuracy %.6g is at least stop.train_accuracy = %.6g", *accuracy,
                  *stop.train_accuracy);
  }
  return text;
}

}  // namespace

Trainer::Trainer(Experiment& experiment, const RunFolder& folder, Console& console,
                 Manifest& manifest, const volatile std::sig_atomic_t& stop_signal,
                 std::optional<Fork> fork)
    : experiment_(experiment),
      folder_(folder),
      console_(console),
      manifest_(manifest),
      stop_signal_(stop_signal),
      stepper_(experiment, &manifest.times()),
      fork_(std::move(fork)) {}

Outcome Trainer::Run() {
  Open();
  manifest_.Write("running", "", start_);
  console_.StartAt(start_);
  manifest_.times().Switch(Times::kSteps);
  return Loop();
}

void Trainer::Open() {
  const Split& train = experiment_.data().train;
  if (experiment_.config().learned) learned_.emplace(train);
  if (experiment_.config().train_loss == kByEpochMean) {
    epoch_mean_.emplace(experiment_.sampler().steps_per_epoch(), experiment_.device());
  }
  if (!folder_.earlier() || !Resume()) Begin();
  if (train.corrupt.defined()) WriteLabelNoise(folder_.label_noise(), train);
  WriteNetwork();
  metrics_.emplace(experiment_, *metrics_csv_);
}

bool Trainer::Resume() {
  const auto checkpoint = LoadLastCheckpoint(
      folder_.checkpoints(), [&](const std::string& message) { console_.Warn(message); });
  if (!checkpoint) {
    const Json& earlier = *folder_.earlier();
    // A run may diverge before its first checkpoint.
    if (earlier["steps_done"] > 0 && earlier["status"] != "diverged") {
      throw Error(ErrorKind::kData, folder_.checkpoints().string(),
                  "there is no checkpoint, but the manifest tells of " +
                      earlier["steps_done"].dump() + " steps",
                  "Nothing was changed. Bring the checkpoints back and --resume, or start the run "
                  "anew with --overwrite.");
    }
    if (earlier.contains("fork")) {
      if (!fork_) fork_ = ReadFork(earlier["fork"]);
    } else {
      console_.Info("no checkpoint yet: starting from step 0");
    }
    return false;
  }
  RestoreState(checkpoint->state, State(), folder_.checkpoints().string());
  metrics_csv_ = std::make_unique<CsvWriter>(folder_.metrics(), MetricsLog::Columns(experiment_),
                                             checkpoint->metrics);
  eval_csv_ =
      std::make_unique<CsvWriter>(folder_.eval(), EvalColumns(experiment_), checkpoint->eval);
  metrics_csv_->CutBack();
  eval_csv_->CutBack();
  start_ = checkpoint->step;
  resumed_ = true;
  saved_ = start_;
  experiment_.config().update->BeginAt(checkpoint->update_begin);
  experiment_.sampler().BeginAt(checkpoint->batches_begin);
  console_.Info("resuming at step " + std::to_string(start_));
  return true;
}

void Trainer::WriteNetwork() const {
  const DataShape& shape = experiment_.shape();
  const Json network = {
      {"shape", shape.shape},
      {"classes", shape.classes},
      {"model", experiment_.config().model->AsLayers(shape.shape, shape.classes, "model")}};
  WriteFileAtomically(folder_.network(), network.dump(2) + "\n");
}

void Trainer::Begin() {
  metrics_csv_ = std::make_unique<CsvWriter>(folder_.metrics(), MetricsLog::Columns(experiment_));
  eval_csv_ = std::make_unique<CsvWriter>(folder_.eval(), EvalColumns(experiment_));
  if (fork_) {
    BeginAsFork();
  } else if (experiment_.config().initialized) {
    BeginWithGivenWeights();
  }
}

void Trainer::SetWeights(const at::Tensor& theta, const at::Tensor& running) {
  const auto live = State();
  live.at("theta").copy_(theta);
  if (live.contains("running") && running.defined()) live.at("running").copy_(running);
  const RunConfig& config = experiment_.config();
  config.update->Allocate(stepper_.theta());
  for (const auto& probe : config.probes.choices()) (*probe)->Allocate(stepper_.theta());
}

void Trainer::BeginWithGivenWeights() {
  const std::string& path = experiment_.config().init_from;
  const Weights weights = experiment_.GivenWeights();
  SetWeights(weights.theta, weights.statistics);
  manifest_.SetBegin("init", {{"from", path}, {"theta_crc32", ChecksumOf(stepper_.theta())}});
  console_.Info("weights of " + path);
}

void Trainer::BeginAsFork() {
  const Checkpoint& checkpoint = fork_->checkpoint;
  start_ = checkpoint.step;
  SetWeights(checkpoint.state.at("theta"), {});
  const Carried carried = CarryState(*fork_, folder_.resolved(), State());
  const bool epoch_known = std::ranges::find(carried.taken, EpochMean::kSum) != carried.taken.end();
  if (epoch_mean_ && !epoch_known) epoch_mean_->Forget();
  experiment_.config().update->BeginAt(carried.update ? checkpoint.update_begin : start_);
  experiment_.sampler().BeginAt(carried.batches ? checkpoint.batches_begin : start_);
  Json record = fork_->Record();
  record["anew"] = carried.anew;
  record["left"] = carried.left;
  manifest_.SetBegin("fork", record);
  console_.Info("fork of " + fork_->run.string() + " at step " + std::to_string(start_));
  if (!carried.Text().empty()) console_.Warn(carried.Text());
  fork_.reset();
  // From here on it goes on without its parent.
  Save(start_);
}

Outcome Trainer::Loop() {
  const RunConfig& config = experiment_.config();
  for (int64_t step = start_; step < experiment_.steps(); ++step) {
    if (stop_signal_ != 0) return Interrupted(step);
    const bool saves = (step > 0 && step % config.checkpoint_every == 0) || config.keep.At(step);
    if (saves && step != saved_) {
      if (FlushRows()) return Diverged(step);
      if (!Save(step)) return Diverged(step, kWeights);
    }
    // After the checkpoint of this step: resuming there measures, and writes the evaluation's row,
    // again.
    const bool evaluates = config.eval.At(step);
    if (evaluates && !Evaluate()) return Diverged(step);
    if (!Watch(step, evaluates)) return Diverged(step);
    if (!reason_.empty()) {
      if (!evaluates && !Evaluate()) return Diverged(step);
      if (!Save(step)) return Diverged(step, kWeights);
      return Finish(step);
    }
    if (evaluates) Record(step);
    const Stepper::Measured measured = stepper_.Step(step);
    if (epoch_mean_) epoch_mean_->Add(step, measured.loss);
    if (AddRow(step, measured)) return Diverged(step + 1);
    if (console_.ProgressDue()) {
      if (FlushRows()) return Diverged(step + 1);
      ShowProgress(step + 1);
    }
  }
  const int64_t end = experiment_.steps();
  if (FlushRows()) return Diverged(end);
  // Before the last evaluation, so that a crash during it loses nothing.
  if (!Save(end)) return Diverged(end, kWeights);
  if (!Evaluate() || !Watch(end, /*evaluated=*/true)) return Diverged(end);
  return Finish(end);
}

std::optional<int64_t> Trainer::AddRow(int64_t step, const Stepper::Measured& measured) {
  const Times::Charge charge(&manifest_.times(), Times::kRows);
  return metrics_->Add(step, measured);
}

std::optional<int64_t> Trainer::FlushRows() {
  const Times::Charge charge(&manifest_.times(), Times::kRows);
  return metrics_->Flush();
}

bool Trainer::Evaluate() {
  if (FlushRows()) return false;
  const Times::Charge charge(&manifest_.times(), Times::kEvaluations);
  last_train_ = SweepSplit(experiment_.train(), stepper_.theta(), stepper_.running(),
                           experiment_.data().train.corrupt);
  last_test_ = SweepSplit(experiment_.test(), stepper_.theta(), stepper_.running(), {}).all;
  return std::isfinite(last_train_.all.loss);
}

bool Trainer::Watch(int64_t step, bool evaluated) {
  std::optional<double> loss, accuracy;
  if (evaluated) accuracy = last_train_.all.accuracy;
  if (epoch_mean_) {
    loss = epoch_mean_->Before(step);
    if (loss && (FlushRows() || !std::isfinite(*loss))) return false;
  } else if (evaluated) {
    loss = last_train_.all.loss;
  }
  if (loss) experiment_.config().update->learning_rate().Observe(step, *loss);
  reason_ = StopReason(experiment_.config().stop, loss, accuracy);
  return true;
}

void Trainer::Record(int64_t step) {
  const Times::Charge charge(&manifest_.times(), Times::kEvaluations);
  eval_csv_->Row(EvalRow(experiment_, step, last_train_, last_test_));
  eval_csv_->Flush();
  if (learned_) learned_->Add(step, last_train_.right);
}

bool Trainer::Save(int64_t step) {
  const Times::Charge charge(&manifest_.times(), Times::kCheckpoints);
  // The largest |theta_i|, which is NaN where one of them is.
  if (!std::isfinite(stepper_.theta().norm(INFINITY).item<double>())) return false;
  // The rows must be on the disk before a checkpoint says that they are there.
  metrics_csv_->Sync();
  eval_csv_->Sync();
  const RunConfig& config = experiment_.config();
  SaveCheckpoint(folder_.checkpoints(),
                 {.step = step,
                  .metrics = metrics_csv_->mark(),
                  .eval = eval_csv_->mark(),
                  .state = State(),
                  .update_begin = config.update->begin(),
                  .batches_begin = experiment_.sampler().begin(),
                  .layout = LayoutOf(experiment_.network().table)},
                 config.keep);
  saved_ = step;
  manifest_.Write("running", "", step);
  return true;
}

std::map<std::string, at::Tensor> Trainer::State() const {
  auto state = stepper_.State();
  if (learned_) state.merge(learned_->State());
  if (epoch_mean_) state.merge(epoch_mean_->State());
  return state;
}

void Trainer::WriteLearned() const {
  if (learned_) learned_->Write(folder_.learned());
}

Outcome Trainer::Finish(int64_t step) {
  Record(step);
  metrics_csv_->Sync();
  eval_csv_->Sync();
  WriteLearned();
  manifest_.Write("done", reason_, step);
  if (!reason_.empty()) console_.Info("stopped: " + reason_);
  char summary[160];
  const auto steps = static_cast<long long>(step);
  if (experiment_.shape().has_targets) {
    std::snprintf(summary, sizeof(summary), "done: %lld steps, train loss %.4g, test loss %.4g",
                  steps, last_train_.all.loss, last_test_.loss);
  } else {
    std::snprintf(
        summary, sizeof(summary),
        "done: %lld steps, train loss %.4f, train accuracy %.2f %%, test accuracy %.2f %%", steps,
        last_train_.all.loss, 100 * last_train_.all.accuracy, 100 * last_test_.accuracy);
  }
  console_.Info(summary);
  return {"done", 0};
}

Outcome Trainer::Diverged(int64_t step, const std::string& what) {
  const auto found = FlushRows();
  metrics_csv_->Sync();
  WriteLearned();
  const int64_t done = found.value_or(step);
  const bool no_step_made = done == start_ && !resumed_;
  const std::string reason = (found ? "the loss of" : what + " before") + " step " +
                             std::to_string(done) + " is not finite";
  manifest_.Write("diverged", reason, done);
  console_.Warn("diverged: " + reason +
                (no_step_made
                     ? ". No step was made: look at the weights that the run begins with, "
                       "and at its data."
                     : ". The rows before it are kept; a smaller learning rate may help."));
  return {"diverged", static_cast<int>(ErrorKind::kDiverged)};
}

Outcome Trainer::Interrupted(int64_t step) {
  if (FlushRows()) return Diverged(step);
  if (!Save(step)) return Diverged(step, kWeights);
  WriteLearned();
  const int signal = stop_signal_;
  const std::string reason = "signal " + std::to_string(signal) + " before step " +
                             std::to_string(step) + "; --resume goes on from there";
  manifest_.Write("interrupted", reason, step);
  console_.Warn("interrupted: " + reason);
  return {"interrupted", 128 + signal};
}

void Trainer::ShowProgress(int64_t step) {
  console_.Progress({step, experiment_.steps(), experiment_.sampler().EpochAt(step),
                     metrics_->last_loss(), last_test_.accuracy});
}

}  // namespace sgdscope
