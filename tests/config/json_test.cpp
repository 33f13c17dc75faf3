#include "config/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/config/toy_config.h"
#include "tests/expect_error.h"

namespace sgdscope {
namespace {

using toy::Config;
using toy::FieldsOf;
using toy::kFull;
using toy::kSmallest;

void ReadText(const std::string& text, Config& config) {
  ReadFields(ParseConfig(text, "FILE"), "", FieldsOf(config));
}

// The smallest config with one more key, or another value of one.
void ReadWith(const std::string& key, const std::string& value, Config& config) {
  Json json = ParseConfig(kSmallest, "FILE");
  json[key] = ParseConfig(value, "VALUE");
  ReadFields(json, "", FieldsOf(config));
}

void ExpectRefused(const std::string& text, const std::vector<std::string>& parts) {
  Config config;
  ExpectError(ErrorKind::kConfig, parts, [&] { ReadText(text, config); });
}

void ExpectRefusedWith(const std::string& key, const std::string& value,
                       const std::vector<std::string>& parts) {
  Config config;
  ExpectError(ErrorKind::kConfig, parts, [&] { ReadWith(key, value, config); });
}

// ---- ParseConfig

TEST(ConfigParse, TakesCommentsAndKeepsTheOrder) {
  const Json json = ParseConfig("// one\n{\"b\": 1, /* two\n */ \"a\": [2] // three\n}", "FILE");
  EXPECT_EQ(json.dump(), R"({"b":1,"a":[2]})");
}

TEST(ConfigParse, SyntaxErrorsTellLineAndColumn) {
  const auto refuse = [](const std::string& text, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { ParseConfig(text, "FILE"); });
  };
  refuse("{\n  \"a\": 1,\n  }", {"FILE:3:3: ", "unexpected '}'", "comma"});
  refuse("{\"a\": 1", {"FILE:1:8: ", "unexpected end of input"});
  refuse("", {"FILE:1:1: ", "unexpected end of input"});
  refuse("{} {}", {"FILE:1:4: "});
  refuse("{\"a\": \"\xff\"}", {"FILE:1:8: ", "UTF-8"});
  refuse("{\"a\":\n 1e999}", {"FILE:2:7: ", "number overflow parsing '1e999'", "smaller"});
  refuse("{\"a\": NaN}", {"FILE:1:7: "});
  refuse("{\"a\": 1}/* open", {"FILE:1:", "comment"});
}

TEST(ConfigParse, AKeyGivenTwiceIsAnError) {
  ExpectError(ErrorKind::kConfig, {"FILE:2:4: ", "the key \"a\" is given twice", "Remove"},
              [] { ParseConfig("{\"a\": 1, \"b\": {\"a\": 1},\n \"a\": 2}", "FILE"); });
  ExpectError(ErrorKind::kConfig, {"\"b\" is given twice"},
              [] { ParseConfig(R"([{"a": {"b": 1, "c": {}, "b": 2}}])", "FILE"); });
  EXPECT_NO_THROW(ParseConfig(R"([{"a": 1, "b": {"a": [{"a": 1}, {"a": 2}]}}, {"a": 1}])", "FILE"));
}

// nlohmann's parser takes a NUL for the end: the rest would be skipped silently.
TEST(ConfigParse, NulIsAnError) {
  ExpectError(ErrorKind::kConfig, {"FILE:2:2: ", "NUL"},
              [] { ParseConfig(std::string("{}\n \0 {\"a\": 1}", 14), "FILE"); });
}

TEST(ConfigParse, ManyKeysInOneObjectAreAnError) {
  const auto object = [](int keys) {
    std::string text = "{\"a\": 1";
    for (int i = 1; i < keys; ++i) text += ",\n\"k" + std::to_string(i) + "\": {}";
    return text + "}";
  };
  EXPECT_NO_THROW(ParseConfig("[" + object(1000) + ", " + object(1000) + "]", "FILE"));
  // The time of an object grows with the square of its keys.
  ExpectError(ErrorKind::kConfig, {"FILE:1001:7: ", "1000 keys in one object", "the right file?"},
              [&] { ParseConfig(object(100'000), "FILE"); });
}

TEST(ConfigParse, ANumberThatWouldBecomeZeroIsAnError) {
  const auto refuse = [](const std::string& text, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { ParseConfig(text, "FILE"); });
  };
  refuse("{\"a\": 1,\n \"b\": 1e-400}", {"FILE:2:13: ", "the number \"1e-400\"", "close to 0"});
  refuse("[0, -12.5E-999 ]", {"\"-12.5E-999\""});
  refuse("1e-400", {"\"1e-400\""});
  for (const std::string zero : {"0", "0.0", "-0.00", "0e-9", "0.0E+5", "0e400"}) {
    EXPECT_EQ(ParseConfig("[1, " + zero + ", 2]", "FILE")[1], 0.0) << zero;
  }
  EXPECT_EQ(ParseConfig("5e-324", "FILE"), 5e-324);
}

TEST(ConfigParse, AFileOfManyMegabytesIsAnError) {
  EXPECT_NO_THROW(ParseConfig(std::string(4'000'000, ' ') + "{}", "FILE"));
  ExpectError(ErrorKind::kConfig, {"FILE", "5000002 bytes", "at most 4194304", "the right file?"},
              [] { ParseConfig(std::string(5'000'000, ' ') + "{}", "FILE"); });
}

TEST(ConfigParse, DeepNestingIsAnError) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(ParseConfig(nested(64), "FILE"));
  ExpectError(ErrorKind::kConfig, {"FILE:1:66: ", "64 levels"},
              [&] { ParseConfig(nested(1'000'000), "FILE"); });
}

// ---- ApplyOverride

std::string Overridden(const std::string& text, const std::string& assignment) {
  Json json = ParseConfig(text, "FILE");
  ApplyOverride(json, assignment);
  return json.dump();
}

TEST(ConfigOverride, SetsValues) {
  EXPECT_EQ(Overridden(R"({"a": 1})", "a=2"), R"({"a":2})");
  EXPECT_EQ(Overridden(R"({"a": 1})", "b=true"), R"({"a":1,"b":true})");
  EXPECT_EQ(Overridden(R"({"m": {"h": [1]}})", "m.h=[64, 32]"), R"({"m":{"h":[64,32]}})");
  EXPECT_EQ(Overridden(R"({"m": {"h": [1, 2]}})", "m.h[1]=3"), R"({"m":{"h":[1,3]}})");
  EXPECT_EQ(Overridden(R"({"p": [{"e": 1}]})", "p[0].e=10"), R"({"p":[{"e":10}]})");
  EXPECT_EQ(Overridden("{}", "a={\"b\": null}"), R"({"a":{"b":null}})");
  EXPECT_EQ(Overridden("{}", "a-b_C1=1"), R"({"a-b_C1":1})");
}

TEST(ConfigOverride, NullTakesAKeyOut) {
  EXPECT_EQ(Overridden(R"({"a": 1, "m": {"h": 1, "i": 2}})", "m.h=null"), R"({"a":1,"m":{"i":2}})");
  EXPECT_EQ(Overridden(R"({"a": 1, "m": {"h": 1}})", "m=null"), R"({"a":1})");
  EXPECT_EQ(Overridden(R"({"a": 1})", "b=null"), R"({"a":1})");
  EXPECT_EQ(Overridden(R"({"p": [{"e": 1, "f": 2}]})", "p[0].e=null"), R"({"p":[{"f":2}]})");
  EXPECT_EQ(Overridden(R"({"p": [1, 2]})", "p[0]=null"), R"({"p":[null,2]})") << "which none takes";
}

TEST(ConfigOverride, WhatIsNotJsonIsAString) {
  EXPECT_EQ(Overridden("{}", "a=mnist"), R"({"a":"mnist"})");
  EXPECT_EQ(Overridden("{}", "a=x=y"), R"({"a":"x=y"})");
  EXPECT_EQ(Overridden("{}", "a=\"\""), R"({"a":""})");
  EXPECT_EQ(Overridden("{}", "a=[1"), R"({"a":"[1"})");
  EXPECT_EQ(Overridden("{}", "a=\"12\""), R"({"a":"12"})");
  EXPECT_EQ(Overridden("{}", "a=1 // no comments here"), R"({"a":"1 // no comments here"})");
}

TEST(ConfigOverride, MakesWhatIsMissing) {
  EXPECT_EQ(Overridden("{}", "a.b.c=1"), R"({"a":{"b":{"c":1}}})");
  EXPECT_EQ(Overridden("{}", "p[0].name=taylor"), R"({"p":[{"name":"taylor"}]})");
  EXPECT_EQ(Overridden(R"({"p": [1]})", "p[1]=2"), R"({"p":[1,2]})");
  EXPECT_EQ(Overridden("{}", "p[0][0]=2"), R"({"p":[[2]]})");
}

TEST(ConfigOverride, Errors) {
  const auto refuse = [](const std::string& assignment, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts,
                [&] { Overridden(R"({"a": 1, "p": [{}], "n": null})", assignment); });
  };
  refuse("a", {"--set a: ", "no '=' in it", "KEY=VALUE"});
  refuse("=1", {"a key is missing at its beginning"});
  refuse("p[0].e=", {"--set p[0].e=: ", "the value is empty", "'p[0].e=\"\"'"});
  refuse("a.=1", {"a key is missing after 'a'"});
  refuse(".a=1", {"a key is missing"});
  refuse("p[0]..x=1", {"a key is missing after 'p[0]'"});
  refuse("[0]=1", {"a key is missing"});
  refuse("a.b=1", {"--set a.b=1: ", "a is 1, not an object"});
  refuse("n.b=1", {"n is null, not an object"});
  refuse("a[0]=1", {"a is 1, not a list"});
  refuse("p[0].q.r[2]=1", {"p[0].q.r has 0 elements", "the next is [0]"});
  refuse("p[2]=1", {"p has 1 elements", "the next is [1]"});
  refuse("p.x=1", {"p is [{}], not an object"});
  for (const std::string index : {"p[", "p[]", "p[-1]", "p[x]", "p[0", "p[99999999999999999999]"}) {
    refuse(index + "=1", {"an index like [0] is expected after 'p'"});
  }
  refuse("p[0]x=1", {"'.' or '[' is expected after 'p[0]'"});
  refuse("p]=1", {"'.' or '[' is expected after 'p'"});
  refuse("a=\xff", {"not valid UTF-8"});
  refuse(R"(a={"b": 1, "b": 2})", {"\"b\" is given twice"});
  refuse("a=1e999", {"number overflow"});
  refuse("a=1e-999", {"\"1e-999\" is too close to 0"});
  refuse("a=" + std::string(100'000, '['), {"64 levels"});
  std::string deep = "x";
  for (int i = 0; i < 100'000; ++i) deep += ".x";
  refuse(deep + "=1", {"64 levels"});
  Json list = Json::array();
  ExpectError(ErrorKind::kConfig, {"the config is [], not an object"},
              [&] { ApplyOverride(list, "a=1"); });
}

TEST(ConfigOverride, IsCheckedLikeTheFile) {
  Json json = ParseConfig(kSmallest, "FILE");
  ApplyOverride(json, "hidden=[64]");
  ApplyOverride(json, "learning_rate=0.5");
  Config config;
  ReadFields(json, "", FieldsOf(config));
  EXPECT_EQ(config.hidden, std::vector<int64_t>{64});
  EXPECT_EQ(dynamic_cast<toy::Constant&>(*config.learning_rate).value, 0.5);
  ApplyOverride(json, "probes[0].name=taylor");
  ApplyOverride(json, "probes[0].evry=1");
  ExpectError(ErrorKind::kConfig, {"probes[0].evry", "Did you mean 'every'?"},
              [&] { ReadFields(json, "", FieldsOf(config)); });
}

// ---- ReadFields

TEST(ConfigRead, AbsentFieldsKeepTheirDefaults) {
  Config config;
  ReadText(kSmallest, config);
  EXPECT_EQ(config.seed, 1);
  EXPECT_EQ(config.name, "run");
  EXPECT_EQ(config.epochs, std::nullopt);
  EXPECT_EQ(config.momentum, 0.9);
  EXPECT_EQ(config.deterministic, std::nullopt);
  EXPECT_EQ(config.order, std::nullopt);
  EXPECT_EQ(config.hidden, std::vector<int64_t>{2000});
  EXPECT_EQ(config.data.path, "p");
  EXPECT_EQ(config.data.kind, "permute");
  EXPECT_FALSE(config.has_noise);
  EXPECT_EQ(config.learning_rate.selected(), "constant");
  EXPECT_EQ(config.main_probe.selected(), "taylor");
  EXPECT_EQ(config.extra_probe.selected(), "");
  EXPECT_TRUE(config.probes.choices().empty());
}

TEST(ConfigRead, AllKindsOfFields) {
  Config config;
  ReadText(kFull, config);
  EXPECT_EQ(config.name, "a");
  EXPECT_EQ(config.epochs, 3);
  EXPECT_EQ(config.momentum, 0);
  EXPECT_EQ(config.offset, -5);
  EXPECT_EQ(config.shift, -2.5e-3);
  EXPECT_TRUE(config.nesterov);
  EXPECT_EQ(config.deterministic, false);
  EXPECT_EQ(config.order, "down");
  EXPECT_EQ(config.hidden, (std::vector<int64_t>{1, 20}));
  EXPECT_EQ(config.augment, (std::vector<std::string>{"crop", "flip"}));
  EXPECT_EQ(config.data.kind, "uniform");
  EXPECT_TRUE(config.has_noise);
  EXPECT_EQ(config.noise.fraction, 0.5);
  const auto& steps = dynamic_cast<toy::Steps&>(*config.learning_rate);
  EXPECT_EQ(steps.at, std::vector<int64_t>{5});
  EXPECT_EQ(steps.factor, 0.5);
  EXPECT_EQ(config.main_probe.selected(), "plain");
  EXPECT_EQ(dynamic_cast<toy::Taylor&>(*config.extra_probe).every, 2);
  ASSERT_EQ(config.probes.choices().size(), 2u);
  EXPECT_EQ(dynamic_cast<toy::Taylor&>(**config.probes.choices()[0]).recent_lag, 3);
  EXPECT_EQ(config.probes.choices()[1]->selected(), "plain");
}

TEST(ConfigRead, WholeNumbersMayBeWrittenAsFloats) {
  Config config;
  const auto read = [&](const std::string& value) {
    ReadWith("offset", value, config);
    return config.offset;
  };
  EXPECT_EQ(read("100"), 100);
  EXPECT_EQ(read("1e5"), 100000);
  EXPECT_EQ(read("100.0"), 100);
  EXPECT_EQ(read("-0.0"), 0);
  EXPECT_EQ(read("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(read("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(read("9007199254740992.0"), int64_t{1} << 53);
  for (const std::string value : {"1.5", "9223372036854775808", "99999999999999999999",
                                  "9007199254740994.0", "1e300", "true", "\"1\"", "[1]", "{}"}) {
    ExpectRefusedWith("offset", value, {"offset: found ", "must be a whole number"});
  }
  for (const std::string value : {"9223372036854775808", "9007199254740994.0", "1e300"}) {
    ExpectRefusedWith("offset", value, {"below 2^63, and below 2^53 with a point or exponent"});
  }
}

TEST(ConfigRead, Ranges) {
  Config config;
  ReadWith("momentum", "0", config);
  ReadWith("hidden", "[1, 10000]", config);
  ReadWith("learning_rate", "50", config);
  ExpectRefusedWith("momentum", "1",
                    {"momentum: found 1, must be a number >= 0 and < 1", "of the velocity"});
  ExpectRefusedWith("momentum", "-1e-9", {"momentum: found -1e-09", ">= 0 and < 1"});
  ExpectRefusedWith("seed", "-1", {"seed: found -1, must be a whole number >= 0"});
  ExpectRefusedWith("epochs", "0", {"epochs: found 0, must be a whole number >= 1"});
  ExpectRefusedWith("hidden", "[5, 0]",
                    {"hidden[1]: found 0, must be a whole number >= 1 and <= 10000"});
  ExpectRefusedWith("learning_rate", "0",
                    {"learning_rate: found 0", "must be a number > 0 and <= 50"});
  ExpectRefusedWith("learning_rate", "50.1", {"learning_rate: found 50.1", "> 0 and <= 50"});
}

TEST(ConfigRead, WrongTypes) {
  ExpectRefusedWith("shift", "\"1\"", {"shift: found \"1\", must be a number"});
  ExpectRefusedWith("shift", "true", {"shift: found true"});
  ExpectRefusedWith("nesterov", "1", {"nesterov: found 1, must be true or false"});
  ExpectRefusedWith("deterministic", "\"no\"", {"must be true or false"});
  ExpectRefusedWith("name", "12",
                    {"name: found 12, must be a string", "in quotes: \"12\"", "'name=\"12\"'"});
  ExpectRefusedWith("hidden", "64",
                    {"hidden: found 64, must be a list of whole numbers, each >= 1 and <= 10000",
                     "Write it as a list: [64]."});
  ExpectRefusedWith("hidden", "[1, [2]]", {"hidden[1]: found [2]"});
  ExpectRefusedWith("augment", "[1]", {"augment[0]: found 1, must be one of \"flip\", \"crop\""});
  ExpectRefusedWith("data", "3", {"data: found 3, must be an object"});
  ExpectRefusedWith("noise", "0.5", {"noise: found 0.5, must be an object"});
  ExpectRefusedWith("probes", "{}", {"probes: found {}, must be a list of objects"});
  ExpectRefused("[1]", {"config: found [1], must be an object"});
}

TEST(ConfigRead, NulCharactersAreAnError) {
  ExpectRefusedWith("name", R"("a\u0000b")", {R"(name: found "a\u0000b")", "NUL", R"(\u0000)"});
  ExpectRefusedWith("data", R"({"path": "\u0000"})", {"data.path: found", "NUL"});
  ExpectRefusedWith("augment", R"(["flip", "crop\u0000"])", {"augment[1]: found", "NUL"});
}

/// That `value` is refused with a remedy, and that the remedy is taken.
void ExpectRemedy(const std::string& key, const std::string& value, const std::string& remedy) {
  ExpectRefusedWith(key, value, {key + ": found " + value, " " + remedy});
  Config config;
  EXPECT_NO_THROW(ReadWith(key, remedy, config)) << remedy;
}

TEST(ConfigRead, RemediesForWrongTypesWork) {
  ExpectRemedy("hidden", "\"64,32\"", "[64,32]");
  ExpectRemedy("hidden", "\"64\"", "[64]");
  ExpectRemedy("hidden", "64", "[64]");
  ExpectRemedy("augment", "\"flip,crop\"", "[\"flip\",\"crop\"]");
  ExpectRemedy("augment", "\"flip\"", "[\"flip\"]");
  ExpectRemedy("name", "12", "\"12\"");
  ExpectRemedy("shift", "\".5\"", "0.5");
  ExpectRemedy("offset", "\"1\"", "1");
}

TEST(ConfigRead, WithoutARemedyTheHelpIsGiven) {
  const auto refused = [](const std::string& key, const std::string& value) {
    Config config;
    try {
      ReadWith(key, value, config);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"hidden", "\"64;32\""},
                                                        {"hidden", "0"},
                                                        {"augment", "\"\""},
                                                        {"order", "5"},
                                                        {"shift", "\"inf\""},
                                                        {"shift", "\"1,5\""},
                                                        {"offset", "\"1.5\""}}) {
    const std::string message = refused(key, value);
    EXPECT_NE(message, "") << key << "=" << value;
    EXPECT_EQ(message.find("Write it"), std::string::npos) << message;
  }
}

TEST(ConfigRead, NullIsAnErrorEverywhere) {
  const Json full = ParseConfig(kFull, "FILE");
  for (const auto& [key, value] : full.items()) {
    ExpectRefusedWith(key, "null", {key + ": found null", "leave it out instead"});
  }
  ExpectRefusedWith("hidden", "[null]", {"hidden[0]: found null"});
  ExpectRefusedWith("probes", "[null]", {"probes[0]: found null"});
}

TEST(ConfigRead, LongValuesAreShortened) {
  const std::string long_text =
      "\"" + std::string(57, 'x') + "\xc3\xa9" + std::string(100, 'x') + "\"";
  ExpectRefusedWith("seed", long_text,
                    {"found \"" + std::string(57, 'x') + "\xc3\xa9..., must be"});
  // The cut must not fall into the two bytes of the letter.
  const std::string shifted = "\"x" + long_text.substr(1);
  ExpectRefusedWith("seed", shifted, {"found \"" + std::string(58, 'x') + "..., must be"});
}

TEST(ConfigRead, AllowedStrings) {
  ExpectRefusedWith("data", R"({"path": "p", "kind": "permutte"})",
                    {"data.kind: found \"permutte\", must be one of \"permute\", \"uniform\"",
                     "Did you mean 'permute'?"});
  ExpectRefusedWith("order", "\"dwon\"",
                    {"order: found \"dwon\", must be one of \"up\", \"down\"", "'down'"});
  ExpectRefusedWith("augment", R"(["flip", "flop"])", {"augment[1]: found \"flop\"", "'flip'"});
}

TEST(ConfigRead, UnknownKeys) {
  ExpectRefusedWith(
      "hiden", "[1]",
      {"hiden: unknown key", "[1]", "Did you mean 'hidden'?", "Known keys: name, seed, epochs, "});
  ExpectRefusedWith("data", R"({"path": "p", "pth": 1})", {"data.pth: unknown key", "'path'"});
  ExpectRefusedWith("learning_rate", R"({"name": "constant", "value": 1, "valeu": 2})",
                    {"learning_rate.valeu: unknown key", "'value'"});
  ExpectRefusedWith("probes", R"([{"name": "plain"}, {"name": "taylor", "recent_lags": 1}])",
                    {"probes[1].recent_lags: unknown key", "Did you mean 'recent_lag'?",
                     "Known keys: name, every, recent_lag."});
  ExpectRefusedWith("probes", R"([{"name": "plain", "every": 1}])",  // a key of another leaf
                    {"probes[0].every: unknown key", "Known keys: name.",
                     "--set probes[0].every=null takes it out."});
  ExpectRefusedWith("a b\x1b", "1", {R"(["a b\u001b"]: unknown key)"});
}

TEST(ConfigRead, MissingFields) {
  ExpectRefused(R"({"learning_rate": 1, "data": {"path": "p"}})",
                {"seed: is missing, must be a whole number >= 0", "of all random numbers"});
  ExpectRefused(
      R"({"seed": 1, "data": {"path": "p"}})",
      {"learning_rate: is missing, must be a number or an object with the key name: one of "
       "\"constant\", \"scaled\", \"steps\""});
  ExpectRefused(R"({"seed": 1, "learning_rate": 1})", {"data.path: is missing, must be a string"});
  ExpectRefusedWith("noise", "{}", {"noise.fraction: is missing, must be a number >= 0 and <= 1"});
  ExpectRefused(R"({"seed": 1, "learning_rate": {"name": "constant"}, "data": {"path": "p"}})",
                {"learning_rate.value: is missing"});
}

TEST(ConfigRead, TheFirstMissingFieldIsReported) {
  ExpectRefused("{}", {"seed: is missing"});
  ExpectRefused(R"({"seed": 1})", {"data.path: is missing"});
}

// A text cannot hold them, but JSON that is made in the program can.
TEST(ConfigRead, NonFiniteNumbersAreErrors) {
  for (const double value : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    Json json = ParseConfig(kSmallest, "FILE");
    json["shift"] = value;
    Config config;
    ExpectError(ErrorKind::kConfig, {"shift: found ", "must be a number"},
                [&] { ReadFields(json, "", FieldsOf(config)); });
  }
}

// A misspelt key is the likely reason for a missing one, so it is the one to be told.
TEST(ConfigRead, UnknownKeysAreReportedBeforeMissingOnes) {
  ExpectRefused(R"({"sed": 1, "learning_rate": 1, "data": {"path": "p"}})",
                {"sed: unknown key", "Did you mean 'seed'?"});
  ExpectRefused(R"({"seed": 1, "learning_rate": 1, "dta": {"path": "p"}})",
                {"dta: unknown key", "Did you mean 'data'?"});
}

TEST(ConfigRead, AFieldDeclaredTwiceIsABug) {
  ExpectError(ErrorKind::kInternal, {"twice: the field is declared twice"}, [] {
    ReadFields(Json::object(), "", [](FieldVisitor& visitor) {
      bool value = false;
      visitor.Visit({.name = "twice", .help = ""}, value);
      visitor.Visit({.name = "twice", .help = ""}, value);
    });
  });
}

// ---- Choices

TEST(ConfigChoice, ANumberStandsForTheShorthand) {
  Config config;
  ReadWith("learning_rate", "0.25", config);
  EXPECT_EQ(dynamic_cast<toy::Constant&>(*config.learning_rate).value, 0.25);
  ReadWith("learning_rate", R"({"name": "constant", "value": 0.5})", config);
  EXPECT_EQ(dynamic_cast<toy::Constant&>(*config.learning_rate).value, 0.5);
  ExpectRefusedWith("main_probe", "1",
                    {"main_probe: found 1, must be an object with the key name: one of"});
}

TEST(ConfigChoice, TheDefaultLeafNeedsNoName) {
  Config config;
  ReadWith("main_probe", R"({"recent_lag": 4})", config);
  EXPECT_EQ(dynamic_cast<toy::Taylor&>(*config.main_probe).recent_lag, 4);
  ReadWith("main_probe", R"({"name": "taylor"})", config);  // named, it begins with its defaults
  EXPECT_EQ(dynamic_cast<toy::Taylor&>(*config.main_probe).recent_lag, 10);
}

TEST(ConfigChoice, BadNames) {
  ExpectRefusedWith("probes", R"([{"every": 1}])",
                    {"probes[0].name: is missing, must be one of \"plain\", \"taylor\""});
  ExpectRefusedWith("probes", R"([{"name": "tylor"}])",
                    {"probes[0].name: found \"tylor\", must be one of \"plain\", \"taylor\"",
                     "Did you mean 'taylor'?"});
  ExpectRefusedWith("probes", R"([{"name": 3}])", {"probes[0].name: found 3"});
  ExpectRefusedWith("probes", R"(["taylor"])",
                    {"probes[0]: found \"taylor\"", "Write {\"name\": \"taylor\"}."});
  ExpectRefusedWith("probes", R"(["tailor"])", {"Did you mean 'taylor'?"});
}

TEST(ConfigChoice, RegistryListsLeavesByName) {
  Choice<toy::Probe> choice;
  EXPECT_EQ(choice.names(), (std::vector<std::string>{"plain", "taylor"}));
  EXPECT_EQ(choice.HelpOf("taylor"), "compares with a linear model");
  EXPECT_EQ(choice.selected(), "");
  choice.Select("taylor");
  EXPECT_EQ(choice.selected(), "taylor");
  dynamic_cast<toy::Taylor&>(choice.leaf()).recent_lag = 99;
  const auto fresh = choice.MakeDefault("taylor");
  EXPECT_EQ(dynamic_cast<toy::Taylor&>(*fresh).recent_lag, 10);
}

TEST(ConfigChoice, ReadingAListAgainReplacesIt) {
  Config config;
  ReadWith("probes", R"([{"name": "plain"}, {"name": "plain"}])", config);
  ReadWith("probes", R"([{"name": "taylor"}])", config);
  ASSERT_EQ(config.probes.choices().size(), 1u);
  EXPECT_EQ(config.probes.choices()[0]->selected(), "taylor");
}

}  // namespace
}  // namespace sgdscope
