#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"
#include "config/json.h"
#include "config/registry.h"

// A config with every kind of field, for the tests of the visitors.

namespace sgdscope::toy {

class Rate : public Configurable {};

class Constant : public Rate {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "value",
                   .help = "the learning rate",
                   .paper = "Robbins 1951, eq. 3",
                   .required = true,
                   .min = 0,
                   .max = 50,
                   .above_min = true},
                  value);
  }
  double value = 0;
};

class Steps : public Rate {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "at", .help = "where the rate drops", .unit = "steps", .min = 1}, at);
    visitor.Visit({.name = "factor",
                   .help = "by how much",
                   .min = 0,
                   .max = 1,
                   .above_min = true,
                   .below_max = true},
                  factor);
  }
  std::vector<int64_t> at = {100, 200};
  double factor = 0.1;
};

/// A rate that holds another one.
class Scaled : public Rate {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "by", .help = "a number or nothing", .min = 0.5}, by);
    visitor.Choose({.name = "rate", .help = "what is scaled", .required = true}, rate);
  }
  std::optional<double> by;
  Choice<Rate> rate{AnyChoice::Shorthand{"constant", "value"}};
};

class Probe : public Configurable {};

class Taylor : public Probe {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "every", .help = "how often", .unit = "steps", .min = 1}, every);
    visitor.Visit({.name = "recent_lag", .help = "how far back", .unit = "steps", .min = 1},
                  recent_lag);
  }
  std::optional<int64_t> every;
  int64_t recent_lag = 10;
};

class Plain : public Probe {};

inline const Registration<Rate, Constant> kConstant("constant", "the same at every step");
inline const Registration<Rate, Scaled> kScaled("scaled", "another rate, scaled");
inline const Registration<Rate, Steps> kSteps("steps", "drops at some steps");
inline const Registration<Probe, Taylor> kTaylor("taylor", "compares with a linear model");
inline const Registration<Probe, Plain> kPlain("plain", "measures nothing");

struct Data {
  void Fields(FieldVisitor& visitor) {
    visitor.Visit({.name = "path", .help = "where the files lie", .required = true}, path);
    visitor.Visit(
        {.name = "kind", .help = "how labels are changed", .allowed = {"permute", "uniform"}},
        kind);
  }
  std::string path;
  std::string kind = "permute";
};

struct Noise {
  void Fields(FieldVisitor& visitor) {
    visitor.Visit({.name = "fraction", .help = "how much", .required = true, .min = 0, .max = 1},
                  fraction);
  }
  double fraction = 0;
};

struct Config : Configurable {
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "name", .help = "names the run"}, name);
    visitor.Visit({.name = "seed", .help = "of all random numbers", .required = true, .min = 0},
                  seed);
    visitor.Visit({.name = "epochs", .help = "length of the run", .unit = "epochs", .min = 1},
                  epochs);
    visitor.Visit(
        {.name = "momentum", .help = "of the velocity", .min = 0, .max = 1, .below_max = true},
        momentum);
    visitor.Visit({.name = "offset", .help = "any whole number"}, offset);
    visitor.Visit({.name = "shift", .help = "any number"}, shift);
    visitor.Visit({.name = "nesterov", .help = "whether to look ahead"}, nesterov);
    visitor.Visit({.name = "deterministic", .help = "left to the device if absent"}, deterministic);
    visitor.Visit({.name = "order", .help = "as it comes if absent", .allowed = {"up", "down"}},
                  order);
    visitor.Visit({.name = "hidden", .help = "units of each layer", .min = 1, .max = 10000},
                  hidden);
    visitor.Visit(
        {.name = "augment", .help = "changes of the examples", .allowed = {"flip", "crop"}},
        augment);
    visitor.Group({.name = "data", .help = "what to learn from"},
                  [this](FieldVisitor& group) { data.Fields(group); });
    visitor.OptionalGroup({.name = "noise", .help = "none if absent"}, has_noise,
                          [this](FieldVisitor& group) { noise.Fields(group); });
    visitor.Choose({.name = "learning_rate", .help = "step size", .required = true}, learning_rate);
    visitor.Choose({.name = "main_probe", .help = "measured at each step"}, main_probe);
    visitor.Choose({.name = "extra_probe", .help = "an optional choice"}, extra_probe);
    visitor.ChooseList({.name = "probes", .help = "what to measure"}, probes);
  }

  std::string name = "run";
  int64_t seed = 0;
  std::optional<int64_t> epochs;
  double momentum = 0.9;
  int64_t offset = 0;
  double shift = 0;
  bool nesterov = false;
  std::optional<bool> deterministic;
  std::optional<std::string> order;
  std::vector<int64_t> hidden = {2000};
  std::vector<std::string> augment;
  Data data;
  Noise noise;
  bool has_noise = false;
  Choice<Rate> learning_rate{AnyChoice::Shorthand{"constant", "value"}};
  Choice<Probe> main_probe{"taylor"};
  Choice<Probe> extra_probe;
  ChoiceList<Probe> probes;
};

/// The smallest config that reads, and one with every field.
inline const std::string kSmallest = R"({"seed": 1, "learning_rate": 0.1, "data": {"path": "p"}})";
inline const std::string kFull = R"({
  "name": "a", "seed": 7, "epochs": 3, "momentum": 0, "offset": -5, "shift": -2.5e-3,
  "nesterov": true, "deterministic": false, "order": "down", "hidden": [1, 20], "augment": ["crop", "flip"],
  "data": {"path": "q", "kind": "uniform"}, "noise": {"fraction": 0.5},
  "learning_rate": {"name": "steps", "at": [5], "factor": 0.5},
  "main_probe": {"name": "plain"}, "extra_probe": {"name": "taylor", "every": 2},
  "probes": [{"name": "taylor", "recent_lag": 3}, {"name": "plain"}]})";

/// The fields of a config, as the functions of config_json.h take them.
inline FieldsFunction FieldsOf(Configurable& config) {
  return [&config](FieldVisitor& visitor) { config.Fields(visitor); };
}

}  // namespace sgdscope::toy
