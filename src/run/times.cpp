#include "run/times.h"

namespace sgdscope {
namespace {

constexpr const char* kProbes = "probes";

double NumberAt(const Json& object, const std::string& key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number()) return 0;
  return object[key].get<double>();
}

}  // namespace

void Times::Add(const Json& earlier) {
  for (size_t i = 0; i < kNames.size(); ++i) seconds_[i] += NumberAt(earlier, kNames[i]);
  if (!earlier.is_object() || !earlier.contains(kProbes)) return;
  for (size_t i = 0; i < probes_.size(); ++i) {
    seconds_[OfProbe(i)] += NumberAt(earlier[kProbes], probes_[i]);
  }
}

Json Times::ToJson() {
  Settle();
  Json json = Json::object();
  for (size_t i = 0; i < kNames.size(); ++i) json[kNames[i]] = seconds_[i];
  json[kProbes] = Json::object();
  for (size_t i = 0; i < probes_.size(); ++i) json[kProbes][probes_[i]] = seconds_[OfProbe(i)];
  return json;
}

}  // namespace sgdscope
