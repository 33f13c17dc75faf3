#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/data/data_files.h"
#include "tests/expect_error.h"

namespace sgdscope {
namespace {

LoadedData Load(const Json& fields = Json::object(), uint64_t seed = 1) {
  return MakeDataset("synthetic", fields)->Load(seed);
}

TEST(Synthetic, SizesAndTypes) {
  const Json fields = {{"train_size", 7}, {"test_size", 5}, {"shape", {2, 3, 4}}, {"classes", 3}};
  const LoadedData data = Load(fields);
  EXPECT_EQ(data.train.inputs.sizes().vec(), (std::vector<int64_t>{7, 2, 3, 4}));
  EXPECT_EQ(data.test.inputs.sizes().vec(), (std::vector<int64_t>{5, 2, 3, 4}));
  EXPECT_EQ(data.train.inputs.scalar_type(), at::kDouble);
  EXPECT_TRUE(data.train.labels.equal(at::tensor({0, 1, 2, 0, 1, 2, 0}, at::kLong)));
  EXPECT_TRUE(data.files.empty());
  const DataShape shape = MakeDataset("synthetic", fields)->Shape("data");
  EXPECT_EQ(shape.train_size, 7);
  EXPECT_EQ(shape.test_size, 5);
  EXPECT_EQ(shape.shape, (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(shape.classes, 3);
}

TEST(Synthetic, IsAFunctionOfTheSeed) {
  const LoadedData data = Load();
  EXPECT_TRUE(data.train.inputs.equal(Load().train.inputs));
  EXPECT_FALSE(data.train.inputs.equal(Load(Json::object(), 2).train.inputs));
  EXPECT_FALSE(data.train.inputs.equal(data.test.inputs));
}

TEST(Synthetic, ALargerSetBeginsWithTheSmallerOne) {
  const at::Tensor small = Load({{"train_size", 50}}).train.inputs;
  const at::Tensor large = Load({{"train_size", 80}}).train.inputs;
  EXPECT_TRUE(large.narrow(0, 0, 50).equal(small));
}

// With std 0 the examples are the centres: their squared distance is separation^2 on average. Each
// of the C(C-1)/2 pairs has separation^2 chi^2_d / d; the average over C = 200 centres in d = 50
// has a relative standard deviation of about 2 sqrt(2 / (C d)) = 0.028 at most.
TEST(Synthetic, SeparationIsTheRootMeanSquareDistanceOfTheCentres) {
  const at::Tensor x =
      Load({{"train_size", 200}, {"classes", 200}, {"shape", {50}}, {"std", 0}, {"separation", 3}})
          .train.inputs;
  const double pairs = 200.0 * 199.0;
  const double mean_square = at::cdist(x, x).square().sum().item<double>() / pairs;
  EXPECT_NEAR(mean_square, 9, 9 * 4 * 0.028);
}

TEST(Synthetic, StdIsTheSpreadAroundTheCentre) {
  const Json fields = {
      {"train_size", 20000}, {"test_size", 20000}, {"classes", 2}, {"shape", {3}}, {"std", 0.5}};
  const LoadedData data = Load(fields);
  Json still = fields;
  still["std"] = 0;
  const LoadedData centres = Load(still);
  for (const at::Tensor& noise :
       {data.train.inputs - centres.train.inputs, data.test.inputs - centres.test.inputs}) {
    // 60,000 normal values: standard error 0.5 / sqrt(n) of the mean, 0.5 / sqrt(2 n) of the
    // spread.
    EXPECT_NEAR(noise.mean().item<double>(), 0, 4 * 0.5 / std::sqrt(60000.0));
    EXPECT_NEAR(noise.std().item<double>(), 0.5, 4 * 0.5 / std::sqrt(120000.0));
  }
  // Training and test examples have the same centres.
  EXPECT_TRUE(centres.train.inputs.equal(centres.test.inputs));
}

TEST(Synthetic, RefusesWhatCantBe) {
  ExpectError(ErrorKind::kConfig, {"data.shape", "[]"},
              [] { MakeDataset("synthetic", {{"shape", Json::array()}})->Shape("data"); });
  ExpectError(ErrorKind::kConfig, {"data", "GB", "train_size"}, [] {
    MakeDataset("synthetic", {{"shape", {1000000000, 1000000000}}})->Shape("data");
  });
  ExpectError(ErrorKind::kConfig, {"data", "GB", "classes"},
              [] { MakeDataset("synthetic", {{"classes", 1e15}})->Shape("data"); });
  ExpectError(ErrorKind::kConfig, {"data.normalize", "unit", "bytes"},
              [] { MakeDataset("synthetic", {{"normalize", "unit"}})->Shape("data"); });
}

TEST(Datasets, EveryNameHasHelpAndDefaults) {
  ASSERT_GE(Registry<Dataset>::entries().size(), 5u);
  for (const auto& [name, entry] : Registry<Dataset>::entries()) {
    SCOPED_TRACE(name);
    EXPECT_FALSE(entry.help.empty());
    const auto dataset = entry.make();
    try {
      const DataShape shape = dataset->Shape("data");
      EXPECT_FALSE(shape.shape.empty());
      EXPECT_GE(shape.classes, 2);
    } catch (const Error& error) {  // files that are not here tell the shape
      EXPECT_EQ(error.kind(), ErrorKind::kData) << error.what();
      EXPECT_EQ(name, "arrays");
    }
    dataset->Resolve();
    // The resolved fields are a config of their own.
    const FieldsFunction fields = [&](FieldVisitor& visitor) { dataset->Fields(visitor); };
    const Json resolved = WriteFields(fields);
    ReadFields(resolved, "data", fields);
    EXPECT_EQ(WriteFields(fields), resolved);
  }
}

}  // namespace
}  // namespace sgdscope
