// Batches in pieces (piece_size): the same run but for rounding, by whatever it is made of.

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"
#include "probes/probe.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/temp_folder.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

/// In float64, of batches of 8, which some estimators cut into halves. Pieces of 3 leave two examples
/// over.
constexpr int64_t kSteps = 20;
constexpr int64_t kBatch = 8;
constexpr int64_t kPiece = 3;
/// Sums over 8 examples and a dozen units in another order differ by some 1e-15; 20 steps and the
/// differences and quotients of probes leave some thousand times that.
constexpr double kTolerance = 1e-10;

Json Config(const TempFolder& folder) {
  Json config = SyntheticConfig({{"dtype", "float64"}, {"output", folder.path().string()}});
  config["batch_size"] = kBatch;
  config["sampler"] = {{"name", "shuffle"}, {"drop_last", true}};
  config["model"]["activation"] = "tanh";  // no kinks, at which rounding could choose the side
  config["data"]["label_noise"] = {{"fraction", 0.5}};
  return config;
}

Json InPieces(Json config, int64_t size = kPiece) {
  config["piece_size"] = size;
  return config;
}

/// What a run comes to: its state, and each step's loss and probes' values.
std::vector<at::Tensor> Everything(const Json& config) {
  ShortRun run(config);
  std::vector<at::Tensor> all;
  for (int64_t step = 0; step < kSteps; ++step) {
    const auto measured = run.stepper().Step(step);
    all.push_back(measured.loss);
    for (const at::Tensor& values : measured.probes) {
      if (values.defined() && values.numel() > 0) all.push_back(values);
    }
  }
  for (const auto& [name, tensor] : run.stepper().State()) all.push_back(tensor.to(at::kDouble));
  return all;
}

void ExpectSameBesidesRounding(const Json& config, const std::string& what, int64_t size = kPiece) {
  const auto whole = Everything(config);
  const auto in_pieces = Everything(InPieces(config, size));
  ASSERT_EQ(whole.size(), in_pieces.size()) << what;
  for (size_t i = 0; i < whole.size(); ++i) {
    const double scale = whole[i].nan_to_num(0, 0, 0).abs().max().item<double>();
    EXPECT_TRUE(at::allclose(in_pieces[i], whole[i], 0, kTolerance * scale + 1e-300,
                             /*equal_nan=*/true))
        << what << ", " << i << ": " << in_pieces[i] << " in pieces, " << whole[i];
  }
}

/// `needs_whole`: of the leaf at `path` of the config.
void Check(const Json& config, bool needs_whole, const std::string& path, const std::string& what) {
  if (!needs_whole) return ExpectSameBesidesRounding(config, what);
  ExpectError(ErrorKind::kConfig, {path, "in pieces of 3"},
              [&] { ShortRun run(InPieces(config)); });
}

template <class Interface>
bool NeedsWholeBatch(const LeafCase& leaf) {
  return MakeExample<Interface>(leaf.name, leaf.fields)->NeedsWholeBatch();
}

Json Named(const LeafCase& leaf) {
  Json fields = leaf.fields;
  fields["name"] = leaf.name;
  return fields;
}

TEST(BatchesInPieces, GiveEveryEstimatorWhatWholeOnesDo) {
  const TempFolder folder;
  for (const LeafCase& leaf : AllLeaves<Estimator>()) {
    Json config = Config(folder);
    config["gradient"] = Named(leaf);
    Check(config, NeedsWholeBatch<Estimator>(leaf), "gradient", leaf.Text());
  }
}

/// A piece holds a batch, but no second one beside it. Then the batch is whole to all that looks at
/// what the layers saw of it, whatever else the estimator evaluates.
TEST(BatchesInPieces, OfTheBatchsSizeLeaveItWhole) {
  const TempFolder folder;
  for (const LeafCase& leaf : AllLeaves<Estimator>()) {
    Json config = Config(folder);
    config["gradient"] = Named(leaf);
    config["update"] = {{"name", "inverse_covariance"},
                        {"kind", "diagonal"},
                        {"rho", 0.1},
                        {"learning_rate", 0.01}};
    config["probes"] =
        Json::array({{{"name", "taylor"}, {"hessian", true}, {"batches", {"updating"}}},
                     {{"name", "stability"}, {"threshold", false}},
                     {{"name", "covariance"}, {"gram", true}}});
    ExpectSameBesidesRounding(config, leaf.Text(), kBatch);
  }
}

TEST(BatchesInPieces, GiveEveryUpdateRuleWhatWholeOnesDo) {
  const TempFolder folder;
  for (const LeafCase& leaf : AllLeaves<UpdateRule>()) {
    Json config = Config(folder);
    config["update"] = Named(leaf);
    config["update"]["learning_rate"] = 0.01;
    Check(config, NeedsWholeBatch<UpdateRule>(leaf), "update", leaf.Text());
  }
}

TEST(BatchesInPieces, GiveEveryProbeWhatWholeOnesDo) {
  const TempFolder folder;
  for (const LeafCase& leaf : AllLeaves<Probe>()) {
    Json config = Config(folder);
    config["probes"] = Json::array({Named(leaf)});
    config["probes"][0]["every"] = 5;
    Check(config, NeedsWholeBatch<Probe>(leaf), "probes[0]", leaf.Text());
  }
}

Json GhostConfig(const TempFolder& folder, int64_t ghost_batch_size) {
  Json config = Config(folder);
  config["batch_size"] = 12;
  config["data"]["shape"] = {2, 9, 9};
  // Batch normalization of three values multiplies rounding at each step: the steps are small.
  config["update"]["learning_rate"] = 1e-3;
  config["model"] = {{"name", "resnet18"},
                     {"channels", 2},
                     {"norm", "ghost"},
                     {"ghost_batch_size", ghost_batch_size}};
  config["probes"] = Json::array(
      {{{"name", "taylor"}, {"hessian", true}, {"recent_lag", 1}, {"long_ago_lag", 2}}});
  return config;
}

/// The running statistics are part of the state.
TEST(BatchesInPieces, HoldWholeGhostBatches) {
  const TempFolder folder;
  ExpectSameBesidesRounding(GhostConfig(folder, kPiece), "ghost batches as large as the pieces");
  Json cut = GhostConfig(folder, 4);
  ExpectError(ErrorKind::kConfig, {"piece_size", "would cut the ghost batches of 4"},
              [&] { ShortRun run(InPieces(cut)); });
}

TEST(BatchesInPieces, AreRefusedWhereBatchesAreNormalizedAsAWhole) {
  const TempFolder folder;
  Json config = GhostConfig(folder, kPiece);
  config["model"].erase("ghost_batch_size");
  config["model"]["norm"] = "batch";
  ExpectError(ErrorKind::kConfig, {"piece_size", "takes each batch as a whole"},
              [&] { ShortRun run(InPieces(config)); });
}

/// Of a piece, layers see no more than its examples.
TEST(BatchesInPieces, NoneIsLargerThanAsked) {
  const TempFolder folder;
  Json config = InPieces(Config(folder));
  config["sampler"] = {{"name", "full"}};
  config.erase("batch_size");
  ShortRun run(config);
  const Oracle& oracle = run.experiment().train();
  const at::Tensor theta = at::zeros({oracle.table().size()}, at::kDouble);
  const Batch all = oracle.Load(at::arange(oracle.size(), at::kLong));
  const Gradients evaluated = oracle.Evaluate(all, theta);
  EXPECT_TRUE(evaluated.taps.empty());
  const auto refused = [](const auto& action) {
    ExpectError(ErrorKind::kInternal, {"evaluated in pieces"}, action);
  };
  const PerExample single(evaluated, TileMemory());
  refused([&] { single.Gram(); });
  refused([&] { single.Reduce({kernels::Reduction::Kind::kSigns}); });
  refused([&] { single.MedianOfMeans(3); });
  refused([&] { single.Variances(); });
  refused([&] { evaluated.OfPart(0, 2); });
  int64_t examples = 0;
  evaluated.ForEachPiece([&](int64_t begin, const Gradients& piece) {
    EXPECT_EQ(begin, examples);
    EXPECT_LE(piece.taps.front().input.size(0), kPiece);
    examples += piece.losses.size(0);
  });
  EXPECT_EQ(examples, oracle.size());
}

}  // namespace
}  // namespace sgdscope
