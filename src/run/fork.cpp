#include "run/fork.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/tensor_file.h"
#include "run/manifest.h"
#include "run/run_config.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

/// "20, 40, 60", or of many the first and the last.
std::string StepsText(const std::vector<int64_t>& steps) {
  constexpr size_t kShown = 20;
  const bool all = steps.size() <= kShown;
  std::string text;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!all && i == kShown / 2) {
      text += ", ...";
      i = steps.size() - kShown / 2;
    }
    text += (text.empty() ? "" : ", ") + std::to_string(steps[i]);
  }
  return all ? text : text + " (" + std::to_string(steps.size()) + " in all)";
}

Json ReadResolved(const fs::path& path) {
  const std::string text =
      ReadFile(path, ErrorKind::kConfig, "A fork needs the config.json that the run wrote.");
  return ResolvedConfig(*ReadRunConfig(ParseConfig(text, path.string())));
}

// ---- What means the same

/// State of update rules that is the same quantity in several of them.
///   mean     m <- b m + (1 - b) g, from 0 on
///   square   v <- b v + (1 - b) g^2, from 0 on
const std::map<std::string, std::set<std::string>> kSharedByRules = {
    {"mean", {"adam", "adamw", "lion", "sign_sgd"}}, {"square", {"adam", "adamw", "rmsprop"}}};

/// Parts of the config on which the meaning of state hangs.
const std::vector<std::string> kSchedule = {"update.learning_rate", "train_loss"};
const std::vector<std::string> kData = {"data", "seed"};
const std::vector<std::string> kBatches = {"data", "seed", "sampler", "batch_size"};
const std::vector<std::string> kEpoch = {"data", "seed", "sampler", "batch_size", "loss"};

/// The value at "update.learning_rate"; null if there is none.
Json At(const Json& config, const std::string& path) {
  const size_t point = path.find('.');
  const std::string key = path.substr(0, point);
  if (!config.contains(key)) return {};
  return point == std::string::npos ? config[key] : At(config[key], path.substr(point + 1));
}

/// The probe whose state has this name; null if there is none. A label may begin with another one.
Json ProbeOf(const Json& config, const std::string& name) {
  Json found;
  size_t longest = 0;
  for (const Json& probe : config["probes"]) {
    const std::string begin = "probe." + probe["label"].get<std::string>() + ".";
    if (!name.starts_with(begin) || begin.size() < longest) continue;
    longest = begin.size();
    found = probe;
  }
  return found;
}

/// Of the parent's config and that of the fork.
class Comparison {
 public:
  Comparison(const Json& parent, const Json& config) : parent_(parent), config_(config) {}

  /// Why a state with this name does not mean the same in both; "" if it does.
  std::string Difference(const std::string& name) const {
    if (name.starts_with("update.")) return OfRule(name.substr(name.find('.') + 1));
    if (name.starts_with("learning_rate.")) return FirstOf(kSchedule);
    if (name.starts_with("learned.")) return FirstOf(kData);
    if (name.starts_with("epoch_mean.")) return FirstOf(kEpoch);
    if (!name.starts_with("probe.") || ProbeOf(parent_, name) == ProbeOf(config_, name)) return "";
    return "the probe is another";
  }

  /// The first of these parts that is not as it was, as a sentence; "" if all are.
  std::string FirstOf(const std::vector<std::string>& paths) const {
    for (const std::string& path : paths) {
      if (At(parent_, path) != At(config_, path)) return path + " is another";
    }
    return "";
  }

 private:
  std::string OfRule(const std::string& tensor) const {
    const auto was = At(parent_, "update.name").get<std::string>();
    const auto is = At(config_, "update.name").get<std::string>();
    // By 1 - beta^t both divide means that began t steps ago.
    static const std::set<std::string> kCorrected = {"adam", "adamw"};
    if (kCorrected.contains(was) && kCorrected.contains(is)) {
      return FirstOf({"update.beta1", "update.beta2"});
    }
    if (was == is) return FirstOf({"update.dampening"});  // which scales the velocity
    const auto shared = kSharedByRules.find(tensor);
    if (shared != kSharedByRules.end() && shared->second.contains(was) &&
        shared->second.contains(is)) {
      return "";
    }
    return "update is " + is + ", was " + was;
  }

  const Json& parent_;
  const Json& config_;
};

bool IsOfRule(const std::string& name) { return name.starts_with("update."); }

std::string ListText(const std::string& title, const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? title + ": " : ", ") + name;
  return text;
}

}  // namespace

void Fork::Check(const Experiment& experiment) const {
  const std::string where = (run / "checkpoints").string();
  const at::Tensor& theta = checkpoint.state.at("theta");
  CheckLayout(checkpoint.layout, theta, experiment.network().table, where);
  if (!theta.isfinite().all().item<bool>()) {
    throw Error(ErrorKind::kConfig, "--at",
                where + " has a checkpoint of step " + std::to_string(checkpoint.step) +
                    ", but its theta is not finite: the run had diverged",
                "Give an earlier step.");
  }
  if (!experiment.sized() || checkpoint.step < experiment.steps()) return;
  throw Error(ErrorKind::kConfig, "--at",
              "step " + std::to_string(checkpoint.step) + ", but the fork would end at step " +
                  std::to_string(experiment.steps()),
              experiment.config().steps
                  ? "Make it longer: --set steps=" + std::to_string(2 * checkpoint.step) + "."
                  : "Make it longer with --set epochs=N; of larger batches an epoch has fewer "
                    "steps.");
}

void Fork::CheckConfig(const Json& resolved) const {
  for (const std::string path : {"init", "model.init"}) {
    if (At(config, path) == At(resolved, path)) continue;
    throw Error(ErrorKind::kConfig, path, "a fork begins with its parent's weights",
                "Leave it as it was, or begin a new run: run " + (run / "config.json").string() +
                    " --set ... --output FOLDER.");
  }
}

void Fork::CheckBegan(const Json& began, const std::string& folder) const {
  const Json record = Record();
  const Json found = began.contains("fork") ? began["fork"] : Json::object();
  for (const auto& [key, value] : record.items()) {
    if (found.contains(key) && found[key] == value) continue;
    throw Error(ErrorKind::kConfig, folder,
                "the run there is no fork of " + run.string() + " at step " +
                    std::to_string(checkpoint.step),
                "--overwrite replaces it, --output FOLDER goes elsewhere.");
  }
}

Json Fork::Record() const {
  return {{"run", run.string()},
          {"step", checkpoint.step},
          {"theta_crc32", ChecksumOf(checkpoint.state.at("theta"))}};
}

Fork ReadFork(const fs::path& run, int64_t step) {
  const auto manifest = ReadManifest(run / "manifest.json");
  if (!manifest) {
    throw Error(ErrorKind::kConfig, run.string(), "there is no run here: no manifest.json of one",
                "Give the folder that a run was written to, as in: fork runs/mine --at 1000.");
  }
  const fs::path folder = run / "checkpoints";
  const std::vector<int64_t> steps = CheckpointSteps(folder);
  if (std::ranges::find(steps, step) == steps.end()) {
    throw Error(
        ErrorKind::kConfig, "--at",
        folder.string() + " has no checkpoint of step " + std::to_string(step) +
            (steps.empty() ? ", nor of another" : "; there are those of " + StepsText(steps)),
        "Give one of these, or let a new run keep that one: run ... --set "
        "checkpoint.keep.steps=[" +
            std::to_string(step) + "].");
  }
  Fork fork = {fs::canonical(run), ReadResolved(run / "config.json"), *manifest,
               LoadCheckpoint(folder, step)};
  if (!fork.checkpoint.state.contains("theta")) {
    throw Error(ErrorKind::kData, folder.string(),
                "the checkpoint of step " + std::to_string(step) + " has no tensor theta");
  }
  return fork;
}

Fork ReadFork(const Json& record) {
  constexpr const char* kRemedy = "Bring the old checkpoint back, or fork anew with --overwrite.";
  Fork fork;
  try {
    fork = ReadFork(record["run"].get<std::string>(), record["step"].get<int64_t>());
  } catch (const Error& error) {
    throw Error(
        ErrorKind::kData, "fork",
        std::string("it has no checkpoint of its own yet, and its parent's is not there: ") +
            error.what(),
        kRemedy);
  }
  const std::string found = ChecksumOf(fork.checkpoint.state.at("theta"));
  if (found == record["theta_crc32"]) return fork;
  throw Error(ErrorKind::kData, fork.run.string(),
              "theta of step " + record["step"].dump() + " has the checksum " + found +
                  ", but the fork began with " + record["theta_crc32"].dump(),
              kRemedy);
}

std::string Carried::Text() const {
  const std::string begun = ListText("starts anew", anew), unused = ListText("left behind", left);
  return begun + (begun.empty() || unused.empty() ? "" : "; ") + unused;
}

Carried CarryState(const Fork& fork, const Json& config,
                   const std::map<std::string, at::Tensor>& live) {
  const auto& saved = fork.checkpoint.state;
  const Comparison comparison(fork.config, config);
  std::map<std::string, std::string> reasons;  // of what is not taken; "" of what is
  for (const auto& [name, tensor] : live) {
    const auto found = saved.find(name);
    std::string& reason = reasons[name];
    reason = comparison.Difference(name);
    if (!reason.empty()) continue;
    if (found == saved.end()) {
      reason = "the parent has none";
    } else if (found->second.sizes() != tensor.sizes() ||
               found->second.is_floating_point() != tensor.is_floating_point()) {
      reason = "its shape is another";
    }
  }
  // Half of a rule's state would be corrected for the bias of all of it.
  std::string of_rule;
  for (const auto& [name, reason] : reasons) {
    if (IsOfRule(name) && of_rule.empty()) of_rule = reason;
  }
  Carried carried = {.update = of_rule.empty(), .batches = comparison.FirstOf(kBatches).empty()};
  for (auto& [name, reason] : reasons) {
    if (IsOfRule(name) && reason.empty()) reason = of_rule;
    if (reason.empty()) {
      live.at(name).copy_(saved.at(name));
      carried.taken.push_back(name);
    } else {
      carried.anew.push_back(name + " (" + reason + ")");
    }
  }
  for (const auto& [name, tensor] : saved) {
    if (!live.contains(name)) carried.left.push_back(name);
  }
  return carried;
}

}  // namespace sgdscope
