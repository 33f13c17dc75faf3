#include "run/listing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "gradients/loss.h"
#include "run/run_config.h"
#include "tests/expect_error.h"
#include "tests/run/small_run.h"
#include "tests/shipped_configs.h"
#include "updates/schedule.h"

namespace sgdscope {
namespace {

template <class Interface>
std::set<std::string> Registered() {
  std::set<std::string> names;
  for (const auto& [name, entry] : Registry<Interface>::entries()) names.insert(name);
  return names;
}

/// The leaves of each kind that `list` knows.
std::map<std::string, std::set<std::string>> Kinds() {
  return {{"data", Registered<Dataset>()},         {"samplers", Registered<Sampler>()},
          {"models", Registered<Model>()},         {"losses", Registered<Loss>()},
          {"estimators", Registered<Estimator>()}, {"updates", Registered<UpdateRule>()},
          {"schedules", Registered<Schedule>()},   {"probes", Registered<Probe>()}};
}

TEST(Listing, HoldsEveryRegisteredLeafUnderItsKind) {
  const std::string all = Listing("");
  for (const auto& [kind, names] : Kinds()) {
    ASSERT_FALSE(names.empty()) << kind;
    const std::string one = Listing(kind);
    EXPECT_TRUE(one.starts_with(kind + "\n"));
    EXPECT_NE(all.find(one), std::string::npos) << kind;
    for (const std::string& name : names) {
      EXPECT_NE(one.find("\n  " + name + ": "), std::string::npos) << kind << " lacks " << name;
    }
  }
}

TEST(Listing, ShowsEachFieldOfTheConfig) {
  const std::string fields = Listing("config");
  auto config = ReadRunConfig(SmallConfig());
  const Json resolved = ResolvedConfig(*config);
  for (const auto& [name, value] : resolved.items()) {
    EXPECT_NE(fields.find("    " + name + " "), std::string::npos) << name;
  }
  EXPECT_NE(Listing("probes").find("long_ago_lag"), std::string::npos);
}

TEST(Listing, AnUnknownKindIsAnErrorThatNamesTheKnownOnes) {
  ExpectError(ErrorKind::kConfig, {"'probe'", "probes", "schedules"}, [] { Listing("probe"); });
}

// ---- Schema

const Json& TheSchema() {
  static const Json schema = ConfigSchema();
  return schema;
}

/// Whether a value fits a part of TheSchema(), for the keywords that it uses; another one is a
/// failure.
bool Fits(const Json& value, const Json& schema);

bool FitsType(const Json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer" && value.is_number_float()) return std::trunc(value.get<double>()) == value;
  return value.is_number();
}

bool FitsObject(const Json& object, const Json& schema) {
  if (!object.is_object()) return true;
  for (const Json& name : schema.value("required", Json::array())) {
    if (!object.contains(name.get<std::string>())) return false;
  }
  for (const auto& [key, value] : object.items()) {
    const Json& properties = schema.at("properties");
    if (!properties.contains(key) || !Fits(value, properties.at(key))) return false;
  }
  return true;
}

bool Fits(const Json& value, const Json& schema) {
  const std::map<std::string, std::function<bool(const Json&)>> keywords = {
      {"type", [&](const Json& type) { return FitsType(value, type); }},
      {"const", [&](const Json& only) { return value == only; }},
      {"enum", [&](const Json& all) { return std::ranges::find(all, value) != all.end(); }},
      {"minimum", [&](const Json& bound) { return value >= bound; }},
      {"maximum", [&](const Json& bound) { return value <= bound; }},
      {"exclusiveMinimum", [&](const Json& bound) { return value > bound; }},
      {"exclusiveMaximum", [&](const Json& bound) { return value < bound; }},
      {"properties", [&](const Json&) { return FitsObject(value, schema); }},
      {"items",
       [&](const Json& items) {
         return std::ranges::all_of(value, [&](const Json& item) { return Fits(item, items); });
       }},
      {"$ref",
       [&](const Json& place) {
         const std::string pointer = place.get<std::string>().substr(1);  // without the #
         return Fits(value, TheSchema().at(Json::json_pointer(pointer)));
       }},
      {"oneOf", [&](const Json& options) {
         const auto fits = [&](const Json& option) { return Fits(value, option); };
         return std::ranges::count_if(options, fits) == 1;
       }}};
  // What says nothing about validity, and what `properties` takes along.
  const std::set<std::string> others = {"$schema", "description", "default", "required",
                                        "additionalProperties"};
  if (schema.contains("type") && !FitsType(value, schema["type"])) return false;
  for (const auto& [keyword, argument] : schema.items()) {
    if (others.contains(keyword)) continue;
    if (!keywords.contains(keyword)) ADD_FAILURE() << "unknown keyword " << keyword;
    if (keywords.contains(keyword) && !keywords.at(keyword)(argument)) return false;
  }
  return true;
}

TEST(Schema, AcceptsEveryShippedConfigAndItsResolvedForm) {
  const Json schema = ConfigSchema();
  const auto paths = ShippedConfigs();
  EXPECT_GE(paths.size(), 1u);
  for (const std::filesystem::path& path : paths) {
    const Json json = ParseConfig(ReadFile(path), path);
    EXPECT_TRUE(Fits(json, schema)) << path;
    auto config = ReadRunConfig(json);
    EXPECT_TRUE(Fits(ResolvedConfig(*config), schema)) << path;
  }
}

TEST(Schema, AcceptsLabelNoiseLearnedAndLogSpacedCadences) {
  Json json = SmallConfig();
  json["data"]["label_noise"] = {{"fraction", 0.25}};
  json["eval"] = {{"at", "log"}, {"per_decade", 5}, {"learned", true}};
  json["probes"] = Json::parse(R"([{"name": "gradient_norm", "at": "log"}])");
  EXPECT_TRUE(Fits(json, ConfigSchema()));
  auto config = ReadRunConfig(json);
  const Json resolved = ResolvedConfig(*config);
  EXPECT_TRUE(Fits(resolved, ConfigSchema()));
  EXPECT_EQ(resolved["eval"], json["eval"]);
  EXPECT_EQ(resolved["data"]["label_noise"]["kind"], "permute");
}

TEST(Schema, AcceptsAugmentationSchedulesAndStops) {
  Json json = SmallConfig();
  json["data"]["shape"] = {3, 8, 8};
  json["data"]["augment"] = {{"pad", 2}, {"flip", false}};
  json["stop"] = {{"train_loss", 0.01}, {"train_accuracy", 1}};
  json["sampler"] = {{"name", "forward_reverse"}};
  for (const std::string rate :
       {R"({"name": "step_decay", "value": 0.1, "hold": 0.25})",
        R"({"name": "cosine", "value": 1})", R"({"name": "warmup", "steps": 5, "then": 0.5})",
        R"({"name": "warmup", "steps": 5, "then": {"name": "cosine", "value": 0.1}})",
        R"({"name": "warmup", "epochs": 1, "then":
            {"name": "warmup", "steps": 2, "then": {"name": "step_decay", "value": 0.1}}})"}) {
    json["update"] = {{"name", "n_step"}, {"n", 4}, {"learning_rate", Json::parse(rate)}};
    EXPECT_TRUE(Fits(json, TheSchema())) << rate;
    auto config = ReadRunConfig(json);
    const Json resolved = ResolvedConfig(*config);
    EXPECT_TRUE(Fits(resolved, TheSchema())) << rate;
    EXPECT_EQ(resolved["stop"], json["stop"]);
    EXPECT_EQ(ResolvedConfig(*ReadRunConfig(resolved)), resolved);
  }
}

TEST(Schema, RefusesWhatReadingRefuses) {
  const Json schema = ConfigSchema();
  ASSERT_TRUE(Fits(SmallConfig(), schema));
  for (const std::string change : {"learning_rate=1",
                                   "seed=-1",
                                   "seed=\"1\"",
                                   "seed=1.5",
                                   "threads=2000",
                                   "dtype=float16",
                                   "update.learning_rate=0",
                                   "update.momentum=1",
                                   "update.beta1=0.5",
                                   "model.hidden=[0]",
                                   "model.name=unknown",
                                   "probes=[{\"every\": 1}]",
                                   "probes=[{\"name\": \"sgd\"}]",
                                   "log=3",
                                   "eval.sometimes=1",
                                   "data={}",
                                   "data.label_noise={}",
                                   "data.label_noise.fraction=1.5",
                                   "eval.at=linear",
                                   "stop.train_accuracy=1.5",
                                   "stop.test_loss=1",
                                   "data.augment.pad=-1",
                                   "update.learning_rate={\"name\": \"warmup\", \"steps\": 5}",
                                   "update.learning_rate={\"name\": \"warmup\", \"steps\": 5, "
                                   "\"then\": {\"name\": \"cosine\", \"value\": 0}}",
                                   "eval={\"at\": \"log\", \"per_decade\": 0}"}) {
    Json config = SmallConfig();
    ApplyOverride(config, change);
    EXPECT_FALSE(Fits(config, schema)) << change;
    ExpectError(ErrorKind::kConfig, {}, [&] { ReadRunConfig(config); });
  }
}

TEST(Schema, HoldsEveryRegisteredLeaf) {
  const std::string schema = ConfigSchema().dump();
  for (const auto& [kind, names] : Kinds()) {
    for (const std::string& name : names) {
      const std::string quoted = "\"" + name + "\"";
      const std::string place = kind == "losses" ? quoted : "\"const\":" + quoted;
      EXPECT_NE(schema.find(place), std::string::npos) << kind << " lacks " << name;
    }
  }
}

}  // namespace
}  // namespace sgdscope
