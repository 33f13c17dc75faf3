// What an expert would see in a run, rule by rule. A rule is a function of what the run has left
// behind, and stands in the table at the end with its border; it says what it found and what to do.

#include "run/findings.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "core/csv.h"

namespace sgdscope {
namespace {

using Found = std::vector<Finding>;

// ---- Numbers

/// The nearest of 1, 2 and 5 times a power of ten that is at least x > 0, or with `down` at most.
double Round125(double x, bool down) {
  const double power = std::pow(10.0, std::floor(std::log10(x)));
  double nearest = down ? power : 10 * power;
  for (const double digit : {1.0, 2.0, 5.0}) {
    const double candidate = digit * power;
    if (down ? candidate <= x * (1 + 1e-9) : candidate >= x * (1 - 1e-9)) {
      nearest = down ? std::max(nearest, candidate) : std::min(nearest, candidate);
    }
  }
  return nearest;
}

int64_t RoundUp(double x) {
  return static_cast<int64_t>(std::llround(Round125(std::max(x, 1.0), /*down=*/false)));
}

/// What of a column was measured and is a number.
std::vector<double> Measured(const std::vector<double>& column) {
  std::vector<double> values;
  for (const double value : column) {
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

double Quantile(std::vector<double> values, double share) {
  const auto place = static_cast<size_t>(share * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(place));
  return values[place];
}

double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }

double ShareOf(size_t some, size_t all) {
  return static_cast<double>(some) / static_cast<double>(all);
}

// ---- What a run is made of

struct ProbeOf {
  std::string name, label;
  std::string path;  // "probes[0]"
  Json config;
};

std::vector<ProbeOf> ProbesIn(const RunRecord& run) {
  std::vector<ProbeOf> probes;
  const Json list = RunRecord::At(run.config, "probes");
  for (size_t i = 0; list.is_array() && i < list.size(); ++i) {
    probes.push_back({RunRecord::TextAt(list[i], "name"), RunRecord::TextAt(list[i], "label"),
                      "probes[" + std::to_string(i) + "]", list[i]});
  }
  return probes;
}

/// The values of a probe, as the names of columns without the label.
std::vector<std::string> ValuesOf(const RunRecord& run, const ProbeOf& probe) {
  std::vector<std::string> values;
  for (const std::string& name : run.metrics.names) {
    if (name.starts_with(probe.label + ".")) values.push_back(name.substr(probe.label.size() + 1));
  }
  return values;
}

/// The learning rate that the run begins with, `factor` times as large; none where a schedule hides
/// it.
std::vector<Setting> Rate(const RunRecord& run, double factor) {
  for (const char* path : {"update.learning_rate", "update.learning_rate.value",
                           "update.learning_rate.then", "update.learning_rate.then.value"}) {
    const double is = RunRecord::NumberAt(run.config, path, 0);
    if (is > 0) return {{path, is, Round125(is * factor, /*down=*/true)}};
  }
  return {};
}

/// At which step the run is.
double StepsDone(const RunRecord& run) { return run.manifest["steps_done"].get<double>(); }

/// How many steps it made itself: a fork's first is the one that its parent was at.
double StepsMade(const RunRecord& run) {
  return StepsDone(run) - RunRecord::NumberAt(run.manifest, "fork.step", 0);
}

// ---- Where the time goes

constexpr double kWorthwhile = 1;       // s after the start; of less there is little to gain
constexpr double kMost = 0.5;           // of the time, by what measures
constexpr double kOverhead = 0.2;       // by what only writes
constexpr double kWanted = 0.1;         // where the proposed values lead
constexpr double kFewestMeasured = 10;  // rows that a probe is to be left with

/// What part of the time it takes, where that is more than `border`.
std::optional<Finding> Taking(const RunRecord& run, const std::string& what, double seconds,
                              double border, double count) {
  const double all = SecondsAfterStart(run);
  if (all < kWorthwhile || seconds <= border * all) return std::nullopt;
  const bool host = RunRecord::TextAt(run.manifest, "seconds.clock") == "host";
  Finding finding;
  finding.says = what + " " + PercentText(seconds / all) + " of the " + NumberText(all) +
                 (host ? " s that the host spent after the start" : " s after the start");
  if (count > 0) {
    finding.says += ": " + NumberText(count) + " times " + NumberText(seconds / count) + " s";
  }
  finding.advice = "Do it more rarely.";
  return finding;
}

/// How many times rarer something must be to take the share kWanted.
double Rarer(const RunRecord& run, double seconds) {
  const double rest = std::max(SecondsAfterStart(run) - seconds, 1e-3 * seconds);
  return seconds * (1 - kWanted) / (kWanted * rest);
}

/// The cadence at `path`, made `factor` times rarer. `steps`: how far apart its steps are, for one
/// that the config doesn't name.
Setting RarerCadence(const Json& config, const std::string& path, double factor, double steps) {
  for (const std::string key : {"every", "every_epochs"}) {
    const double is = RunRecord::NumberAt(config, key, 0);
    if (is > 0) return {path + "." + key, static_cast<int64_t>(is), RoundUp(is * factor)};
  }
  if (RunRecord::TextAt(config, "at") == "log") {
    const double is = RunRecord::NumberAt(config, "per_decade", 10);
    const double rarer = std::max(1.0, Round125(std::max(is / factor, 1.0), /*down=*/true));
    return {path + ".per_decade", static_cast<int64_t>(is), static_cast<int64_t>(rarer)};
  }
  return {path + ".every", Json(), RoundUp(steps * factor)};
}

Found Evaluations(const RunRecord& run) {
  const double seconds = RunRecord::NumberAt(run.manifest, "seconds.evaluations", 0);
  const auto count = static_cast<double>(run.eval.rows());
  auto finding = Taking(run, "evaluations take", seconds, kMost, count);
  if (!finding || count < 3) return {};  // at the beginning and at the end there is one anyway
  const double factor = std::min(Rarer(run, seconds), count - 1);
  finding->settings = {RarerCadence(RunRecord::At(run.config, "eval"), "eval", factor,
                                    StepsMade(run) / (count - 1))};
  return {*finding};
}

Found ProbesTime(const RunRecord& run) {
  for (const ProbeOf& probe : ProbesIn(run)) {
    const Json seconds = RunRecord::At(run.manifest, "seconds.probes");
    if (!seconds.is_object() || !seconds.contains(probe.label)) continue;
    const auto taken = seconds[probe.label].is_number() ? seconds[probe.label].get<double>() : 0.0;
    const auto values = ValuesOf(run, probe);
    const bool all_steps = RunRecord::TextAt(probe.config, "cumulative") == "all";
    double rows = 0;
    if (!values.empty()) {
      const auto* column = run.metrics.Find(probe.label + "." + values[0]);
      rows = static_cast<double>(Measured(*column).size());
    }
    auto finding = Taking(run, "the probe '" + probe.label + "' takes", taken, kMost,
                          all_steps ? StepsMade(run) : rows);
    if (!finding) continue;
    const double factor = std::min(Rarer(run, taken), rows / kFewestMeasured);
    if (factor > 1) {
      finding->settings = {RarerCadence(probe.config, probe.path, factor, StepsMade(run) / rows)};
    }
    if (all_steps) finding->settings.push_back({probe.path + ".cumulative", "all", "logged"});
    return {*finding};  // only one can take most of the time
  }
  return {};
}

Found Checkpoints(const RunRecord& run) {
  const double seconds = RunRecord::NumberAt(run.manifest, "seconds.checkpoints", 0);
  const double is = RunRecord::NumberAt(run.config, "checkpoint.every_steps", 0);
  // Those that a cadence of `keep` names are made in addition.
  const Json keep = RunRecord::At(run.config, "checkpoint.keep");
  const bool kept_often = RunRecord::NumberAt(keep, "every", 0) > 0 ||
                          RunRecord::NumberAt(keep, "every_epochs", 0) > 0 ||
                          !RunRecord::TextAt(keep, "at").empty();
  auto finding = Taking(run, "checkpoints take", seconds, kOverhead,
                        is > 0 && !kept_often ? std::floor(StepsMade(run) / is) + 1 : 0);
  if (!finding) return {};
  const double factor = Rarer(run, seconds);
  if (kept_often) {
    finding->settings.push_back(RarerCadence(keep, "checkpoint.keep", factor, 0));
  }
  // Where `keep` makes one at each step of its own, every_steps takes next to nothing.
  const double kept_every = RunRecord::NumberAt(keep, "every", StepsMade(run));
  if (is >= 1 && is < std::min(kept_every, StepsMade(run))) {
    finding->settings.push_back(
        {"checkpoint.every_steps", static_cast<int64_t>(is), RoundUp(is * factor)});
  }
  if (finding->settings.empty()) return {};
  return {*finding};
}

Found Rows(const RunRecord& run) {
  const double seconds = RunRecord::NumberAt(run.manifest, "seconds.rows", 0);
  const auto count = static_cast<double>(run.metrics.rows());
  // Where a device is waited for, it is while rows are fetched.
  const bool host = RunRecord::TextAt(run.manifest, "seconds.clock") == "host";
  auto finding = Taking(run, "the rows of metrics.csv take", seconds, kOverhead, count);
  if (!finding || host || count < 2) return {};
  finding->settings = {RarerCadence(RunRecord::At(run.config, "log"), "log", Rarer(run, seconds),
                                    StepsMade(run) / count)};
  finding->advice += " There is a row wherever a probe measures, too: set its cadence likewise.";
  return {*finding};
}

// ---- What can't be told from nothing

constexpr double kHalf = 0.5;         // of the rows
constexpr int64_t kFewExamples = 16;  // for batch normalization

/// How many units in the last place of 1 the loss of an example is rounded by: its logits are, and
/// the larger they are the more. Measured on fully connected networks, as the root mean square of
/// remainders at tiny learning rates: 0.3 before training, 6 at a loss of 0.4; on n examples the
/// mean of n such.
constexpr double kRoundings = 6;
constexpr double kUnit = 0x1p-24;  // of float32

Found Rounding(const RunRecord& run) {
  if (RunRecord::TextAt(run.config, "dtype") != "float32") return {};
  const double n = run.network ? static_cast<double>(run.network->batch_size)
                               : RunRecord::NumberAt(run.config, "batch_size", 1);
  const double noise = kRoundings * kUnit / std::sqrt(n);
  Found found;
  for (const ProbeOf& probe : ProbesIn(run)) {
    if (probe.name != "taylor") continue;
    for (const std::string& value : ValuesOf(run, probe)) {
      const bool small = value.ends_with(".remainder") || value.ends_with(".penalty");
      if (!small || value.find(".cum_") != std::string::npos) continue;
      const auto values = Measured(*run.metrics.Find(probe.label + "." + value));
      const auto lost = static_cast<size_t>(
          std::ranges::count_if(values, [noise](double v) { return std::abs(v) < 2 * noise; }));
      if (values.empty() || ShareOf(lost, values.size()) <= kHalf) continue;
      found.push_back({"",
                       "in " + PercentText(ShareOf(lost, values.size())) + " of the rows " +
                           probe.label + "." + value + " is below " + NumberText(2 * noise) +
                           ", twice what rounding may make of the loss of " + NumberText(n) +
                           " examples in float32",
                       "Measure in double; a larger batch_size averages roundings, too.",
                       {{"dtype", "float32", "float64"}}});
    }
  }
  return found;
}

/// Which field says how many draws a standard error comes from.
std::string DrawsOf(const ProbeOf& probe, const std::string& value) {
  static const std::map<std::string, std::string> fields = {
      {"stability", "batches"},       {"gradient_noise", "draws"},
      {"flatness", "draws"},          {"overlap", "pairs"},
      {"hessian", "trace_samples"},   {"implicit_regularizer", "partitions"},
      {"separate_updates", "samples"}};
  if (value.starts_with("density_")) return "density_samples";
  const auto found = fields.find(probe.name);
  return found == fields.end() ? "" : found->second;
}

/// The name of a value's standard error; "" if it has none.
std::string ErrorOf(const ProbeOf& probe, const std::string& value,
                    const std::vector<std::string>& values) {
  for (const std::string suffix : {"_error", "_se"}) {
    // Its gamma_error is another estimate, without an error of its own.
    if (probe.name == "implicit_regularizer" && suffix == "_error") continue;
    if (std::ranges::find(values, value + suffix) != values.end()) return value + suffix;
  }
  return "";
}

Finding WideError(const ProbeOf& probe, const std::string& value, const std::string& error,
                  double share, double factor) {
  constexpr double kDearest = 100;  // times as many draws
  Finding finding;
  finding.says = "in " + PercentText(share) + " of the rows " + probe.label + "." + value +
                 " is less than two standard errors (" + error + ") from 0";
  const std::string field = DrawsOf(probe, value);
  const double is = RunRecord::NumberAt(probe.config, field, 0);
  const std::string times = NumberText(factor) + " times as many draws";
  if (is < 1) {
    finding.advice = "It would take " + times + ".";
  } else if (factor > kDearest) {
    finding.advice =
        "It would take " + times + " (" + probe.path + "." + field + "): it may as well be 0.";
  } else {
    finding.advice = "Errors fall with the root of the number of draws.";
    finding.settings = {{probe.path + "." + field, static_cast<int64_t>(is), RoundUp(is * factor)}};
  }
  return finding;
}

Found WideErrors(const RunRecord& run) {
  Found found;
  for (const ProbeOf& probe : ProbesIn(run)) {
    const auto values = ValuesOf(run, probe);
    for (const std::string& value : values) {
      const std::string name = ErrorOf(probe, value, values);
      if (name.empty()) continue;
      const auto& of = *run.metrics.Find(probe.label + "." + value);
      const auto& errors = *run.metrics.Find(probe.label + "." + name);
      std::vector<double> relative;
      for (size_t i = 0; i < of.size(); ++i) {
        if (std::isfinite(of[i]) && std::isfinite(errors[i])) {
          relative.push_back(errors[i] == 0 ? 0 : errors[i] / std::abs(of[i]));
        }
      }
      const auto wide =
          static_cast<size_t>(std::ranges::count_if(relative, [](double r) { return 2 * r > 1; }));
      if (relative.empty() || ShareOf(wide, relative.size()) <= kHalf) continue;
      const double factor = std::pow(2 * Median(relative), 2);
      found.push_back(WideError(probe, value, name, ShareOf(wide, relative.size()), factor));
    }
  }
  return found;
}

// ---- The dynamics

constexpr double kSomeSteps = 0.1;  // of those measured

Found Unstable(const RunRecord& run) {
  Found found;
  for (const ProbeOf& probe : ProbesIn(run)) {
    for (const std::string value : {"step_ratio", "batch_ratio"}) {
      const auto* column = run.metrics.Find(probe.label + "." + value);
      if (probe.name != "stability" || column == nullptr) continue;
      const auto measured = Measured(*column);
      std::vector<double> beyond;
      std::ranges::copy_if(measured, std::back_inserter(beyond), [](double r) { return r > 1; });
      if (measured.empty() || ShareOf(beyond.size(), measured.size()) <= kSomeSteps) continue;
      const auto first = std::ranges::find_if(*column, [](double r) { return r > 1; });
      const auto row = static_cast<size_t>(first - column->begin());
      found.push_back(
          {"",
           PercentText(ShareOf(beyond.size(), measured.size())) +
               " of the measured steps lie beyond the stability threshold: " + probe.label + "." +
               value + " is above 1, first at step " +
               NumberText((*run.metrics.Find("step"))[row]) + ", and " +
               NumberText(std::ranges::max(beyond)) + " at most",
           "A step along a parabola would climb there. With a smaller learning rate it would not, "
           "unless the sharpness grows in turn.",
           Rate(run, 1 / Quantile(beyond, 0.9))});
    }
  }
  return found;
}

/// The first row from which on the loss was never again as low as the highest of the rows before
/// it, of which kWindow count; 0 if there is none.
size_t FirstRowOut(const std::vector<double>& loss) {
  constexpr size_t kWindow = 20;
  std::vector<double> lowest = loss;  // from here on
  for (size_t i = loss.size(); i-- > 1;) lowest[i - 1] = std::min(lowest[i - 1], lowest[i]);
  for (size_t i = 1; i < loss.size(); ++i) {
    const size_t from = i > kWindow ? i - kWindow : 0;
    const double highest = *std::max_element(loss.begin() + static_cast<std::ptrdiff_t>(from),
                                             loss.begin() + static_cast<std::ptrdiff_t>(i));
    if (lowest[i] > highest) return i;
  }
  return 0;
}

/// The last values that probes had up to a row: those that speak of stability first.
std::string LastProbes(const RunRecord& run, size_t row) {
  constexpr size_t kShown = 4;
  std::vector<size_t> columns;
  for (size_t i = 0; i < run.metrics.names.size(); ++i) {
    if (run.metrics.names[i].find('.') != std::string::npos) columns.push_back(i);
  }
  const auto rank = [&](size_t i) {
    const std::string& name = run.metrics.names[i];
    return name.ends_with("_ratio") ? 0 : name.starts_with("gradient_norm") ? 1 : 2;
  };
  std::ranges::stable_sort(columns, {}, rank);
  std::string text;
  size_t shown = 0;
  for (const size_t i : columns) {
    const auto& values = run.metrics.values[i];
    size_t at = row + 1;
    while (at > 0 && !std::isfinite(values[at - 1])) --at;
    if (at == 0) continue;
    if (shown++ == kShown) break;
    text += (text.empty() ? "" : ", ") + run.metrics.names[i] + " " + NumberText(values[at - 1]);
  }
  return text;
}

Found Divergence(const RunRecord& run) {
  if (run.manifest["status"] != "diverged") return {};
  const auto* loss = run.metrics.Find("loss");
  const auto* steps = run.metrics.Find("step");
  const size_t row = loss == nullptr ? 0 : FirstRowOut(*loss);
  Finding finding;
  finding.says = "the training diverged: " + RunRecord::TextAt(run.manifest, "reason");
  if (row > 0 && steps != nullptr) {
    finding.says += "; the loss left its range at step " + NumberText((*steps)[row]) + ", from " +
                    NumberText((*loss)[row - 1]) + " to " + NumberText((*loss)[row]) +
                    ", and never came back";
    const std::string probes = LastProbes(run, row);
    if (!probes.empty()) finding.says += "; there " + probes;
  } else {
    finding.says += "; no row before shows where it began";
  }
  const bool measured = std::ranges::any_of(
      ProbesIn(run), [](const ProbeOf& probe) { return probe.name == "stability"; });
  finding.advice = "Lower the learning rate, or clip the gradient (update.clip_norm).";
  if (!measured) finding.advice += " The probe stability tells how far beyond its bound it is.";
  finding.settings = Rate(run, 0.1);
  return {finding};
}

/// Of all pairs of one of the first k values and one of the last k, the share in which the last is
/// lower; half of those in which both are the same.
double ShareLower(const std::vector<double>& values, size_t k) {
  double lower = 0;
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = values.size() - k; j < values.size(); ++j) {
      lower += values[j] < values[i] ? 1 : values[j] == values[i] ? 0.5 : 0;
    }
  }
  return lower / static_cast<double>(k * k);
}

/// By ranks (Mann and Whitney), since the first losses may differ by orders of magnitude.
Found NotFalling(const RunRecord& run) {
  constexpr size_t kFewest = 20, kFewestAtWork = 100;
  const std::string status = RunRecord::TextAt(run.manifest, "status");
  const bool begun_elsewhere = run.manifest.contains("fork") || run.manifest.contains("init");
  const auto* loss = run.metrics.Find("loss");
  if (status == "diverged" || begun_elsewhere || loss == nullptr) return {};
  const size_t rows = loss->size(), k = std::clamp<size_t>(rows / 10, 5, 500);
  if (rows < (status == "done" ? kFewest : kFewestAtWork)) return {};
  const double share = ShareLower(*loss, k);
  const double error = std::sqrt((2.0 * static_cast<double>(k) + 1) / 12) / static_cast<double>(k);
  if (share > 0.5 + 2 * error) return {};
  const bool rises = share < 0.5 - 2 * error;
  const auto length = static_cast<std::ptrdiff_t>(k);
  return {{"",
           std::string("the loss ") + (rises ? "rises" : "does not fall") + ": its median is " +
               NumberText(Median({loss->begin(), loss->begin() + length})) + " over the first " +
               std::to_string(k) + " rows and " +
               NumberText(Median({loss->end() - length, loss->end()})) +
               " over the last; of pairs of these the last is lower in " + PercentText(share),
           rises ? "Lower the learning rate." : "Try a larger learning rate, or train longer.",
           Rate(run, rises ? 0.1 : 10)}};
}

Found Unfinished(const RunRecord& run) {
  const std::string status = RunRecord::TextAt(run.manifest, "status");
  const bool killed = status == "running" && !run.at_work;
  if (!killed && status != "interrupted" && status != "failed") return {};
  const std::string done = "after " + NumberText(StepsDone(run)) + " steps";
  std::string reason = RunRecord::TextAt(run.manifest, "reason");
  reason = reason.substr(0, reason.find_first_of(";\n"));
  return {{"",
           killed ? "its process is gone, and the run was not finished: its manifest tells of " +
                        NumberText(StepsDone(run)) + " steps"
                  : "the run was not finished, " + status + " " + done + ": " + reason,
           "sgdscope run " + (run.folder / "config.json").string() + " --output " +
               run.folder.string() + " --resume goes on from its last checkpoint."}};
}

// ---- The network

Found DeadUnits(const RunRecord& run) {
  if (!run.network) return {};
  constexpr double kSomeUnits = 0.1;
  std::string layers;
  int64_t silent = 0, at_start = 0;
  for (const ReluUnits& relu : run.network->relus) {
    if (static_cast<double>(relu.silent) <= kSomeUnits * static_cast<double>(relu.units)) continue;
    silent += relu.silent;
    at_start += relu.silent_at_start;
    layers += (layers.empty() ? "" : "; ") + std::string("in ") + relu.layer + " " +
              std::to_string(relu.silent) + " of " + std::to_string(relu.units);
  }
  if (layers.empty()) return {};
  Finding finding;
  finding.says = "units are dead: on none of " + std::to_string(run.network->examples) +
                 " training examples their ReLU is above 0, " + layers + " (at step 0 it was " +
                 std::to_string(at_start) + " of them)";
  const std::string init = RunRecord::TextAt(run.config, "model.init");
  if (2 * at_start < silent) {
    finding.advice = "They get no gradient and stay so. Lower the learning rate, or normalize.";
    finding.settings = Rate(run, 0.1);
  } else {
    finding.advice = "They get no gradient and stay so. Draw the weights otherwise, or normalize.";
    if (!init.empty() && init != "he_normal")
      finding.settings = {{"model.init", init, "he_normal"}};
  }
  return {finding};
}

/// The smallest divisor of n that is at least `least`; 0 if there is none.
int64_t DivisorFrom(int64_t least, int64_t n) {
  for (int64_t divisor = least; divisor <= n; ++divisor) {
    if (n % divisor == 0) return divisor;
  }
  return 0;
}

/// A ghost batch size that divides whatever is normalized at once: all batches, and their pieces.
int64_t LargerGhost(const RunRecord& run) {
  const int64_t whole = std::gcd(run.network->batch_size, run.network->smallest_batch);
  const auto piece = static_cast<int64_t>(RunRecord::NumberAt(run.config, "piece_size", 0));
  return DivisorFrom(kFewExamples, std::gcd(whole, piece));
}

/// Batches of at least kFewExamples, all of one size; nothing where the training set has fewer.
std::vector<Setting> LargerBatches(const RunRecord& run, int64_t is) {
  constexpr int64_t kEnough = 2 * kFewExamples;  // where no divisor is near
  const int64_t size = DivisorFrom(kFewExamples, run.network->train_size);
  if (size == 0) return {};
  if (size <= kEnough) return {{"batch_size", is, size}};
  if (RunRecord::TextAt(run.config, "sampler.name") == "replacement") {
    return {{"batch_size", is, kEnough}};  // never a smaller one
  }
  const Json drops = RunRecord::At(run.config, "sampler.drop_last");
  return {{"batch_size", is, kEnough}, {"sampler.drop_last", drops, true}};
}

Found SmallNormalizedBatches(const RunRecord& run) {
  Found found;
  if (!run.network) return found;
  for (const Normalized& by : run.network->normalized) {
    if (by.examples >= kFewExamples) continue;
    Finding finding;
    finding.says = "batch normalization sees only " + std::to_string(by.examples) +
                   " examples at once (" + by.path + ")";
    finding.advice = "Their mean and variance are noise; evaluations use others.";
    if (by.path == "sampler.drop_last") {
      finding.says += ", in the last batch of each epoch";
      finding.settings = {{by.path, RunRecord::At(run.config, by.path), true}};
    } else if (by.path == "gradient") {
      finding.advice += " Cut batches into fewer parts.";
    } else if (by.path == "batch_size") {
      finding.settings = LargerBatches(run, by.examples);
    } else if (const int64_t size = LargerGhost(run)) {
      finding.settings = {{by.path, by.examples, size}};
    } else {
      finding.advice +=
          " Take larger batches: ghost batches divide them, and none of these sizes is larger.";
    }
    found.push_back(std::move(finding));
  }
  return found;
}

// ---- All rules

struct Rule {
  const char* name;
  const char* border;  // what it finds, for --help
  Found (*find)(const RunRecord& run);
};

constexpr Rule kRules[] = {
    {"unfinished", "interrupted, failed, or at work in no process", Unfinished},
    {"divergence",
     "diverged; it began at the first row whose loss is above the 20 before, and stays there",
     Divergence},
    {"not_falling",
     "a loss of the last tenth of the rows is below one of the first tenth no more often than "
     "chance and two standard errors make it; from 20 rows on, of an unfinished run 100; not of "
     "forks and given weights",
     NotFalling},
    {"unstable", "more than 10 % of the steps beyond the threshold of the probe stability",
     Unstable},
    {"dead_units",
     "more than 10 % of a layer's ReLU units are not above 0 on any of up to 5,000 training "
     "examples, with the last checkpoint's weights",
     DeadUnits},
    {"small_norm_batches", "batch normalization sees fewer than 16 examples at once",
     SmallNormalizedBatches},
    {"rounding",
     "in more than half of the rows a penalty or remainder of taylor is below 12 * 2^-24 / "
     "sqrt(batch size), in float32",
     Rounding},
    {"wide_errors", "in more than half of the rows a value is below two of its standard errors",
     WideErrors},
    {"evaluations", "more than half of the time after the start, which is at least 1 s",
     Evaluations},
    {"probe_time", "more than half of that time goes into one probe", ProbesTime},
    {"checkpoints", "more than 20 % of that time", Checkpoints},
    {"rows", "more than 20 % of that time, on a CPU", Rows},
};

}  // namespace

Found FindingsOf(const RunRecord& run) {
  Found all;
  for (const Rule& rule : kRules) {
    for (Finding& finding : rule.find(run)) {
      finding.name = rule.name;
      // What the config has already: a cadence may be as rare as it can be.
      std::erase_if(finding.settings, [](const Setting& it) { return it.is == it.value; });
      all.push_back(std::move(finding));
    }
  }
  return all;
}

std::string FindingRules() {
  std::string text;
  for (const Rule& rule : kRules) {
    text += std::string("  ") + rule.name + ": " + rule.border + "\n";
  }
  return text;
}

double SecondsAfterStart(const RunRecord& run) {
  const Json seconds = RunRecord::At(run.manifest, "seconds");
  double sum = 0;
  if (!seconds.is_object()) return sum;
  for (const auto& [part, value] : seconds.items()) {
    if (value.is_number() && part != "start") sum += value.get<double>();
  }
  const Json probes = RunRecord::At(seconds, "probes");
  if (!probes.is_object()) return sum;
  for (const auto& [label, value] : probes.items()) {
    if (value.is_number()) sum += value.get<double>();
  }
  return sum;
}

std::string PercentText(double share) {
  char text[32];
  std::snprintf(text, sizeof(text), share < 0.1 ? "%.2g %%" : "%.0f %%", 100 * share);
  return text;
}

std::string NumberText(double value) {
  char text[32];
  const bool whole = value == std::trunc(value) && std::abs(value) < 1e9;
  std::snprintf(text, sizeof(text), whole ? "%.0f" : "%.3g", value);
  return text;
}

}  // namespace sgdscope
