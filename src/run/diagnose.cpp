#include "run/diagnose.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "run/console.h"
#include "run/findings.h"

namespace sgdscope {
namespace {

/// "steps 61 %, taylor 30 %, ..." by size, of the time after the start.
std::string SharesText(const RunRecord& run) {
  const Json seconds = RunRecord::At(run.manifest, "seconds");
  const double all = SecondsAfterStart(run);
  if (all <= 0) return "not known: an earlier version of the program made this run";
  std::vector<std::pair<double, std::string>> shares;
  const auto add = [&](const Json& parts) {
    for (const auto& [part, value] : parts.items()) {
      if (value.is_number() && part != "start") shares.emplace_back(value.get<double>(), part);
    }
  };
  add(seconds);
  if (const Json probes = RunRecord::At(seconds, "probes"); probes.is_object()) add(probes);
  std::ranges::sort(shares, std::ranges::greater());
  std::string text;
  for (const auto& [taken, part] : shares) {
    if (taken >= 0.005 * all) text += part + " " + PercentText(taken / all) + ", ";
  }
  text += "of " + NumberText(all) + " s after a start of " +
          NumberText(RunRecord::NumberAt(seconds, "start", 0)) + " s";
  const bool host = RunRecord::TextAt(seconds, "clock") == "host";
  return host ? text + ", of the host: the device is waited for in rows and evaluations" : text;
}

std::string StatusText(const RunRecord& run) {
  std::string status = RunRecord::TextAt(run.manifest, "status");
  if (status == "running") status = run.at_work ? "at work" : "stopped";
  return status + ", " + run.manifest["steps_done"].dump() + " steps in " +
         DurationText(RunRecord::NumberAt(run.manifest, "wall_seconds", 0));
}

std::string SettingText(const Setting& setting) {
  std::string text = "set " + setting.path + " = " + setting.value.dump();
  return setting.is.is_null() ? text : text + " (is " + setting.is.dump() + ")";
}

}  // namespace

std::string DiagnosisText(const RunRecord& run) {
  std::string text = run.folder.string() + ": " + StatusText(run) + "\n";
  text += "  time: " + SharesText(run) + "\n";
  const std::vector<Finding> findings = FindingsOf(run);
  for (const Finding& finding : findings) {
    text += "  " + finding.name + ": " + finding.says + "\n    " + finding.advice + "\n";
    for (const Setting& setting : finding.settings) text += "    " + SettingText(setting) + "\n";
  }
  if (findings.empty()) text += "  nothing remarkable\n";
  if (!run.network) {
    text += "  not looked at: the network and its units: " +
            run.no_network.substr(0, run.no_network.find('\n')) + "\n";
  }
  return text;
}

Json DiagnosisJson(const RunRecord& run) {
  Json json = {{"run", run.folder.string()},
               {"status", run.manifest["status"]},
               {"reason", RunRecord::TextAt(run.manifest, "reason")},
               {"steps_done", run.manifest["steps_done"]},
               {"at_work", run.at_work},
               {"seconds", RunRecord::At(run.manifest, "seconds")},
               {"findings", Json::array()},
               {"not_looked_at", run.no_network}};
  for (const Finding& finding : FindingsOf(run)) {
    Json settings = Json::array();
    for (const Setting& setting : finding.settings) {
      settings.push_back({{"path", setting.path}, {"is", setting.is}, {"value", setting.value}});
    }
    json["findings"].push_back({{"rule", finding.name},
                                {"says", finding.says},
                                {"advice", finding.advice},
                                {"settings", settings}});
  }
  return json;
}

}  // namespace sgdscope
