#include "probes/probe.h"

#include <set>

#include "core/error.h"

namespace sgdscope {

const LineLosses& StepView::AlongStep() const {
  if (!along_step) {
    along_step = oracle.AlongLine(batch, theta, update.direction, update.scale, /*curvature=*/true,
                                  &gradients);
  }
  return *along_step;
}

void Probe::Fields(FieldVisitor& visitor) {
  visitor.Visit(
      {.name = "label", .help = "first part of this probe's columns; the probe's name if left out"},
      label_);
  cadence_.Fields(visitor);
  OwnFields(visitor);
}

void Probe::Prepare(const ProbeContext& context) {
  cadence_given_ = cadence_.given();
  cadence_.Prepare(context.path, context.sampler.steps_per_epoch());
  OwnPrepare(context);
}

std::vector<at::Tensor> BatchesOfEpoch(const StepView& view) {
  const int64_t count = view.sampler.steps_per_epoch();
  const int64_t first = view.step / count * count;
  std::vector<at::Tensor> batches;
  for (int64_t k = 0; k < count; ++k) batches.push_back(view.sampler.At(first + k));
  return batches;
}

at::Tensor Ratio(const at::Tensor& numerator, const at::Tensor& denominator) {
  return numerator.div(denominator).masked_fill(denominator.eq(0), kNotMeasured);
}

void Cumulative::Fields(FieldVisitor& visitor, const std::string& sums, const std::string& paper) {
  visitor.Visit(
      {.name = "cumulative",
       .help = sums + ": over all steps (measured even where no row is logged), over the logged "
                      "steps only, or none",
       .paper = paper,
       .allowed = {"all", "logged", "none"}},
      over);
}

void Lags::Fields(FieldVisitor& visitor) {
  constexpr double kLongest = 1e15;
  visitor.Visit({.name = "recent_lag",
                 .help = "how many steps ago the recent batch was the updating batch",
                 .unit = "steps",
                 .paper = "inherent_noise section 3 (the paper states no number)",
                 .min = 1,
                 .max = kLongest},
                recent);
  visitor.Visit({.name = "long_ago_lag",
                 .help = "how many steps ago the long-ago batch was the updating batch",
                 .unit = "steps",
                 .paper = "inherent_noise section 3 (the paper states no number)",
                 .min = 1,
                 .max = kLongest},
                long_ago);
}

void Lags::CheckOrder(const ProbeContext& context) const {
  if (recent < long_ago) return;
  throw Error(ErrorKind::kConfig, context.path + ".recent_lag",
              std::to_string(recent) + " is not below long_ago_lag = " + std::to_string(long_ago),
              "The recent batch must be the later one.");
}

const std::vector<std::string>& BatchChoice::All() {
  static const std::vector<std::string> all = {"updating", "recent", "long_ago"};
  return all;
}

void BatchChoice::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "batches", .help = "which batches to measure on", .allowed = All()},
                names);
  lags.Fields(visitor);
}

void BatchChoice::Check(const ProbeContext& context) const {
  if (names.empty()) {
    throw Error(ErrorKind::kConfig, context.path + ".batches", "empty",
                "Name at least one of updating, recent, long_ago, or remove the probe.");
  }
  const std::set<std::string> distinct(names.begin(), names.end());
  if (distinct.size() < names.size()) {
    throw Error(ErrorKind::kConfig, context.path + ".batches", "a batch is named twice",
                "Name each batch once.");
  }
  const bool uses_recent = distinct.contains("recent");
  const bool uses_long_ago = distinct.contains("long_ago");
  if (!uses_recent && !uses_long_ago) return;
  if (uses_recent && uses_long_ago) lags.CheckOrder(context);
  const int64_t longest = uses_long_ago ? lags.long_ago : lags.recent;
  if (longest >= context.steps) {
    throw Error(
        ErrorKind::kConfig, context.path + (uses_long_ago ? ".long_ago_lag" : ".recent_lag"),
        std::to_string(longest) + " steps, but the run has only " + std::to_string(context.steps),
        "Lower the lag or run longer: no step has a batch that long ago.");
  }
  if (context.sampler.SameEveryStep()) {
    throw Error(
        ErrorKind::kConfig, context.path,
        "recent and long-ago batches were asked for, but the sampler uses the same batch at "
        "every step",
        "Choose another sampler, or measure the updating batch alone.");
  }
}

std::optional<Examples> BatchChoice::ExamplesAt(const StepView& view, int64_t i) const {
  const std::string& name = names[static_cast<size_t>(i)];
  if (name == "updating") return view.batch.examples();
  const int64_t lag = name == "recent" ? lags.recent : lags.long_ago;
  if (!view.sampler.InRun(view.step - lag)) return std::nullopt;
  return view.sampler.ExamplesAt(view.step - lag);
}

}  // namespace sgdscope
