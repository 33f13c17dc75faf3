// Writes snapshots/step_N.safetensors at chosen steps (step_N.LABEL.safetensors where the probe has
// a label of its own), for recomputing any probe's values elsewhere:
//   theta, g, delta [p]; batch.updating, batch.recent, batch.long_ago: indices of examples in the
//   training set [n] int64 (an earlier one unless the run is younger than its lag); and whatever
//   the estimator has to show, such as the indices batch.second of noise_enhanced.
// theta's order: layer by layer, weight [out, in] row-major, then bias [out].

#include <algorithm>
#include <utility>

#include "config/registry.h"
#include "core/error.h"
#include "models/weights.h"
#include "probes/snapshot_files.h"

namespace sgdscope {
namespace {

class Snapshot : public Probe {
 public:
  // Every step would fill the disk: the config must say when.
  Snapshot() : Probe(Cadence()) {}

  std::vector<std::string> Values() const override { return {}; }

  at::Tensor Measure(const StepView& view) override {
    if (steps_.empty() || std::ranges::find(steps_, view.step) != steps_.end()) Write(view);
    return at::empty({0}, view.theta.options().dtype(at::kDouble));
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "steps",
                   .help = "the steps to write, in place of every, every_epochs or at",
                   .unit = "steps",
                   .min = 0},
                  steps_);
    lags_.Fields(visitor);
  }

  bool EveryStep() const override { return !steps_.empty(); }

  void OwnPrepare(const ProbeContext& context) override {
    if (steps_.empty() != cadence_given()) {
      throw Error(ErrorKind::kConfig, context.path,
                  steps_.empty() ? "neither steps nor a cadence is given"
                                 : "both steps and a cadence are given",
                  "Give steps (a list), or every, every_epochs or at.");
    }
    lags_.CheckOrder(context);
    files_ = SnapshotFiles(context, label());
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i] < context.steps) continue;
      throw Error(ErrorKind::kConfig, context.path + ".steps[" + std::to_string(i) + "]",
                  std::to_string(steps_[i]) + ", but the last step of the run is " +
                      std::to_string(context.steps - 1),
                  "Steps are counted from 0.");
    }
  }

 private:
  void Write(const StepView& view) const {
    TensorFile file;
    file.tensors = {{"theta", view.theta},
                    {"g", view.g},
                    {"delta", view.update.Delta()},
                    {"batch.updating", view.batch.indices}};
    for (const auto& [name, make] : view.extras) file.tensors[name] = make();
    if (view.sampler.InRun(view.step - lags_.recent)) {
      file.tensors["batch.recent"] = view.sampler.At(view.step - lags_.recent);
    }
    if (view.sampler.InRun(view.step - lags_.long_ago)) {
      file.tensors["batch.long_ago"] = view.sampler.At(view.step - lags_.long_ago);
    }
    file.metadata[kLayout] = LayoutOf(view.oracle.table());
    files_.Write(view.step, std::move(file));
  }

  std::vector<int64_t> steps_;
  Lags lags_;
  SnapshotFiles files_;
};

const Registration<Probe, Snapshot> kRegistration(
    "snapshot", "writes theta, g, delta and the batches' indices at chosen steps",
    {.base = R"({"recent_lag": 2, "long_ago_lag": 9})"});

}  // namespace
}  // namespace sgdscope
