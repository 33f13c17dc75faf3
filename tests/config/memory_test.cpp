#include <gtest/gtest.h>

#include "config/json.h"
#include "config/registry.h"

namespace sgdscope {
namespace {

/// Two leaves; of one a field bounds memory.
class Tiled : public Configurable {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "memory", .help = "", .unit = "MiB", .limits_memory_of = "tiles"},
                  memory_);
    visitor.Visit({.name = "size", .help = "", .unit = "MiB"}, size_);
  }

 private:
  int64_t memory_ = 5;
  int64_t size_ = 6;
};
class Untiled : public Configurable {};
const Registration<Configurable, Tiled> kTiled("tiled", "");
const Registration<Configurable, Untiled> kUntiled("untiled", "");

struct Config {
  Choice<Configurable> one{"untiled"};
  Choice<Configurable> none;
  ChoiceList<Configurable> list;
  bool given = false;
  int64_t memory = 7;

  void Fields(FieldVisitor& visitor) {
    const auto own = [this](FieldVisitor& group) {
      group.Visit({.name = "memory", .help = "", .unit = "GiB", .limits_memory_of = "rows"},
                  memory);
    };
    visitor.Choose({.name = "one", .help = ""}, one);
    visitor.Choose({.name = "none", .help = ""}, none);
    visitor.ChooseList({.name = "list", .help = ""}, list);
    visitor.OptionalGroup({.name = "maybe", .help = ""}, given, own);
    visitor.Group({.name = "group", .help = ""}, own);
  }
};

TEST(MemoryLimits, NameTheFieldsOfChosenLeavesAndGivenGroups) {
  Config config;
  const auto limits = [&] {
    return MemoryLimits([&](FieldVisitor& visitor) { config.Fields(visitor); });
  };
  EXPECT_EQ(limits(), std::vector<std::string>{"rows at most 7 GiB (group.memory)"});
  config.one.Select("tiled");
  config.list.Append().Select("untiled");
  config.list.Append().Select("tiled");
  config.given = true;
  EXPECT_EQ(limits(),
            (std::vector<std::string>{
                "tiles at most 5 MiB (one.memory)", "tiles at most 5 MiB (list[1].memory)",
                "rows at most 7 GiB (maybe.memory)", "rows at most 7 GiB (group.memory)"}));
}

}  // namespace
}  // namespace sgdscope
