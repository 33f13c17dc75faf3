#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>

#include "config/json.h"
#include "core/error.h"
#include "core/rng.h"
#include "tests/config/toy_config.h"
#include "tests/mutate.h"

namespace sgdscope {
namespace {

using toy::Config;
using toy::FieldsOf;

// Written by hand, not taken from the declaration: the keys of each object, or of each leaf.
const std::map<std::string, std::set<std::string>> kKnownKeys = {
    {"",
     {"name", "seed", "epochs", "momentum", "offset", "shift", "nesterov", "deterministic", "order",
      "hidden", "augment", "data", "noise", "learning_rate", "main_probe", "extra_probe",
      "probes"}},
    {"data", {"path", "kind"}},
    {"noise", {"fraction"}},
    {"constant", {"name", "value"}},
    {"steps", {"name", "at", "factor"}},
    {"scaled", {"name", "by", "rate"}},
    {"taylor", {"name", "every", "recent_lag"}},
    {"plain", {"name"}}};

void ExpectKnownKeys(const Json& object, const std::string& kind) {
  for (const auto& [key, value] : object.items()) {
    EXPECT_TRUE(kKnownKeys.at(kind).contains(key)) << kind << ": " << key;
  }
}

// No key of an accepted config may be one that nobody reads.
void ExpectOnlyKnownKeys(const Json& config) {
  ExpectKnownKeys(config, "");
  ExpectKnownKeys(config.at("data"), "data");
  ExpectKnownKeys(config.value("noise", Json::object()), "noise");
  const auto leaf = [](const Json& object, const std::string& by_default) {
    if (object.is_object()) ExpectKnownKeys(object, object.value("name", by_default));
  };
  leaf(config.at("learning_rate"), "");
  leaf(config.value("main_probe", Json::object()), "taylor");
  leaf(config.value("extra_probe", Json{{"name", "plain"}}), "");
  for (const Json& probe : config.value("probes", Json::array())) leaf(probe, "");
}

// Each value of an accepted config must have been read: it stands in the resolved one.
void ExpectTaken(const Json& given, const Json& resolved) {
  if (given.is_object() && resolved.is_number()) {
    EXPECT_EQ(given.at("value"), resolved);  // the long form of a shorthand
  } else if (given.is_object()) {
    for (const auto& [key, value] : given.items()) {
      ASSERT_TRUE(resolved.contains(key)) << key;
      ExpectTaken(value, resolved.at(key));
    }
  } else if (given.is_array()) {
    ASSERT_EQ(given.size(), resolved.size());
    for (size_t i = 0; i < given.size(); ++i) ExpectTaken(given[i], resolved[i]);
  } else {
    EXPECT_EQ(given, resolved);
  }
}

struct Counts {
  int accepted = 0;
  int refused_text = 0;    // not JSON
  int refused_config = 0;  // JSON, but not such a config
};

void CheckOne(const std::string& text, Counts& counts) {
  Json given;
  try {
    given = ParseConfig(text, "FILE");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
    ++counts.refused_text;
    return;
  }
  Config config;
  try {
    ReadFields(given, "", FieldsOf(config));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
    ++counts.refused_config;
    return;
  }
  ++counts.accepted;
  ExpectOnlyKnownKeys(given);
  const Json resolved = WriteFields(FieldsOf(config));
  ExpectTaken(given, resolved);
  Config again;
  ReadFields(ParseConfig(resolved.dump(), "RESOLVED"), "", FieldsOf(again));
  EXPECT_EQ(WriteFields(FieldsOf(again)), resolved);
}

TEST(ConfigFuzzSlow, AMutatedConfigIsReadWhollyOrRefused) {
  Counts counts;
  for (int i = 0; i < 10000 && !HasFailure(); ++i) {
    Stream stream(1, "config fuzz", i);
    const std::string text = Mutate(toy::kFull, stream);
    CheckOne(text, counts);
    if (HasFailure()) std::fprintf(stderr, "mutation %d:\n%s\n", i, text.c_str());
  }
  // All three must happen often, or the test shows little.
  EXPECT_GT(counts.accepted, 500);
  EXPECT_GT(counts.refused_text, 1000);
  EXPECT_GT(counts.refused_config, 1000);
}

TEST(ConfigFuzzSlow, AMutatedOverrideIsAppliedOrRefused) {
  const std::string assignments[] = {"probes[1].recent_lag=10", "data.path=\"x\"", "hidden=[1, 2]",
                                     "learning_rate.factor=0.5", "new.list[0].key=[{\"a\":null}]"};
  int applied = 0;
  int refused = 0;
  for (int i = 0; i < 10000; ++i) {
    Stream stream(2, "override fuzz", i);
    Json config = ParseConfig(toy::kFull, "FILE");
    try {
      ApplyOverride(config, Mutate(assignments[i % 5], stream));
      (void)config.dump();  // it must be text that can be written
      ++applied;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(applied, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace sgdscope
