#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/csv.h"
#include "core/rng.h"
#include "core/tensor_file.h"
#include "data/distinct.h"
#include "models/weights.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr int64_t kExamples = 45;
const oracle::Mlp kMlp{{6, 8, 5, 4}, "relu", true, "cross_entropy"};

Json ConfigOf(const Json& probe, const Json& changes = Json::object()) {
  Json config = SyntheticConfig(changes);
  config["dtype"] = "float64";
  config["probes"] = Json::array({probe});
  config["probes"][0]["name"] = "distance";
  config["probes"][0]["every"] = 1;
  return config;
}

Vector OnLine(const Vector& from, const Vector& to, double s) {
  return oracle::Plus(oracle::Plus(Vector(from.size()), 1 - s, from), s, to);
}

/// loss, end_loss, barrier and barrier_at by their definitions.
std::map<std::string, double> BarrierOf(const Vector& from, const Vector& to, int points,
                                        const std::vector<oracle::Example>& examples) {
  const auto loss = [&](double s) { return oracle::MeanLoss(kMlp, OnLine(from, to, s), examples); };
  std::map<std::string, double> expected = {
      {"loss", loss(0)}, {"end_loss", loss(1)}, {"barrier", -INFINITY}};
  for (int j = 1; j <= points; ++j) {
    const double s = j / (points + 1.0);
    const double above = loss(s) - (1 - s) * loss(0) - s * loss(1);
    if (above <= expected["barrier"]) continue;
    expected["barrier"] = above;
    expected["barrier_at"] = s;
  }
  return expected;
}

void ExpectValues(const std::map<std::string, double>& actual,
                  const std::map<std::string, double>& expected, const std::string& what) {
  EXPECT_EQ(actual.size(), expected.size()) << what;
  for (const auto& [name, value] : expected) {
    EXPECT_NEAR(actual.at(name), value, 1e-12 * (1 + std::abs(value))) << what << name;
  }
}

TEST(DistanceProbe, EveryValueAgreesWithItsDefinition) {
  const Json momentum = {{"name", "sgd"}, {"learning_rate", 0.3}, {"momentum", 0.9}};
  ShortRun run(ConfigOf({{"barrier_points", 5}, {"piece_size", 20}}, {{"update", momentum}}));
  const auto all = ExamplesOf(run, at::arange(kExamples, at::kLong));
  const Vector start = ToVector(run.stepper().theta());
  for (int64_t step = 0; step < 8; ++step) {
    const Vector theta = ToVector(run.stepper().theta());
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    const Vector delta = oracle::Plus(ToVector(run.stepper().theta()), -1, theta);
    const Vector gone = oracle::Plus(theta, -1, start);
    auto expected = BarrierOf(theta, start, 5, all);
    expected["start"] = oracle::Norm(gone);
    expected["start_relative"] = oracle::Norm(gone) / oracle::Norm(start);
    expected["step_cosine"] = oracle::Dot(gone, delta) / (oracle::Norm(gone) * oracle::Norm(delta));
    if (step == 0) {
      EXPECT_TRUE(IsNotMeasured(values.at("step_cosine")));
      EXPECT_EQ(values.at("start"), 0);
      EXPECT_NEAR(values.at("barrier"), 0, 1e-14);
    } else {
      ExpectValues(values, expected, "step " + std::to_string(step) + ", ");
    }
  }
}

/// From a file of another run, here float32, on a fixed part of the set.
TEST(DistanceProbe, OtherEndComesFromAFile) {
  const TempFolder folder;
  ShortRun other(SyntheticConfig({{"seed", 4}}));
  for (int64_t step = 0; step < 5; ++step) other.stepper().Step(step);
  const std::string file = (folder / "other.safetensors").string();
  WriteTensorFile(file, {other.stepper().State(), {}});
  ShortRun run(ConfigOf({{"to", file}, {"barrier_points", 3}, {"examples", 10}}));
  Stream stream(3, "distance.examples");
  const auto part = ExamplesOf(run, DrawDistinct(stream, 10, kExamples));
  const Vector end = ToVector(other.stepper().theta());
  for (int64_t step = 0; step < 3; ++step) {
    const Vector theta = ToVector(run.stepper().theta());
    const auto values = ByName(run.probe(0), run.stepper().Step(step).probes[0]);
    const auto expected = BarrierOf(theta, end, 3, part);
    for (const auto& [name, value] : expected) EXPECT_NEAR(values.at(name), value, 1e-12) << name;
    EXPECT_NEAR(values.at("other"), oracle::Norm(oracle::Plus(theta, -1, end)), 1e-12);
  }
}

/// By the statistics of each piece at each point: at an end the loss is that of training batches.
TEST(DistanceProbe, NormalizesEachPieceByItself) {
  const Json images = {{"name", "synthetic"},
                       {"train_size", kExamples},
                       {"test_size", 5},
                       {"shape", {1, 8, 8}},
                       {"classes", 4}};
  ShortRun run(ConfigOf(
      {{"barrier_points", 1}, {"piece_size", 15}},
      {{"data", images},
       {"sampler", {{"name", "shuffle"}, {"drop_last", true}}},
       {"model", {{"name", "vgg"}, {"depths", {1}}, {"channels", {4}}, {"norm", "batch"}}}}));
  const Oracle& oracle = run.experiment().train();
  const at::Tensor start = run.stepper().theta().clone();
  const auto loss_at = [&](const at::Tensor& theta) {
    double sum = 0;
    for (int64_t begin = 0; begin < kExamples; begin += 15) {
      const Batch piece = oracle.Load(at::arange(begin, begin + 15, at::kLong));
      sum += oracle.Evaluate(piece, theta).losses.mean().item<double>() / 3;
    }
    return sum;
  };
  run.stepper().Step(0);
  const at::Tensor theta = run.stepper().theta().clone();
  const auto values = ByName(run.probe(0), run.stepper().Step(1).probes[0]);
  EXPECT_NEAR(values.at("loss"), loss_at(theta), 1e-12);
  EXPECT_NEAR(values.at("end_loss"), loss_at(start), 1e-12);
  EXPECT_NEAR(values.at("barrier"),
              loss_at(theta.add(start).div(2)) - (loss_at(theta) + loss_at(start)) / 2, 1e-12);
}

TEST(DistanceProbe, RefusesFilesThatAreNoOtherEnd) {
  const TempFolder folder;
  const auto refuse = [&](const std::map<std::string, at::Tensor>& tensors, ErrorKind kind,
                          std::vector<std::string> parts, const std::string& layout = "") {
    const std::string file = (folder / "a.safetensors").string();
    if (!tensors.empty()) WriteTensorFile(file, {tensors, {{kLayout, layout}}});
    parts.push_back(file);
    ExpectError(kind, parts, [&] { ShortRun run(ConfigOf({{"to", file}})); });
  };
  refuse({}, ErrorKind::kConfig, {"probes[0].to", "no file"});
  refuse({{"theta", at::zeros({7})}}, ErrorKind::kConfig, {"probes[0].to", "7", "125"});
  refuse({{"weights", at::zeros({125})}}, ErrorKind::kConfig, {"probes[0].to", "surplus: weights"});
  // Of another network with as many parameters.
  refuse({{"theta", at::zeros({125})}}, ErrorKind::kConfig,
         {"probes[0].to", "another network", "linear1.weight [5, 25] there"},
         "linear1.weight [5, 25]");
}

TEST(DistanceProbe, RefusesFieldsThatDoNothing) {
  const auto refuse = [](const Json& fields, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { ShortRun run(ConfigOf(fields)); });
  };
  refuse({{"barrier_points", 1}, {"examples", 46}}, {"probes[0].examples", "46", "45"});
  refuse({{"barrier_points", 1}, {"piece_size", 9}, {"over", "batch"}},
         {"probes[0].piece_size", "9", "over is batch"});
  for (const auto& [field, value] :
       {std::pair{"examples", Json(9)}, std::pair{"piece_size", Json(9)},
        std::pair{"over", Json("batch")}}) {
    const std::string path = std::string("probes[0].") + field;
    refuse({{field, value}}, {path, "barrier_points is 0", "probes[0].barrier_points"});
    ShortRun run(ConfigOf({{"barrier_points", 1}, {field, value}}));
  }
}

}  // namespace
}  // namespace sgdscope
