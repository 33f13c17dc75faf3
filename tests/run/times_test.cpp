#include "run/times.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/run/in_process.h"

// Where the time of a run goes.

namespace sgdscope {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Lets so much time pass.
void Spend(double seconds) {
  for (const auto begin = Clock::now(); Since(begin) < seconds;) {
  }
}

double Sum(const Json& seconds) {
  double sum = 0;
  for (const auto& [part, value] : seconds.items()) {
    sum += value.is_object() ? Sum(value) : value.get<double>();
  }
  return sum;
}

TEST(Times, ChargeOnePartAtATime) {
  constexpr double kSome = 1e-3;
  const auto begin = Clock::now();
  Times times({"a", "b"});
  Spend(kSome);
  times.Switch(Times::kSteps);
  Spend(kSome);
  {
    const Times::Charge outer(&times, Times::OfProbe(1));
    Spend(kSome);
    {
      const Times::Charge inner(&times, Times::kRows);
      Spend(2 * kSome);
    }
    Spend(kSome);
  }
  Spend(kSome);
  const Json seconds = times.ToJson();
  const double whole = Since(begin);
  EXPECT_GE(seconds["start"], kSome);
  EXPECT_GE(seconds["steps"], 2 * kSome);
  EXPECT_GE(seconds["probes"]["b"], 2 * kSome);
  EXPECT_GE(seconds["rows"], 2 * kSome);
  EXPECT_EQ(seconds["probes"]["a"], 0);
  EXPECT_EQ(seconds["batches"], 0);
  EXPECT_LE(Sum(seconds), whole) << "something was charged twice";
}

Json ConfigWithProbes() {
  Json config = SmallConfig();
  config["probes"] = Json::parse(
      R"([{"name": "taylor", "label": "t", "batches": ["updating"]}, {"name": "gradient_norm"}])");
  return config;
}

TEST(Times, EachMomentOfARunIsCharged) {
  const TempFolder folder;
  const auto begin = Clock::now();
  TrainInto(folder / "run", ConfigWithProbes());
  const double whole = Since(begin);
  const Json manifest = ReadJson(folder / "run" / "manifest.json");
  const Json& seconds = manifest["seconds"];
  for (const char* part : Times::kNames) EXPECT_GT(seconds[part], 0) << part;
  EXPECT_GT(seconds["probes"]["t"], 0);
  EXPECT_GT(seconds["probes"]["gradient_norm"], 0);
  EXPECT_GE(Sum(seconds), manifest["wall_seconds"].get<double>() * (1 - 1e-12));
  EXPECT_LE(Sum(seconds), whole);
  EXPECT_FALSE(seconds.contains("clock")) << "only a GPU's run has another one";
}

TEST(Times, AResumedRunGoesOnWithThem) {
  const TempFolder folder;
  TrainInto(folder / "run", ConfigWithProbes());
  Json earlier = ReadJson(folder / "run" / "manifest.json");
  const auto config = ReadRunConfig(ConfigWithProbes());
  const auto continued = [&] {
    Manifest manifest(folder / "next.json", *config);
    manifest.ContinueFrom(earlier);
    manifest.Write("running", "", 60);
    return ReadJson(folder / "next.json")["seconds"];
  };
  for (const char* part : Times::kNames) {
    const double before = earlier["seconds"][part].get<double>() + 100;
    earlier["seconds"][part] = before;
    EXPECT_GE(continued()[part], before) << part;
    EXPECT_LT(continued()[part], before + 50) << part;
  }
  earlier["seconds"]["probes"]["t"] = 7;
  EXPECT_EQ(continued()["probes"]["t"], 7);
  // Runs of earlier versions have none, and a hand may have been in the file.
  for (const Json& strange : {Json(), Json("x"), Json{{"steps", "y"}, {"probes", 3}}}) {
    earlier["seconds"] = strange;
    EXPECT_EQ(continued()["probes"]["t"], 0) << strange;
  }
  earlier.erase("seconds");
  EXPECT_LT(continued()["steps"], 50);
}

TEST(Times, OfARunOnAGpuAreTheHosts) {
  const TempFolder folder;
  Json json = SmallConfig();
  json["device"] = "cuda";
  const auto config = ReadRunConfig(json);
  Manifest(folder / "manifest.json", *config).Write("running", "", 0);
  EXPECT_EQ(ReadJson(folder / "manifest.json")["seconds"]["clock"], "host");
}

}  // namespace
}  // namespace sgdscope
