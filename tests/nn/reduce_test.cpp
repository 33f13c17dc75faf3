#include "nn/reduce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "core/rng.h"
#include "tests/kernels/blocks.h"
#include "tests/kernels/reductions.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

// On a GPU the kernels of kernels/cuda.cu give the bits of their twin that runs in loops, which
// tile_reduce_test.cpp compares with the definition. Only the sign of a zero may differ: fmin of 0
// and -0 may give either.

namespace sgdscope {
namespace {

template <class T>
at::Tensor OnCuda(std::vector<T> values, const std::vector<int64_t>& sizes) {
  const auto dtype = sizeof(T) == sizeof(double) ? at::kDouble : at::kFloat;
  return at::from_blob(values.data(), sizes, dtype).to(at::kCUDA);
}

template <class T>
void ExpectSame(const at::Tensor& actual, const std::vector<T>& expected, const std::string& what) {
  const at::Tensor here = actual.cpu().flatten().contiguous();
  for (int64_t k = 0; k < here.numel(); ++k) {
    const T value = here.data_ptr<T>()[k];
    const bool both_nan = std::isnan(value) && std::isnan(expected[k]);
    ASSERT_TRUE(both_nan || value == expected[k])
        << what << ", number " << k << ": " << value << " for " << expected[k];
  }
}

/// A batch, with `bad` somewhere in it if that is not 0.
template <class T>
void ExpectTheBitsOfTheTwin(int64_t n, int64_t units, int64_t inputs, const Reduction& how,
                            Values kind, T bad, uint64_t index) {
  Stream stream(index, "cuda");
  const std::string what = "n " + std::to_string(n) + ", units " + std::to_string(units) +
                           ", inputs " + std::to_string(inputs) + ", case " + std::to_string(index);
  std::vector<T> h = Draw<T>(stream, kind, n, inputs);
  const std::vector<T> d = Draw<T>(stream, Values::kTanh, units, n);
  if (bad != 0) h[stream.Below(h.size())] = bad;

  std::vector<T> columns(inputs);
  ReduceColumnsInBlocks(h.data(), n, inputs, how, columns.data());
  const at::Tensor there = OnCuda(h, {n, inputs});
  const at::Tensor columns_there = at::empty({inputs}, there.options());
  ReduceColumns(there, how, columns_there);
  ExpectSame(columns_there, columns, what + ", columns");

  if (how.kind == Kind::kSigns) return;
  std::vector<T> outer(units * inputs);
  ReduceOuterInBlocks<T>({d.data(), h.data(), n, units, inputs}, how, outer.data());
  const at::Tensor outer_there = at::empty({units, inputs}, there.options());
  ReduceOuter(OnCuda(d, {units, n}).t(), there, how, outer_there);
  ExpectSame(outer_there, outer, what + ", outer products");
}

TEST(ReduceOnCuda, GivesTheBitsOfItsTwin) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  for (uint64_t index = 0; index < 200; ++index) {
    Stream stream(13, "cuda shapes", index);
    const int64_t n = kSizes[stream.Below(index < 20 ? 9 : 7)];
    const auto units = static_cast<int64_t>(1 + stream.Below(40));
    const auto inputs = static_cast<int64_t>(1 + stream.Below(200));
    const Values kind = kAllValues[stream.Below(std::size(kAllValues))];
    const int c = static_cast<int>(stream.Below(index % 2 == 0 ? 10 : 51));
    const int64_t out = std::min<int64_t>(c * n / 100, (n - 1) / 2);
    Reduction how = Clip(n, c, index % 3 == 0);
    if (index % 5 == 0) how = {Kind::kTrim, out, n - 1 - out};
    if (index % 11 == 0) how = {Kind::kSigns};
    const float bad = index % 7 == 0 ? std::numeric_limits<float>::infinity() : 0;
    ExpectTheBitsOfTheTwin<float>(n, units, inputs, how, kind, bad, index);
    ExpectTheBitsOfTheTwin<double>(n, units, inputs, how, kind, bad, index);
  }
}

/// In whatever order the numbers lie in memory, and on several threads.
TEST(ExampleDots, InEveryLayout) {
  Stream stream(60, "example dots");
  const auto layouts = [](const at::Tensor& x) {
    const at::Tensor wide = at::cat({x, x}, 1);
    return std::vector<at::Tensor>{x, x.contiguous(at::MemoryFormat::ChannelsLast),
                                   x.transpose(2, 3).contiguous().transpose(2, 3),
                                   wide.narrow(1, 0, x.size(1))};
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::vector<int64_t>& sizes :
         {std::vector<int64_t>{1, 1, 1, 1}, {5, 3, 4, 2}, {3, 7, 65, 81}}) {
      const at::Tensor a = RandomTensor(stream, sizes, dtype);
      const at::Tensor b = RandomTensor(stream, sizes, dtype);
      const at::Tensor terms = a.to(at::kDouble).mul(b.to(at::kDouble)).flatten(1);
      const oracle::Vector expected = ToVector(terms.sum(1));
      const oracle::Vector largest = ToVector(terms.abs().sum(1));
      for (const at::Tensor& x : layouts(a)) {
        for (const at::Tensor& y : layouts(b)) {
          const oracle::Vector found = ToVector(ExampleDots(x, y));
          ASSERT_EQ(found.size(), expected.size());
          for (size_t i = 0; i < found.size(); ++i) {
            EXPECT_NEAR(found[i], expected[i],
                        largest[i] * static_cast<double>(terms.size(1)) *
                            std::numeric_limits<double>::epsilon());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sgdscope
