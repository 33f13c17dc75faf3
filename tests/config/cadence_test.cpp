#include "config/cadence.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/json.h"
#include "core/error.h"
#include "tests/expect_error.h"

namespace sgdscope {
namespace {

Cadence Settled(const std::string& json, Cadence cadence = Cadence(), int64_t steps_per_epoch = 7) {
  ReadFields(Json::parse(json), "eval", [&](FieldVisitor& visitor) { cadence.Fields(visitor); });
  cadence.Prepare("eval", steps_per_epoch);
  return cadence;
}

Cadence Log(int64_t per_decade) {
  return Settled(R"({"at": "log", "per_decade": )" + std::to_string(per_decade) + "}");
}

/// The steps below `end`.
std::vector<int64_t> StepsOf(const Cadence& cadence, int64_t end) {
  std::vector<int64_t> steps;
  for (int64_t step = 0; step < end; ++step) {
    if (cadence.At(step)) steps.push_back(step);
  }
  return steps;
}

TEST(Cadence, MultiplesOfStepsOrEpochs) {
  using Steps = std::vector<int64_t>;
  EXPECT_EQ(StepsOf(Settled(R"({"every": 4})"), 10), (Steps{0, 4, 8}));
  EXPECT_EQ(StepsOf(Settled(R"({"every_epochs": 2})"), 30), (Steps{0, 14, 28}));
  EXPECT_EQ(StepsOf(Settled("{}"), 4), (Steps{0, 1, 2, 3}));
  EXPECT_EQ(StepsOf(Settled("{}", Cadence::EverySteps(3)), 7), (Steps{0, 3, 6}));
  EXPECT_EQ(StepsOf(Settled("{}", Cadence::EveryEpochs(1)), 10), (Steps{0, 7}));
  EXPECT_EQ(StepsOf(Settled(R"({"every": 5})", Cadence::EveryEpochs(1)), 10), (Steps{0, 5}));
  EXPECT_EQ(StepsOf(Settled(R"({"at": "log"})", Cadence::EverySteps(3)), 6),
            (Steps{0, 1, 2, 3, 4, 5}));
}

TEST(Cadence, LogIsTenADecadeUnlessToldOtherwise) {
  EXPECT_EQ(
      StepsOf(Settled(R"({"at": "log"})"), 120),
      (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100}));
  EXPECT_EQ(StepsOf(Log(1), 2000), (std::vector<int64_t>{0, 1, 10, 100, 1000}));
  EXPECT_EQ(StepsOf(Log(2), 200), (std::vector<int64_t>{0, 1, 3, 10, 32, 100}));
}

/// Whether s = round(10^(k/d)) for some k, that is (2 s - 1)^d <= 2^d 10^k < (2 s + 1)^d: in whole
/// numbers, for s <= 1000 and d <= 10 below 10^35.
bool IsLogStep(int64_t s, int64_t d) {
  if (s == 0) return true;
  __int128 low = 1;
  __int128 high = 1;
  __int128 power = 1;
  for (int64_t i = 0; i < d; ++i) {
    low *= 2 * s - 1;
    high *= 2 * s + 1;
    power *= 2;
  }
  while (power < low) power *= 10;
  return power < high;
}

TEST(Cadence, LogAgreesWithTheDefinitionInWholeNumbers) {
  for (int64_t per_decade = 1; per_decade <= 10; ++per_decade) {
    const Cadence cadence = Log(per_decade);
    for (int64_t step = 0; step <= 1000; ++step) {
      EXPECT_EQ(cadence.At(step), IsLogStep(step, per_decade)) << step << " of " << per_decade;
    }
  }
}

TEST(Cadence, LogHoldsEveryPowerOfTenAndAsManyStepsADecadeAsAsked) {
  for (const int64_t per_decade : {1, 3, 7, 10, 99, 1000}) {
    const Cadence cadence = Log(per_decade);
    for (int64_t power = 1; power <= 1'000'000'000'000'000; power *= 10) {
      EXPECT_TRUE(cadence.At(power)) << power << " of " << per_decade;
      EXPECT_FALSE(power > 1000 && cadence.At(power - 1)) << power << " of " << per_decade;
    }
    // From 1000 steps a decade and 10^5 on, neighbours differ by more than 200 steps.
    const auto steps = StepsOf(cadence, 1'000'000);
    const auto before = StepsOf(cadence, 100'000);
    EXPECT_EQ(static_cast<int64_t>(steps.size() - before.size()), per_decade);
  }
}

TEST(Cadence, ContradictionsAreRefused) {
  const auto refuse = [](const std::string& json, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { Settled(json); });
  };
  refuse(R"({"every": 1, "every_epochs": 1})", {"eval: both every and every_epochs", "one"});
  refuse(R"({"every": 1, "at": "log"})", {"eval: both every and at", "one"});
  refuse(R"({"every_epochs": 1, "at": "log"})", {"eval: both every_epochs and at", "one"});
  refuse(R"({"per_decade": 5})", {"eval.per_decade", "without at", "\"at\": \"log\""});
  refuse(R"({"every": 1, "per_decade": 5})", {"eval.per_decade", "without at"});
  refuse(R"({"at": "lin"})", {"eval.at", "\"log\""});
  refuse(R"({"at": "log", "per_decade": 0})", {"eval.per_decade", ">= 1 and <= 1000"});
  refuse(R"({"at": "log", "per_decade": 1001})", {"eval.per_decade", ">= 1 and <= 1000"});
}

TEST(Cadence, IsGivenByAnyOfItsFields) {
  EXPECT_FALSE(Settled("{}", Cadence::EverySteps(3)).given());
  for (const std::string json : {R"({"every": 1})", R"({"every_epochs": 1})", R"({"at": "log"})"}) {
    EXPECT_TRUE(Settled(json).given()) << json;
  }
}

}  // namespace
}  // namespace sgdscope
