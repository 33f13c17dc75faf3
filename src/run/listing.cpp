#include "run/listing.h"

#include <utility>
#include <vector>

#include "config/registry.h"
#include "core/error.h"
#include "gradients/loss.h"
#include "models/layer_spec.h"
#include "run/run_config.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

std::string Indented(const std::string& text) {
  std::string out;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    out += "    " + text.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  return out;
}

template <class Interface>
std::string Leaves() {
  std::string text;
  for (const auto& [name, entry] : Registry<Interface>::entries()) {
    text += "  " + name + ": " + entry.help + "\n";
    const auto leaf = entry.make();
    text += Indented(FieldTable([&](FieldVisitor& visitor) { leaf->Fields(visitor); }));
  }
  return text;
}

std::string ConfigFields() {
  RunConfig config;
  return Indented(FieldTable([&](FieldVisitor& visitor) { config.Fields(visitor); }));
}

}  // namespace

std::string Listing(const std::string& kind) {
  const std::vector<std::pair<std::string, std::string (*)()>> kinds = {
      {"config", ConfigFields},          {"data", Leaves<Dataset>},
      {"samplers", Leaves<Sampler>},     {"models", Leaves<Model>},
      {"layers", Leaves<LayerSpec>},     {"losses", Leaves<Loss>},
      {"estimators", Leaves<Estimator>}, {"updates", Leaves<UpdateRule>},
      {"schedules", Leaves<Schedule>},   {"probes", Leaves<Probe>},
  };
  std::string text;
  std::string known;
  for (const auto& [name, list] : kinds) {
    known += (known.empty() ? "" : ", ") + name;
    if (kind.empty() || kind == name) text += name + "\n" + list() + "\n";
  }
  if (!text.empty()) return text;
  throw Error(ErrorKind::kConfig, "list", "'" + kind + "' is none of " + known,
              "Leave it out for all.");
}

Json ConfigSchema() {
  RunConfig config;
  return SchemaOf([&](FieldVisitor& visitor) { config.Fields(visitor); });
}

}  // namespace sgdscope
