#include "run/run_record.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "core/posix.h"
#include "run/checkpoint.h"
#include "run/experiment.h"
#include "run/manifest.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

/// Whether a process holds the folder's lock (FolderLock), or nobody can tell. A shared lock that is
/// given back at once changes nothing for others.
bool IsLocked(const fs::path& folder) {
  const Descriptor file(OpenFile(folder / ".lock", O_RDONLY));
  return file.get() >= 0 && flock(file.get(), LOCK_SH | LOCK_NB) != 0;
}

Json ReadConfig(const fs::path& path) {
  Json config = Json::parse(ReadFile(path), nullptr, /*allow_exceptions=*/false,
                            /*ignore_comments=*/true);
  if (config.is_object()) return config;
  throw Error(ErrorKind::kData, path.string(), "is no config of a run", "Bring it back.");
}

std::vector<Normalized> NormalizedBy(const Experiment& experiment) {
  std::vector<Normalized> all;
  bool whole = false;  // whether a layer normalizes the batch as a whole
  for (const BatchNormalization& it : experiment.network().batch_norms) {
    const std::string path = it.path + ".ghost_batch_size";
    if (it.ghost_batch_size == 0) {
      whole = true;
    } else if (all.empty() || all.back().path != path) {
      all.push_back({path, it.ghost_batch_size});
    }
  }
  if (!whole) return all;
  const Sampler& sampler = experiment.sampler();
  all.push_back({"batch_size", sampler.batch_size()});
  if (sampler.smallest_batch() < sampler.batch_size()) {
    all.push_back({"sampler.drop_last", sampler.smallest_batch()});
  }
  const std::vector<int64_t> parts = experiment.config().gradient->Parts(sampler.batch_size());
  if (!parts.empty()) all.push_back({"gradient", std::ranges::min(parts)});
  return all;
}

// ---- Units that never fire

/// The layers whose outputs go into a positive part and nowhere else.
std::set<const Layer*> BeforePositiveParts(const Layer& root) {
  std::set<const Layer*> found;
  ForEachLayer(root, [&](const Layer& outer) {
    const std::vector<const Layer*> inside = outer.Inside();
    for (size_t i = 1; i < inside.size(); ++i) {
      if (inside[i]->IsPositivePart()) found.insert(inside[i - 1]);
    }
  });
  return found;
}

/// The name that the layer's parameters begin with: of those that its part of the gradient lies at.
std::string NameOf(const Tap& tap, const ParameterTable& table) {
  const at::Tensor gradient = at::ones({table.size()}, tap.output.options());
  tap.layer->WriteGradient(tap, at::zeros_like(tap.output), gradient);
  const auto place = gradient.argmin().item<int64_t>();
  const auto owner = std::ranges::find_if(
      table.parameters(), [place](const Parameter& p) { return place < p.offset + p.size; });
  return owner->name.substr(0, owner->name.rfind('.'));
}

/// Which units [units] of a tap have an output above 0 on some example.
at::Tensor Firing(const Tap& tap) {
  const at::Tensor above = tap.output.gt(0);
  return (above.dim() > 2 ? above.flatten(2).any(2) : above).any(0);
}

/// Counts silent units on up to kMost examples from all over the training set, a piece of them at a
/// time, for as long as there are silent units and it takes no longer than some seconds.
class SilentUnits {
 public:
  SilentUnits(const Experiment& experiment, const at::Tensor& theta)
      : experiment_(experiment),
        theta_(theta),
        followed_(BeforePositiveParts(*experiment.network().root)) {}

  void CountInto(NetworkFacts& facts) {
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::seconds kLongest(2);
    constexpr int64_t kMost = 5000, kPiece = 250;
    if (followed_.empty()) return;
    const int64_t size = experiment_.train().size(), most = std::min(size, kMost);
    const int64_t pieces = (most + kPiece - 1) / kPiece;
    const auto begin = Clock::now();
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const at::Tensor places = at::arange(piece, most, pieces, at::kLong);
      LookAt(places.mul(size).div(most, "floor"));
      facts.examples += places.size(0);
      if (Count(facts) == 0 || Clock::now() - begin > kLongest) return;
    }
  }

 private:
  void LookAt(const at::Tensor& examples) {
    // Without a graph a layer and the positive part behind it are one pass, which records none of
    // what lies between them.
    const at::AutoGradMode graph(true);
    taps_.clear();
    std::vector<Tap> taps;
    const Batch batch = experiment_.train().Load(examples);
    experiment_.network().root->Forward(batch.inputs, {theta_, &taps});
    for (const Tap& tap : taps) {
      if (!followed_.contains(tap.layer)) continue;
      const at::Tensor firing = Firing(tap);
      if (fired_.size() == taps_.size()) fired_.push_back(firing);
      fired_[taps_.size()] = fired_[taps_.size()].logical_or(firing);
      taps_.push_back(tap);
    }
  }

  /// Writes what is known by now, and returns how many are silent in all.
  int64_t Count(NetworkFacts& facts) const {
    int64_t all = 0;
    facts.relus.clear();
    for (size_t i = 0; i < taps_.size(); ++i) {
      const int64_t silent = fired_[i].logical_not().sum().item<int64_t>();
      const std::string name =
          silent == 0 ? std::string() : NameOf(taps_[i], experiment_.network().table);
      facts.relus.push_back({name, fired_[i].size(0), silent});
      all += silent;
    }
    return all;
  }

  const Experiment& experiment_;
  at::Tensor theta_;
  std::set<const Layer*> followed_;
  std::vector<Tap> taps_;          // of the last piece, of the layers followed
  std::vector<at::Tensor> fired_;  // of each of these, [units] bool
};

/// Also with the weights that were drawn for step 0.
void CountAtStart(const Experiment& experiment, NetworkFacts& facts) {
  const RunConfig& config = experiment.config();
  NetworkFacts start = {0, 0, 0, {}, {}};
  SilentUnits(experiment, InitialTheta(experiment.network(), static_cast<uint64_t>(config.seed),
                                       config.scalar_type()))
      .CountInto(start);
  for (size_t i = 0; i < facts.relus.size(); ++i) {
    facts.relus[i].silent_at_start = start.relus[i].silent;
  }
}

/// `drawn`: whether the weights of step 0 were.
NetworkFacts ReadNetwork(Json json, const fs::path& folder, bool drawn) {
  json["device"] = "cpu";
  json["output"] = folder.string();
  const auto config = ReadRunConfig(json);
  Experiment experiment(*config);
  experiment.LoadData();
  const Sampler& sampler = experiment.sampler();
  NetworkFacts facts = {sampler.batch_size(),
                        sampler.smallest_batch(),
                        experiment.train().size(),
                        NormalizedBy(experiment),
                        {}};
  const auto checkpoint = LoadLastCheckpoint(folder / "checkpoints", [](const std::string&) {});
  if (!checkpoint || !checkpoint->state.contains("theta")) return facts;
  const at::Tensor& theta = checkpoint->state.at("theta");
  CheckLayout(checkpoint->layout, theta, experiment.network().table, folder.string());
  at::NoGradGuard no_grad;
  SilentUnits(experiment, theta).CountInto(facts);
  const bool silent = std::ranges::any_of(facts.relus, [](const auto& r) { return r.silent > 0; });
  if (drawn && silent) CountAtStart(experiment, facts);
  return facts;
}

}  // namespace

Json RunRecord::At(const Json& object, const std::string& path) {
  const size_t point = path.find('.');
  const std::string key = path.substr(0, point);
  if (!object.is_object() || !object.contains(key)) return {};
  return point == std::string::npos ? object[key] : At(object[key], path.substr(point + 1));
}

double RunRecord::NumberAt(const Json& object, const std::string& path, double fallback) {
  const Json found = At(object, path);
  return found.is_number() ? found.get<double>() : fallback;
}

std::string RunRecord::TextAt(const Json& object, const std::string& path) {
  const Json found = At(object, path);
  return found.is_string() ? found.get<std::string>() : "";
}

RunRecord ReadRun(const fs::path& folder) {
  RunRecord run;
  run.folder = folder;
  // Before all else: a run that ends meanwhile says so in what is read then.
  run.at_work = IsLocked(folder);
  const auto manifest = ReadManifest(folder / "manifest.json");
  if (!manifest) {
    throw Error(ErrorKind::kConfig, folder.string(),
                "there is no run here: no manifest.json of one",
                "Give the folder that a run was written to, as in: diagnose runs/mine.");
  }
  run.manifest = *manifest;
  run.config = ReadConfig(folder / "config.json");
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  run.metrics = ReadCsv(folder / "metrics.csv", {.threads = cores});
  run.eval = ReadCsv(folder / "eval.csv");
  try {
    const bool drawn = !run.manifest.contains("fork") && !run.manifest.contains("init");
    run.network = ReadNetwork(run.config, folder, drawn);
  } catch (const c10::Error& error) {
    run.no_network = error.what_without_backtrace();
  } catch (const std::exception& error) {
    run.no_network = error.what();
  }
  return run;
}

}  // namespace sgdscope
