#include "data/label_noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/tensor_file.h"
#include "tests/data/data_files.h"
#include "tests/expect_error.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

/// Examples without inputs, whose labels run through the classes.
Split Labelled(int64_t size, int64_t classes) {
  return {at::empty({size, 0}, at::kByte), at::arange(size, at::kLong).remainder(classes)};
}

Split Noisy(const Split& clean, double fraction, const std::string& kind, int64_t classes,
            uint64_t seed = 1) {
  Split split = clean;
  AddLabelNoise({fraction, kind}, classes, seed, split);
  return split;
}

int64_t CorruptIn(const Split& split) { return split.corrupt.sum().item<int64_t>(); }

/// Four standard deviations of a count of `trials` that each happen with probability p.
double FourDeviations(int64_t trials, double p) {
  return 4 * std::sqrt(static_cast<double>(trials) * p * (1 - p));
}

TEST(LabelNoise, CorruptIsWhatDiffersFromTheOriginalWhichIsNotTouched) {
  Stream stream(1, "test");
  for (int64_t round = 0; round < 50; ++round) {
    const int64_t size = 1 + static_cast<int64_t>(stream.Below(40));
    const int64_t classes = 1 + static_cast<int64_t>(stream.Below(5));
    const double fraction = stream.Uniform();
    const Split clean = Labelled(size, classes);
    const at::Tensor before = clean.labels.clone();
    for (const std::string kind : {"permute", "uniform"}) {
      const Split split = Noisy(clean, fraction, kind, classes, round);
      EXPECT_TRUE(clean.labels.equal(before));
      EXPECT_FALSE(clean.corrupt.defined());
      EXPECT_TRUE(split.original_labels.equal(before));
      EXPECT_EQ(split.labels.scalar_type(), at::kLong);
      EXPECT_EQ(split.corrupt.scalar_type(), at::kBool);
      const auto chosen = std::llround(fraction * static_cast<double>(size));
      EXPECT_LE(CorruptIn(split), chosen);
      for (int64_t i = 0; i < size; ++i) {
        const auto label = split.labels[i].item<int64_t>();
        EXPECT_GE(label, 0);
        EXPECT_LT(label, classes);
        EXPECT_EQ(split.corrupt[i].item<bool>(), label != before[i].item<int64_t>());
      }
    }
  }
}

TEST(LabelNoise, PermutingKeepsTheExamplesOfEachClass) {
  for (const double fraction : {0.0, 0.25, 0.5, 1.0}) {
    Split clean = Labelled(1000, 7);
    clean.labels = clean.labels.mul(clean.labels).remainder(7);  // classes of unequal size
    const Split split = Noisy(clean, fraction, "permute", 7);
    EXPECT_TRUE(at::bincount(split.labels, {}, 7).equal(at::bincount(clean.labels, {}, 7)));
    EXPECT_EQ(CorruptIn(split) > 0, fraction > 0);
  }
}

// Two different examples have the same label with probability (N/K - 1) / (N - 1), and a permuted
// label is the example's own one with probability 1/m. The number of matches of a random
// permutation has the variance m^2 / (m - 1) p (1 - p) = m p (1 - p) (1 + O(1/m)).
TEST(LabelNoise, PermutingLeavesTheExpectedShareUnchanged) {
  constexpr int64_t kSize = 60000;
  constexpr int64_t kClasses = 10;
  const Split clean = Labelled(kSize, kClasses);
  for (const double fraction : {0.25, 0.5, 0.75, 1.0}) {
    const auto m = static_cast<int64_t>(fraction * kSize);
    const double same = (kSize / static_cast<double>(kClasses) - 1) / (kSize - 1);
    const double kept = 1 + (static_cast<double>(m) - 1) * same;
    for (const uint64_t seed : {1, 2, 3}) {
      const Split split = Noisy(clean, fraction, "permute", kClasses, seed);
      EXPECT_NEAR(static_cast<double>(m - CorruptIn(split)), kept, FourDeviations(m, 0.1));
    }
  }
}

TEST(LabelNoise, UniformLabelsAreUniformWhateverTheOriginalOnesAre) {
  constexpr int64_t kSize = 60000;
  Split clean = Labelled(kSize, 10);
  clean.labels = clean.labels.clamp_max(2);  // the last class has 8 in 10 examples
  const Split split = Noisy(clean, 1, "uniform", 10);
  for (int64_t original = 0; original < 3; ++original) {
    const at::Tensor labels = split.labels.masked_select(clean.labels.eq(original));
    const at::Tensor counts = at::bincount(labels, {}, 10);
    for (int64_t label = 0; label < 10; ++label) {
      EXPECT_NEAR(counts[label].item<double>(), static_cast<double>(labels.size(0)) / 10,
                  FourDeviations(labels.size(0), 0.1))
          << label << " for " << original;
    }
  }
}

// Of 10^12 classes no label is drawn that was there before: corrupt is then what was chosen.
at::Tensor Chosen(int64_t size, double fraction, uint64_t seed = 1) {
  return Noisy(Labelled(size, 10), fraction, "uniform", 1'000'000'000'000, seed).corrupt;
}

TEST(LabelNoise, ChoosesTheRoundedShareEvenlyAndMoreOfTheSameForMore) {
  const std::vector<std::pair<double, int64_t>> shares = {{0, 0},   {0.16, 0}, {0.17, 1},
                                                          {0.5, 2}, {0.84, 3}, {1, 3}};
  for (const auto& [fraction, count] : shares) {
    EXPECT_EQ(Chosen(3, fraction).sum().item<int64_t>(), count) << fraction;
  }
  constexpr int64_t kSize = 20000;
  const at::Tensor less = Chosen(kSize, 0.25);
  const at::Tensor more = Chosen(kSize, 0.5);
  EXPECT_EQ(less.sum().item<int64_t>(), kSize / 4);
  EXPECT_TRUE(less.logical_and(more).equal(less));
  // Without replacement the spread is smaller than that of independent choices.
  for (int64_t part = 0; part < 10; ++part) {
    EXPECT_NEAR(more.narrow(0, part * kSize / 10, kSize / 10).sum().item<double>(), kSize / 20.0,
                FourDeviations(kSize / 10, 0.5));
  }
}

TEST(LabelNoise, IsAFunctionOfTheSeedAlone) {
  const Split clean = Labelled(500, 10);
  for (const std::string kind : {"permute", "uniform"}) {
    const Split split = Noisy(clean, 0.5, kind, 10);
    EXPECT_TRUE(split.labels.equal(Noisy(clean, 0.5, kind, 10).labels));
    EXPECT_FALSE(split.labels.equal(Noisy(clean, 0.5, kind, 10, 2).labels));
  }
  EXPECT_FALSE(
      Noisy(clean, 0.5, "permute", 10).labels.equal(Noisy(clean, 0.5, "uniform", 10).labels));
}

TEST(LabelNoise, TheFileHoldsLabelsOriginalsAndWhatIsCorrupt) {
  const TempFolder folder;
  const Split split = Noisy(Labelled(30, 3), 0.8, "permute", 3);
  WriteLabelNoise(folder / "noise.safetensors", split);
  const TensorFile file = ReadTensorFile(folder / "noise.safetensors");
  ASSERT_EQ(file.tensors.size(), 3);
  EXPECT_TRUE(file.tensors.at("labels").equal(split.labels));
  EXPECT_TRUE(file.tensors.at("original_labels").equal(split.original_labels));
  EXPECT_EQ(file.tensors.at("corrupt").scalar_type(), at::kByte);
  EXPECT_TRUE(file.tensors.at("corrupt").equal(split.corrupt.to(at::kByte)));
}

TEST(LabelNoise, IsAFieldOfEveryDataSet) {
  for (const auto& [name, entry] : Registry<Dataset>::entries()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(MakeDataset(name, Json::object())->label_noise(), nullptr);
    auto dataset = MakeDataset(name, {{"label_noise", {{"fraction", 0.25}}}});
    ASSERT_NE(dataset->label_noise(), nullptr);
    EXPECT_EQ(dataset->label_noise()->fraction, 0.25);
    const Json written = WriteFields([&](FieldVisitor& visitor) { dataset->Fields(visitor); });
    EXPECT_EQ(written["label_noise"], (Json{{"fraction", 0.25}, {"kind", "permute"}}));
  }
  const auto refuse = [](const Json& noise, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts,
                [&] { MakeDataset("synthetic", {{"label_noise", noise}}); });
  };
  refuse(Json::object(), {"data.label_noise.fraction", "is missing", ">= 0 and <= 1"});
  refuse({{"fraction", 1.01}}, {"data.label_noise.fraction", "1.01", ">= 0 and <= 1"});
  refuse({{"fraction", -0.1}}, {"data.label_noise.fraction", "-0.1"});
  refuse({{"fraction", 1}, {"kind", "permutation"}}, {"data.label_noise.kind", "\"permute\""});
  refuse({{"fraction", 1}, {"sort", "permute"}}, {"data.label_noise.sort", "fraction, kind"});
  refuse(0.25, {"data.label_noise", "0.25", "an object"});
}

}  // namespace
}  // namespace sgdscope
