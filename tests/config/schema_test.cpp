#include <gtest/gtest.h>

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "config/json.h"
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

// ---- WriteFields

TEST(ConfigWrite, WritesWhatItRead) {
  for (const std::string& text : {kSmallest, kFull}) {
    Config config;
    ReadText(text, config);
    const Json written = WriteFields(FieldsOf(config));
    Config again;
    ReadText(written.dump(), again);
    EXPECT_EQ(WriteFields(FieldsOf(again)), written);
  }
}

TEST(ConfigWrite, ChoicesThatHoldChoices) {
  const std::string start = R"({"seed": 1, "data": {"path": "p"}, "learning_rate": )";
  for (const std::string rate :
       {R"({"name":"scaled","by":0.75,"rate":2.0})", R"({"name":"scaled","rate":0.5})",
        R"({"name":"scaled","by":2.0,"rate":{"name":"scaled","rate":{"name":"steps","at":[3],)"
        R"("factor":0.5}}})"}) {
    Config config;
    ReadText(start + rate + "}", config);
    EXPECT_EQ(WriteFields(FieldsOf(config))["learning_rate"].dump(), rate);
  }
  const auto refused = [&](const std::string& rate, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] {
      Config config;
      ReadText(start + rate + "}", config);
    });
  };
  refused(R"({"name": "scaled", "by": 0.25, "rate": 1})", {"learning_rate.by", "0.25", ">= 0.5"});
  refused(R"({"name": "scaled", "rate": {"name": "scaled"}})",
          {"learning_rate.rate.rate", "is missing"});
  refused(R"({"name": "scaled", "rate": {"name": "scaled", "rate": 90}})",
          {"learning_rate.rate.rate", "90", "<= 50"});
}

TEST(ConfigWrite, AllFieldsWithTheirValues) {
  Config config;
  ReadText(kSmallest, config);
  EXPECT_EQ(WriteFields(FieldsOf(config)).dump(),
            R"({"name":"run","seed":1,"momentum":0.9,"offset":0,"shift":0.0,"nesterov":false,)"
            R"("hidden":[2000],"augment":[],"data":{"path":"p","kind":"permute"},)"
            R"("learning_rate":0.1,"main_probe":{"name":"taylor","recent_lag":10},"probes":[]})");
  ReadText(kFull, config);
  EXPECT_EQ(WriteFields(FieldsOf(config)).dump(),
            R"({"name":"a","seed":7,"epochs":3,"momentum":0.0,"offset":-5,"shift":-0.0025,)"
            R"("nesterov":true,"deterministic":false,"order":"down","hidden":[1,20],)"
            R"("augment":["crop","flip"],)"
            R"("data":{"path":"q","kind":"uniform"},"noise":{"fraction":0.5},)"
            R"("learning_rate":{"name":"steps","at":[5],"factor":0.5},)"
            R"("main_probe":{"name":"plain"},)"
            R"("extra_probe":{"name":"taylor","every":2,"recent_lag":10},)"
            R"("probes":[{"name":"taylor","recent_lag":3},{"name":"plain"}]})");
}

class Decay : public Configurable {
 public:
  void Fields(FieldVisitor& visitor) override { visitor.Visit({.name = "rate", .help = ""}, rate); }
  double rate = 2;
};
class Power : public Decay {
 public:
  void Fields(FieldVisitor& visitor) override {
    Decay::Fields(visitor);
    visitor.Visit({.name = "exponent", .help = ""}, exponent);
  }
  double exponent = 3;
};
const Registration<Decay, Decay> kExponential("exponential", "");
const Registration<Decay, Decay> kLinear("linear", "");
const Registration<Decay, Power> kPower("power", "");

TEST(ConfigWrite, AShorthandIsWrittenOnlyWhereItSaysAll) {
  const auto written = [](const std::string& name, const std::string& shorthand) {
    Choice<Decay> choice(name, {shorthand, "rate"});
    return WriteFields([&](FieldVisitor& visitor) {
             visitor.Choose({.name = "decay", .help = ""}, choice);
           })["decay"]
        .dump();
  };
  EXPECT_EQ(written("exponential", "exponential"), "2.0");
  EXPECT_EQ(written("linear", "exponential"), R"({"name":"linear","rate":2.0})");
  EXPECT_EQ(written("power", "power"), R"({"name":"power","rate":2.0,"exponent":3.0})");
}

TEST(ConfigWrite, InfinityIsRefused) {
  ExpectError(ErrorKind::kInternal, {"x", "not finite"}, [] {
    WriteFields([](FieldVisitor& visitor) {
      double value = INFINITY;
      visitor.Visit({.name = "x", .help = ""}, value);
    });
  });
}

// ---- Types: what they have in common, for one that the other tests don't use

struct Numbers {
  std::vector<double> rates = {0.5, 2};
  void Fields(FieldVisitor& visitor) {
    visitor.Visit({.name = "rates", .help = "", .min = 0, .max = 50, .above_min = true}, rates);
  }
};

TEST(ConfigTypes, AListOfNumbersIsReadWrittenAndDescribedLikeAnyOther) {
  Numbers numbers;
  const FieldsFunction fields = [&](FieldVisitor& visitor) { numbers.Fields(visitor); };
  EXPECT_EQ(SchemaOf(fields)["properties"]["rates"].dump(),
            R"({"description":"","type":"array","items":{"type":"number","exclusiveMinimum":0,)"
            R"("maximum":50},"default":[0.5,2.0]})");
  EXPECT_EQ(FieldTable(fields),
            "name   type            default    allowed\n"
            "rates  list of number  [0.5,2.0]  > 0 and <= 50\n");
  ReadFields({{"rates", {1, 0.25}}}, "", fields);
  EXPECT_EQ(numbers.rates, (std::vector<double>{1, 0.25}));
  EXPECT_EQ(WriteFields(fields).dump(), R"({"rates":[1.0,0.25]})");
  const auto refused = [&](const Json& rates, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { ReadFields({{"rates", rates}}, "", fields); });
  };
  refused({1, 0}, {"rates[1]: found 0, must be a number > 0 and <= 50"});
  refused(2, {"rates: found 2, must be a list of numbers, each > 0 and <= 50", "[2]"});
  refused("1e-3,4", {"rates: found", "Write it as a list: [0.001,4]."});
  numbers.rates = {1, INFINITY};
  ExpectError(ErrorKind::kInternal, {"rates", "not finite"}, [&] { WriteFields(fields); });
}

// ---- SchemaOf

TEST(ConfigSchema, DescribesEveryKindOfField) {
  Config config;
  const Json schema = SchemaOf(FieldsOf(config));
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["type"], "object");
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(schema["required"], (Json{"seed", "data", "learning_rate"}));
  const auto property = [&](const std::string& name) { return schema["properties"][name].dump(); };
  EXPECT_EQ(property("seed"),
            R"({"description":"of all random numbers","type":"integer","minimum":0})");
  EXPECT_EQ(property("epochs"),
            R"({"description":"length of the run [epochs]","type":"integer","minimum":1})");
  EXPECT_EQ(property("momentum"), R"({"description":"of the velocity","type":"number","minimum":0,)"
                                  R"("exclusiveMaximum":1,"default":0.9})");
  EXPECT_EQ(property("nesterov"),
            R"({"description":"whether to look ahead","type":"boolean","default":false})");
  EXPECT_EQ(property("deterministic"),
            R"({"description":"left to the device if absent","type":"boolean"})");
  EXPECT_EQ(property("hidden"), R"({"description":"units of each layer","type":"array",)"
                                R"("items":{"type":"integer","minimum":1,"maximum":10000},)"
                                R"("default":[2000]})");
  EXPECT_EQ(property("augment"),
            R"({"description":"changes of the examples","type":"array",)"
            R"("items":{"type":"string","enum":["flip","crop"]},"default":[]})");
  EXPECT_EQ(property("data"),
            R"({"description":"what to learn from","type":"object","properties":{)"
            R"("path":{"description":"where the files lie","type":"string"},)"
            R"("kind":{"description":"how labels are changed","type":"string",)"
            R"("enum":["permute","uniform"],"default":"permute"}},)"
            R"("required":["path"],"additionalProperties":false})");
  EXPECT_EQ(property("order"),
            R"({"description":"as it comes if absent","type":"string","enum":["up","down"]})");
  EXPECT_EQ(property("noise"),
            R"({"description":"none if absent","type":"object","properties":{)"
            R"("fraction":{"description":"how much","type":"number","minimum":0,"maximum":1}},)"
            R"("required":["fraction"],"additionalProperties":false})");
}

TEST(ConfigSchema, KeepsFractionsInLimits) {
  const Json schema = SchemaOf([](FieldVisitor& visitor) {
    double value = 1;
    visitor.Visit({.name = "x", .help = "", .min = 0.5, .max = 2}, value);
  });
  EXPECT_EQ(schema["properties"]["x"]["minimum"].dump(), "0.5");
  EXPECT_EQ(schema["properties"]["x"]["maximum"].dump(), "2");
}

TEST(ConfigSchema, ListsTheLeavesOfAChoice) {
  Config config;
  const Json schema = SchemaOf(FieldsOf(config));
  const std::string number =
      R"-({"description":"the learning rate (Robbins 1951, eq. 3)","type":"number",)-"
      R"("exclusiveMinimum":0,"maximum":50})";
  EXPECT_EQ(schema["properties"]["learning_rate"].dump(),
            R"({"description":"step size","oneOf":[)" + number +
                R"(,{"type":"object","properties":{)"
                R"("name":{"description":"the same at every step","const":"constant"},"value":)" +
                number +
                R"(},"required":["name","value"],"additionalProperties":false},)"
                // The alternative of a choice inside is the choice itself.
                R"({"type":"object","properties":{)"
                R"("name":{"description":"another rate, scaled","const":"scaled"},)"
                R"("by":{"description":"a number or nothing","type":"number","minimum":0.5},)"
                R"("rate":{"description":"what is scaled","$ref":"#/properties/learning_rate"}},)"
                R"("required":["name","rate"],"additionalProperties":false},)"
                R"({"type":"object","properties":{)"
                R"("name":{"description":"drops at some steps","const":"steps"},)"
                R"("at":{"description":"where the rate drops [steps]","type":"array",)"
                R"("items":{"type":"integer","minimum":1},"default":[100,200]},)"
                R"("factor":{"description":"by how much","type":"number","exclusiveMinimum":0,)"
                R"("exclusiveMaximum":1,"default":0.1}},)"
                R"("required":["name"],"additionalProperties":false}]})");
  // The default leaf may be written without its name, so only the other needs one.
  const Json probe = schema["properties"]["main_probe"];
  EXPECT_EQ(probe["default"].dump(), R"({"name":"taylor","recent_lag":10})");
  EXPECT_EQ(probe["oneOf"][0]["required"], Json{"name"});
  EXPECT_FALSE(probe["oneOf"][1].contains("required"));
  const Json probes = schema["properties"]["probes"];
  EXPECT_EQ(probes["type"], "array");
  EXPECT_EQ(probes["default"], Json::array());
  EXPECT_EQ(probes["items"]["oneOf"][1]["required"], Json{"name"});
  EXPECT_EQ(schema["properties"]["extra_probe"]["oneOf"].size(), 2u);
}

// A choice inside that differs in its shorthand or its default leaf from the outer one.
class Holder : public toy::Rate {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Choose({.name = "numberless", .help = ""}, numberless);
  }
  Choice<toy::Rate> numberless;
};

TEST(ConfigSchema, OnlyALikeChoiceIsReferredTo) {
  Holder holder;
  const Json schema = SchemaOf([&](FieldVisitor& visitor) {
    visitor.Group({.name = "group", .help = ""},
                  [&](FieldVisitor& inner) { holder.Fields(inner); });
  });
  const Json& numberless = schema["properties"]["group"]["properties"]["numberless"];
  const Json& scaled = numberless["oneOf"][1];
  ASSERT_EQ(scaled["properties"]["name"]["const"], "scaled");
  // In the choice without numbers stands one with numbers, and only in that one a reference to it.
  const std::string place = "/properties/group/properties/numberless/oneOf/1/properties/rate";
  const Json& inner = scaled["properties"]["rate"]["oneOf"];
  EXPECT_EQ(inner[0]["type"], "number");
  ASSERT_EQ(inner[2]["properties"]["name"]["const"], "scaled");
  EXPECT_EQ(inner[2]["properties"]["rate"]["$ref"], "#" + place);
  EXPECT_EQ(schema.at(Json::json_pointer(place)), scaled["properties"]["rate"]);
}

// Leaving it out reads the default leaf from nothing, which then lacks its field.
TEST(ConfigSchema, AChoiceIsRequiredIfItsDefaultLeafNeedsAField) {
  Choice<toy::Rate> rate("constant");
  const FieldsFunction fields = [&](FieldVisitor& visitor) {
    visitor.Choose({.name = "rate", .help = ""}, rate);
  };
  EXPECT_EQ(SchemaOf(fields)["required"], Json{"rate"});
  EXPECT_FALSE(SchemaOf(fields)["properties"]["rate"].contains("default"));
  ExpectError(ErrorKind::kConfig, {"rate.value: is missing"},
              [&] { ReadFields(Json::object(), "", fields); });
}

// ---- FieldTable

TEST(ConfigTable, IsAligned) {
  toy::Steps steps;
  EXPECT_EQ(FieldTable(FieldsOf(steps)),
            "name    type             default    allowed      unit   help\n"
            "at      list of integer  [100,200]  >= 1         steps  where the rate drops\n"
            "factor  number           0.1        > 0 and < 1         by how much\n");
  toy::Constant constant;
  EXPECT_EQ(FieldTable(FieldsOf(constant)),
            "name   type    default   allowed        help               paper\n"
            "value  number  required  > 0 and <= 50  the learning rate  Robbins 1951, eq. 3\n");
}

TEST(ConfigTable, ShowsEveryKindOfField) {
  Config config;
  const std::string table = FieldTable(FieldsOf(config));
  const auto expect_row = [&](const std::vector<std::string>& cells) {
    std::istringstream lines(table);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with(cells[0] + " ")) continue;
      size_t at = 0;
      for (const std::string& cell : cells) {
        at = line.find(cell, at);
        ASSERT_NE(at, std::string::npos) << "'" << cell << "' is missing in: " << line;
      }
      return;
    }
    ADD_FAILURE() << cells[0] << " is missing in\n" << table;
  };
  expect_row({"seed", "integer", "required", ">= 0", "of all random numbers"});
  expect_row({"epochs", "integer", "absent", ">= 1", "epochs", "length"});
  expect_row({"deterministic", "boolean", "absent"});
  expect_row({"augment", "list of string", "[]", "flip, crop"});
  expect_row({"data", "object", "what to learn from"});
  expect_row({"data.path", "string", "required"});
  expect_row({"data.kind", "string", "\"permute\"", "permute, uniform"});
  expect_row({"order", "string", "absent", "up, down"});
  expect_row({"noise", "object", "absent", "none if absent"});
  expect_row({"noise.fraction", "number", "required", ">= 0 and <= 1"});
  expect_row({"learning_rate", "number or object", "required", "name: constant, scaled,"});
  expect_row({"main_probe", "object", "{\"name\":\"taylor\"", "name: plain, taylor"});
  expect_row({"probes", "list of object", "[]", "name: plain, taylor"});
}

TEST(ConfigTable, WrapsLongCells) {
  const std::string table = FieldTable([](FieldVisitor& visitor) {
    bool value = true;
    visitor.Visit(
        {.name = "x", .help = "a help text of so many words that it cannot stand in a single line"},
        value);
  });
  EXPECT_EQ(table,
            "name  type     default  help\n"
            "x     boolean  true     a help text of so many words that it cannot\n"
            "                        stand in a single line\n");
}

TEST(ConfigTable, OfNothing) {
  toy::Plain plain;
  EXPECT_EQ(FieldTable(FieldsOf(plain)), "");
}

// ---- Nearest

TEST(Nearest, FindsTheLikelyWord) {
  const std::vector<std::string> keys = {"every", "recent_lag", "long_ago_lag", "lr"};
  EXPECT_EQ(Nearest("recent_lag", keys), "recent_lag");
  EXPECT_EQ(Nearest("recentlag", keys), "recent_lag");
  EXPECT_EQ(Nearest("RECENT_LAG", keys), "recent_lag");
  EXPECT_EQ(Nearest("recent_lag", {"RECENT_LAG"}), "RECENT_LAG");
  EXPECT_EQ(Nearest("evrey", keys), "every");
  EXPECT_EQ(Nearest("rl", keys), "lr");
  EXPECT_EQ(Nearest("long_lag", keys), "");  // distance 4, at most 2
  EXPECT_EQ(Nearest("long_agolags", keys), "long_ago_lag");
  EXPECT_EQ(Nearest("long_ago_xyzq", keys), "long_ago_lag");  // distance 4, a third of 13
  EXPECT_EQ(Nearest("batch_size", keys), "");
  EXPECT_EQ(Nearest("xy", keys), "");  // nothing in common, though two edits away
  EXPECT_EQ(Nearest("", keys), "");
  EXPECT_EQ(Nearest("x", {}), "");
}

TEST(Nearest, CountsASwapAsOneEdit) {
  EXPECT_EQ(Nearest("abdcfe", {"abcdxx", "abcdef"}), "abcdef");  // two swaps against four edits
  EXPECT_EQ(Nearest("badc", {"bxxc", "abcd"}), "bxxc");          // two edits each: the first
}

}  // namespace
}  // namespace sgdscope
