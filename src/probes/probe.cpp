#include "probes/probe.h"

#include "core/error.h"

namespace sgdscope {

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

void Lags::CheckFilled(const ProbeContext& context, bool uses_recent, bool uses_long_ago) const {
  if (!uses_recent && !uses_long_ago) return;
  if (uses_recent && uses_long_ago) CheckOrder(context);
  const int64_t longest = uses_long_ago ? long_ago : recent;
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

}  // namespace sgdscope
