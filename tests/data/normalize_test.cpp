#include "data/normalize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "tests/expect_error.h"
#include "tests/threads.h"

namespace sgdscope {
namespace {

Split RandomBytes(const std::vector<int64_t>& sizes, uint64_t seed = 1) {
  Split split{at::empty(sizes, at::kByte), at::zeros({sizes[0]}, at::kLong)};
  Stream stream(seed, "test");
  uint8_t* value = split.inputs.data_ptr<uint8_t>();
  for (int64_t i = 0; i < split.inputs.numel(); ++i) value[i] = stream.Bits32() & 0xff;
  return split;
}

// Every value that a byte can have, in each channel.
Split AllBytes(int64_t channels) {
  const at::Tensor values = at::arange(256, at::kByte).view({4, 1, 8, 8});
  return {values.expand({4, channels, 8, 8}).contiguous(), at::zeros({4}, at::kLong)};
}

at::Tensor All(const Split& split) { return at::arange(split.size(), at::kLong); }

void ExpectSameBits(const at::Tensor& a, const at::Tensor& b) {
  ASSERT_EQ(a.sizes(), b.sizes());
  ASSERT_EQ(a.scalar_type(), b.scalar_type());
  const at::Tensor x = a.cpu().contiguous();
  const at::Tensor y = b.cpu().contiguous();
  EXPECT_EQ(std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()), 0)
      << "largest difference " << (x - y).abs().max().item<double>();
}

// The mean and standard deviation of the values at one channel (or at one image), in double.
struct Statistics {
  double mean = 0;
  double std = 0;
};
Statistics StatisticsOf(const at::Tensor& values) {
  const at::Tensor x = values.to(at::kDouble).flatten();
  Statistics result;
  for (int64_t i = 0; i < x.numel(); ++i) result.mean += x[i].item<double>();
  result.mean /= static_cast<double>(x.numel());
  for (int64_t i = 0; i < x.numel(); ++i) {
    result.std += std::pow(x[i].item<double>() - result.mean, 2);
  }
  result.std = std::sqrt(result.std / static_cast<double>(x.numel()));
  return result;
}

TEST(Normalize, UnitDividesBy255) {
  const Split split = AllBytes(1);
  const at::Tensor out = Normalizer("unit", split, at::kFloat).Gather(split, All(split)).flatten();
  for (int value = 0; value < 256; ++value) {
    EXPECT_EQ(out[value].item<float>(), static_cast<float>(value) / 255.0f);
  }
  const at::Tensor wide =
      Normalizer("unit", split, at::kDouble).Gather(split, All(split)).flatten();
  EXPECT_EQ(wide.scalar_type(), at::kDouble);
  for (int value = 0; value < 256; ++value) EXPECT_EQ(wide[value].item<double>(), value / 255.0);
}

TEST(Normalize, NoneLeavesTheNumbers) {
  const Split split = AllBytes(1);
  const at::Tensor out = Normalizer("none", split, at::kFloat).Gather(split, All(split));
  ExpectSameBits(out, split.inputs.to(at::kFloat));
  const Split synthetic{at::tensor({0.1, -2.5, 3.25}, at::kDouble).view({3, 1}), split.labels};
  ExpectSameBits(
      Normalizer("none", synthetic, at::kDouble).Gather(synthetic, at::tensor({2, 0}, at::kLong)),
      at::tensor({3.25, 0.1}, at::kDouble).view({2, 1}));
}

TEST(Normalize, DatasetIsMeanAndStdOfEachChannelOfTheTrainingSet) {
  const Split train = RandomBytes({6, 3, 4, 5});
  Split brighter = train;
  brighter.inputs = train.inputs.clone();
  brighter.inputs.select(1, 2).floor_divide_(3);  // channels differ
  const Split test = RandomBytes({3, 3, 4, 5}, 2);
  const Normalizer normalizer("dataset", brighter, at::kDouble);
  const at::Tensor out = normalizer.Gather(test, All(test));
  for (int64_t c = 0; c < 3; ++c) {
    const Statistics s = StatisticsOf(brighter.inputs.select(1, c));
    const at::Tensor expected = (test.inputs.select(1, c).to(at::kDouble) - s.mean) / s.std;
    EXPECT_LT((out.select(1, c) - expected).abs().max().item<double>(), 1e-13);
  }
}

// MNIST's and CIFAR-10's published numbers are those of x / 255: the same thing after division.
TEST(Normalize, DatasetLeavesMeanZeroAndVarianceOne) {
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{50, 3, 8, 8}, {50, 1, 8, 8}, {50, 20}}) {
    const Split train = RandomBytes(sizes);
    const at::Tensor out = Normalizer("dataset", train, at::kDouble).Gather(train, All(train));
    EXPECT_NEAR(out.mean().item<double>(), 0, 1e-12);
    EXPECT_NEAR(out.square().mean().item<double>(), 1, 1e-12);
  }
}

TEST(Normalize, DatasetOfRealNumbers) {
  Stream stream(1, "test");
  at::Tensor x = at::empty({40, 3}, at::kDouble);
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<double>()[i] = 5 + 2 * stream.Normal();
  const Split train{x, at::zeros({40}, at::kLong)};
  const Statistics s = StatisticsOf(x);  // a vector counts as one channel
  const at::Tensor out = Normalizer("dataset", train, at::kDouble).Gather(train, All(train));
  EXPECT_LT((out - (x - s.mean) / s.std).abs().max().item<double>(), 1e-13);
  const Split images{x.view({2, 3, 4, 5}), at::zeros({2}, at::kLong)};
  const at::Tensor each = Normalizer("dataset", images, at::kDouble).Gather(images, All(images));
  for (int64_t c = 0; c < 3; ++c) {
    const Statistics sc = StatisticsOf(images.inputs.select(1, c));
    const at::Tensor expected = (images.inputs.select(1, c) - sc.mean) / sc.std;
    EXPECT_LT((each.select(1, c) - expected).abs().max().item<double>(), 1e-13);
  }
}

/// float32 would make the same number of all of these: it has steps of 64 there.
TEST(Normalize, DatasetOfDoublesFarFromZero) {
  Stream stream(1, "test");
  at::Tensor z = at::empty({40, 3}, at::kDouble);
  for (int64_t i = 0; i < z.numel(); ++i) z.data_ptr<double>()[i] = stream.Normal();
  const Split train{z + 1e9, at::zeros({40}, at::kLong)};
  const Statistics s = StatisticsOf(z);
  const at::Tensor out = Normalizer("dataset", train, at::kFloat).Gather(train, All(train));
  EXPECT_EQ(out.scalar_type(), at::kFloat);
  EXPECT_LT((out - (z - s.mean) / s.std).abs().max().item<double>(), 2e-6);
  // Without a normalization they are rounded as they are.
  ExpectSameBits(Normalizer("none", train, at::kFloat).Gather(train, All(train)),
                 train.inputs.to(at::kFloat));
}

TEST(Normalize, RefusesNumbersThatFloat32DoesNotHold) {
  const at::Tensor small = at::arange(6000, at::kDouble).view({1500, 2, 2});
  const at::Tensor targets = at::zeros({1500, 3}, at::kDouble);
  at::Tensor large = small.clone();
  large[1203][1][0] = -1e39;
  at::Tensor far = targets.clone();
  far[7][2] = 2e38 * 2;
  const auto check = [](const std::string& kind, const Split& split, at::ScalarType dtype) {
    Normalizer(kind, split, dtype).CheckHolds(split, "training");
  };
  ExpectError(ErrorKind::kData,
              {"data: ", "-1e+39", "inputs of example 1203 of the training set", "float64"},
              [&] { check("none", {large, targets}, at::kFloat); });
  ExpectError(ErrorKind::kData, {"data: ", "4e+38", "targets of example 7 of the training set"},
              [&] { check("dataset", {large, far}, at::kFloat); });
  check("dataset", {large, targets}, at::kFloat);  // at most some dozens then
  check("none", {large, far}, at::kDouble);
  check("none", {small, targets}, at::kFloat);
  // Of float32 the difference from the mean may be what it can't hold.
  const at::Tensor ends = at::cat({at::full({3, 1}, -3e38F), at::full({1, 1}, 3e38F)});
  const Split floats{ends, at::zeros({4}, at::kLong)};
  check("none", floats, at::kFloat);
  ExpectError(ErrorKind::kData, {"inputs of example 3"},
              [&] { check("dataset", floats, at::kFloat); });
}

TEST(Normalize, PerImage) {
  Split split = RandomBytes({4, 3, 5, 5});
  split.inputs.select(0, 1).fill_(77);  // a flat image: the floor 1 / sqrt(d) applies
  split.inputs.select(0, 2).fill_(77);
  split.inputs.view({4, 75})[2][3] = 80;
  const at::Tensor out = Normalizer("per_image", split, at::kDouble).Gather(split, All(split));
  for (int64_t i = 0; i < 4; ++i) {
    const at::Tensor x = split.inputs[i].to(at::kDouble) / 255;
    const Statistics s = StatisticsOf(x);
    const at::Tensor expected = (x - s.mean) / std::max(s.std, 1 / std::sqrt(75.0));
    EXPECT_LT((out[i] - expected).abs().max().item<double>(), 1e-13) << i;
  }
  EXPECT_EQ(out[1].abs().max().item<double>(), 0);
}

// The path by the kernel against the formula by ATen, for all bytes, and the ranges that real data
// give.
TEST(Normalize, KernelAndAtenGiveTheSameBits) {
  for (const std::string kind : {"unit", "dataset", "none"}) {
    SCOPED_TRACE(kind);
    for (uint64_t seed = 0; seed < 50; ++seed) {
      Split train = RandomBytes({20, 3, 4, 4}, seed);
      train.inputs.floor_divide_(static_cast<int64_t>(1 + seed % 7));
      const Normalizer normalizer(kind, train, at::kFloat);
      const Split bytes = AllBytes(3);
      // The same values, but not in one piece: this is not for the kernel.
      Split strided = bytes;
      strided.inputs = at::stack({bytes.inputs, bytes.inputs}, 4).select(4, 0);
      ASSERT_FALSE(strided.inputs.is_contiguous());
      ExpectSameBits(normalizer.Gather(bytes, All(bytes)), normalizer.Gather(strided, All(bytes)));
    }
  }
}

TEST(Normalize, GatherTakesTheRowsInOrder) {
  const Split split = RandomBytes({9, 1, 3, 3});
  const at::Tensor indices = at::tensor({8, 0, 8, 3}, at::kLong);
  for (const std::string& kind : NormalizeNames()) {
    const Normalizer normalizer(kind, split, at::kFloat);
    const at::Tensor all = normalizer.Gather(split, All(split));
    EXPECT_EQ(all.sizes().vec(), (std::vector<int64_t>{9, 1, 3, 3}));
    ExpectSameBits(normalizer.Gather(split, indices), all.index_select(0, indices));
  }
}

TEST(Normalize, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Split split = RandomBytes({150, 3, 32, 32});
  const Normalizer normalizer("dataset", split, at::kFloat);
  const at::Tensor indices = All(split).flip(0).contiguous();
  const auto gather = [&] { return normalizer.Gather(split, indices); };
  ExpectSameBits(OnThreads(3, gather), OnThreads(1, gather));
}

TEST(Normalize, Errors) {
  const Split doubles{at::zeros({2, 3}, at::kDouble), at::zeros({2}, at::kLong)};
  for (const std::string kind : {"unit", "per_image"}) {
    ExpectError(ErrorKind::kConfig, {"normalize", kind, "bytes"},
                [&] { Normalizer(kind, doubles, at::kFloat); });
  }
  ExpectError(ErrorKind::kData, {"normalize", "standard deviation of channel 0"},
              [&] { Normalizer("dataset", doubles, at::kFloat); });
  const Split huge{at::tensor({1e200, -1e200}, at::kDouble).view({2, 1}), doubles.labels};
  ExpectError(ErrorKind::kData, {"normalize", "channel 0", "too large", "Scale"},
              [&] { Normalizer("dataset", huge, at::kFloat); });
  const Split bytes = RandomBytes({2, 3});
  for (const int64_t index : {-1, 2}) {
    ExpectError(ErrorKind::kInternal, {"example " + std::to_string(index) + " of 2"}, [&] {
      Normalizer("unit", bytes, at::kFloat).Gather(bytes, at::tensor({index}, at::kLong));
    });
  }
}

TEST(Normalize, CpuAndCudaGiveTheSameBits) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const Split split = RandomBytes({64, 3, 32, 32});
  const Split there{split.inputs.to(at::kCUDA), split.labels.to(at::kCUDA)};
  const at::Tensor indices = at::tensor({63, 0, 5, 5, 17}, at::kLong);
  for (const std::string& kind : NormalizeNames()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      SCOPED_TRACE(kind);
      const at::Tensor out = Normalizer(kind, there, dtype).Gather(there, indices);
      EXPECT_TRUE(out.is_cuda());
      ExpectSameBits(Normalizer(kind, split, dtype).Gather(split, indices), out);
    }
  }
}

}  // namespace
}  // namespace sgdscope
