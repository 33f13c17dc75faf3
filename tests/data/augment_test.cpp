#include "data/augment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/sampler.h"
#include "tests/data/data_files.h"
#include "tests/data/prepared.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

/// One image after the other, by the definition: mirror, put into the middle of black, cut out.
at::Tensor SlowlyMoved(const at::Tensor& images, const at::Tensor& moves, int64_t pad) {
  const int64_t height = images.size(2);
  const int64_t width = images.size(3);
  at::Tensor out = at::empty_like(images);
  for (int64_t i = 0; i < images.size(0); ++i) {
    const at::Tensor image = moves[i][0].item<int64_t>() == 1 ? images[i].flip({2}) : images[i];
    const at::Tensor canvas =
        at::zeros({images.size(1), height + 2 * pad, width + 2 * pad}, images.options());
    canvas.narrow(1, pad, height).narrow(2, pad, width).copy_(image);
    const int64_t top = pad + moves[i][1].item<int64_t>();
    const int64_t left = pad + moves[i][2].item<int64_t>();
    out[i].copy_(canvas.narrow(1, top, height).narrow(2, left, width));
  }
  return out;
}

at::Tensor RandomImages(const std::vector<int64_t>& sizes, at::ScalarType dtype, uint64_t seed) {
  Stream stream(seed, "images");
  at::Tensor images = at::empty(sizes, at::kDouble);
  double* value = images.data_ptr<double>();
  // No zeros, so that none can hide a missing pixel.
  for (int64_t i = 0; i < images.numel(); ++i)
    value[i] = static_cast<double>(1 + stream.Below(255));
  return images.to(dtype);
}

TEST(MoveImages, AgreesWithOneImageAfterTheOther) {
  Stream stream(1, "shapes");
  const auto between = [&stream](uint64_t least, uint64_t most) {
    return static_cast<int64_t>(least + stream.Below(most - least + 1));
  };
  for (uint64_t trial = 0; trial < 200; ++trial) {
    const int64_t n = between(0, 6);
    const int64_t height = between(1, 9);
    const int64_t width = between(1, 9);
    const Augment augment{between(0, std::min(height, width) - 1), between(0, 1) == 1};
    const at::ScalarType dtype = std::vector{at::kByte, at::kFloat, at::kDouble}[trial % 3];
    const at::Tensor images = RandomImages({n, between(1, 3), height, width}, dtype, trial);
    const at::Tensor before = images.clone();
    const at::Tensor moves = augment.MovesAt(trial, 3, n);
    const at::Tensor moved = MoveImages(images, moves);
    EXPECT_TRUE(SameBits(moved, SlowlyMoved(images, moves, augment.pad)))
        << images.sizes() << " pad " << augment.pad;
    EXPECT_TRUE(SameBits(MoveImagesByIndex(images, moves), moved)) << images.sizes();
    EXPECT_TRUE(moved.is_contiguous());
    EXPECT_TRUE(SameBits(images, before));
  }
}

// Every single move of one image, the farthest among them.
TEST(MoveImages, EveryMove) {
  const at::Tensor image = RandomImages({1, 2, 4, 5}, at::kByte, 1);
  for (int64_t mirrored = 0; mirrored < 2; ++mirrored) {
    for (int64_t down = -3; down <= 3; ++down) {
      for (int64_t right = -3; right <= 3; ++right) {
        const at::Tensor moves = at::tensor({mirrored, down, right}, at::kLong).view({1, 3});
        EXPECT_TRUE(SameBits(MoveImages(image, moves), SlowlyMoved(image, moves, 3))) << moves;
        EXPECT_TRUE(SameBits(MoveImagesByIndex(image, moves), MoveImages(image, moves))) << moves;
      }
    }
  }
}

TEST(MoveImages, ByHand) {
  const at::Tensor image = at::tensor({1, 2, 3, 4, 5, 6}, at::kByte).view({1, 1, 2, 3});
  const auto moved = [&](int64_t mirrored, int64_t down, int64_t right) {
    const at::Tensor moves = at::tensor({mirrored, down, right}, at::kLong).view({1, 3});
    return ToVector(MoveImages(image, moves));
  };
  EXPECT_EQ(moved(0, 0, 0), (oracle::Vector{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(moved(1, 0, 0), (oracle::Vector{3, 2, 1, 6, 5, 4}));
  EXPECT_EQ(moved(0, 1, 0), (oracle::Vector{4, 5, 6, 0, 0, 0}));
  EXPECT_EQ(moved(0, 0, -1), (oracle::Vector{0, 1, 2, 0, 4, 5}));
  EXPECT_EQ(moved(1, -1, 1), (oracle::Vector{0, 0, 0, 2, 1, 0}));
}

// ---- The draws

TEST(AugmentDraws, AreUniformAndIndependent) {
  const Augment augment{2, true};
  constexpr int64_t kSteps = 400;
  constexpr int64_t kBatch = 50;
  std::vector<double> counts(2 * 5 * 5, 0);
  for (int64_t step = 0; step < kSteps; ++step) {
    const at::Tensor moves = augment.MovesAt(1, step, kBatch);
    const int64_t* move = moves.data_ptr<int64_t>();
    for (int64_t i = 0; i < kBatch; ++i, move += 3) {
      ASSERT_TRUE(move[0] == 0 || move[0] == 1);
      ASSERT_TRUE(std::abs(move[1]) <= 2 && std::abs(move[2]) <= 2);
      ++counts[static_cast<size_t>((move[0] * 5 + move[1] + 2) * 5 + move[2] + 2)];
    }
  }
  // 20,000 draws, 400 a cell of the joint distribution. Chi-square with 49 degrees of freedom: mean
  // 49, standard deviation 9.9; a value outside 20 ... 90 has a probability below 1e-3.
  double chi_square = 0;
  for (const double count : counts) chi_square += (count - 400) * (count - 400) / 400;
  EXPECT_GT(chi_square, 20);
  EXPECT_LT(chi_square, 90);
}

TEST(AugmentDraws, DependOnSeedStepAndPlace) {
  const Augment augment{4, true};
  const at::Tensor moves = augment.MovesAt(1, 7, 20);
  EXPECT_TRUE(SameBits(augment.MovesAt(1, 7, 20), moves));
  // The same whatever comes after it in the batch.
  EXPECT_TRUE(SameBits(augment.MovesAt(1, 7, 30).narrow(0, 0, 20), moves));
  EXPECT_FALSE(SameBits(augment.MovesAt(1, 8, 20), moves));
  EXPECT_FALSE(SameBits(augment.MovesAt(2, 7, 20), moves));
  EXPECT_FALSE(SameBits(moves[0], moves[1]));
}

TEST(AugmentDraws, LeaveOutWhatTheConfigLeavesOut) {
  EXPECT_EQ((Augment{4, false}).MovesAt(1, 0, 500).select(1, 0).max().item<int64_t>(), 0);
  const at::Tensor flips = (Augment{0, true}).MovesAt(1, 0, 500);
  EXPECT_EQ(flips.narrow(1, 1, 2).abs().max().item<int64_t>(), 0);
  EXPECT_EQ(flips.select(1, 0).max().item<int64_t>(), 1);
}

TEST(Examples, AreJoinedWithTheirMoves) {
  const Examples a{at::tensor({3, 1}, at::kLong)};
  const Examples b{at::tensor({2}, at::kLong)};
  EXPECT_EQ(ToVector(Joined({a, b}).indices), (oracle::Vector{3, 1, 2}));
  EXPECT_FALSE(Joined({a, b}).moves.defined());
  const Augment augment;
  const Examples c{a.indices, augment.MovesAt(1, 0, 2)};
  const Examples d{b.indices, augment.MovesAt(1, 1, 1)};
  EXPECT_TRUE(SameBits(Joined({c, d}).moves, at::cat({c.moves, d.moves})));
}

TEST(AugmentedSampler, MovesEveryBatchByItsStep) {
  const Augment augment{3, true};
  for (const auto& [name, entry] : Registry<Sampler>::entries()) {
    SCOPED_TRACE(name);
    const auto sampler = MakeExample<Sampler>(name);
    PrepareForBatches(*sampler, 5, 12, 4);
    EXPECT_FALSE(sampler->ExamplesAt(2).moves.defined());
    sampler->AugmentBy(augment, 5);
    EXPECT_FALSE(sampler->SameEveryStep());
    for (const int64_t step : {2, 9, 0, 2}) {
      const Examples examples = sampler->ExamplesAt(step);
      EXPECT_TRUE(SameBits(examples.indices, sampler->At(step)));
      EXPECT_TRUE(SameBits(examples.moves, augment.MovesAt(5, step, examples.indices.size(0))));
    }
  }
}

// ---- In an experiment

/// Images of 2 x 6 x 5 numbers.
Json ImageConfig(const Json& augment, const Json& changes = Json::object()) {
  Json config = SyntheticConfig(changes);
  config["data"]["shape"] = {2, 6, 5};
  if (!augment.is_null()) config["data"]["augment"] = augment;
  return config;
}

const Json kAugment = {{"pad", 2}};

TEST(Augmentation, TrainingBatchesAreAugmentedAndNothingElseIs) {
  ShortRun plain(ImageConfig(nullptr));
  ShortRun augmented(ImageConfig(kAugment));
  const Oracle& train = augmented.experiment().train();
  Sampler& sampler = augmented.experiment().sampler();
  for (int64_t step = 0; step < 10; ++step) {
    const at::Tensor indices = plain.experiment().sampler().At(step);
    const Batch batch = train.Load(sampler.ExamplesAt(step));
    EXPECT_TRUE(SameBits(batch.indices, indices));
    const Batch as_it_is = train.Load(indices);
    EXPECT_TRUE(SameBits(as_it_is.inputs, plain.experiment().train().Load(indices).inputs));
    EXPECT_TRUE(SameBits(batch.labels, as_it_is.labels));
    const at::Tensor moves = (Augment{2, true}).MovesAt(3, step, indices.size(0));
    EXPECT_TRUE(SameBits(batch.inputs, SlowlyMoved(as_it_is.inputs, moves, 2))) << step;
  }
}

/// Black is a pixel like any other: it is not the mean after normalizing.
TEST(Augmentation, HappensBeforeNormalizing) {
  const Split train{RandomImages({9, 3, 6, 6}, at::kByte, 1), at::zeros({9}, at::kLong)};
  const at::Tensor indices = at::tensor({4, 1, 4, 8}, at::kLong);
  const at::Tensor moves = Augment{}.MovesAt(1, 0, 4);
  const Split moved{SlowlyMoved(train.inputs.index_select(0, indices), moves, 4), {}};
  const OracleUnderTest network(MakeRandomMlp(0), at::kDouble);
  for (const std::string& kind : NormalizeNames()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const Normalizer normalizer(kind, train, dtype);
      const Oracle oracle(network.network(), network.loss(), train, normalizer);
      const Batch batch = oracle.Load(Examples{indices, moves});
      EXPECT_TRUE(SameBits(batch.inputs, normalizer.Gather(moved, at::arange(4, at::kLong))))
          << kind;
      EXPECT_TRUE(SameBits(batch.moves, moves));
    }
  }
}

/// The steps are those of training on the images that the definition gives.
TEST(Augmentation, TheRunIsThatOfTheLoop) {
  const Json changes = {{"dtype", "float64"}};
  ShortRun augmented(ImageConfig(kAugment, changes));
  ShortRun plain(ImageConfig(nullptr, changes));
  const Oracle& oracle = plain.experiment().train();
  at::Tensor theta = plain.stepper().theta().clone();
  for (int64_t step = 0; step < 12; ++step) {
    EXPECT_TRUE(SameBits(augmented.stepper().theta(), theta)) << step;
    Batch batch = oracle.Load(plain.experiment().sampler().At(step));
    const at::Tensor moves = (Augment{2, true}).MovesAt(3, step, batch.size());
    batch.inputs = SlowlyMoved(batch.inputs, moves, 2);
    theta = theta.add(oracle.Evaluate(batch, theta).Mean(), -0.1);
    augmented.stepper().Step(step);
  }
  EXPECT_FALSE(SameBits(augmented.stepper().theta(), plain.stepper().theta()));
}

/// What a probe calls the batch of 3 steps ago is the one that was trained on then.
TEST(Augmentation, EarlierBatchesAreThoseThatWereTrainedOn) {
  const Json probes = Json::parse(
      R"([{"name": "taylor", "recent_lag": 3, "long_ago_lag": 11, "cumulative": "none"},
          {"name": "separate_updates", "every": 1, "recent_lag": 3, "long_ago_lag": 11,
           "block": "tensor", "batches": ["updating", "recent", "long_ago"]}])");
  ShortRun run(ImageConfig(kAugment, {{"dtype", "float64"}, {"probes", probes}}));
  const Oracle& oracle = run.experiment().train();
  std::vector<Batch> batches;
  for (int64_t step = 0; step < 20; ++step) {
    const at::Tensor theta = run.stepper().theta().clone();
    batches.push_back(oracle.Load(run.experiment().sampler().ExamplesAt(step)));
    const Stepper::Measured measured = run.stepper().Step(step);
    const at::Tensor delta = run.stepper().theta().sub(theta);
    for (size_t i = 0; i < 2; ++i) {
      const auto values = ByName(run.probe(i), measured.probes[i]);
      for (const auto& [name, lag] :
           std::map<std::string, int64_t>{{"updating", 0}, {"recent", 3}, {"long_ago", 11}}) {
        if (lag > step) continue;
        const Batch& batch = batches[static_cast<size_t>(step - lag)];
        const double dot = -oracle.Evaluate(batch, theta).Mean().dot(delta).item<double>();
        // theta + delta - theta has lost what rounding theta lost.
        EXPECT_NEAR(values.at(name + ".dot"), dot, 1e-13) << i << " " << name << " at " << step;
      }
    }
  }
}

TEST(Augmentation, IsRefusedWhereItMeansNothing) {
  const auto refused = [](const Json& shape, const Json& augment,
                          const std::vector<std::string>& parts) {
    Json config = ImageConfig(augment);
    config["data"]["shape"] = shape;
    ExpectError(ErrorKind::kConfig, parts, [&] {
      const auto read = ReadRunConfig(config);
      const Experiment experiment(*read);  // before any data is read
    });
  };
  refused({20}, Json::object(), {"data.augment", "1 dimensions", "images", "Leave augment out"});
  refused({4, 4}, Json::object(), {"data.augment", "2 dimensions"});
  refused({1, 4, 6}, Json::object(), {"data.augment.pad", "4 x 6", "below 4"});
  refused({1, 6, 4}, Json::object(), {"data.augment.pad", "6 x 4", "below 4"});
  refused({1, 6, 6}, {{"pad", 0}, {"flip", false}}, {"data.augment", "nothing is augmented"});
  refused({1, 6, 6}, {{"pad", -1}}, {"data.augment.pad", "-1"});
  refused({1, 6, 6}, {{"crop", true}}, {"data.augment.crop", "unknown key", "pad, flip"});
}

TEST(Augmentation, DefaultsStandInTheResolvedConfig) {
  const auto config = ReadRunConfig(ImageConfig(Json::object()));
  EXPECT_EQ(ResolvedConfig(*config)["data"]["augment"], (Json{{"pad", 4}, {"flip", true}}));
  EXPECT_FALSE(ResolvedConfig(*ReadRunConfig(ImageConfig(nullptr)))["data"].contains("augment"));
}

}  // namespace
}  // namespace sgdscope
