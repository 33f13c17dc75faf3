#include "nn/dot.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

TEST(Dot, IsThePlainSumInDouble) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (size_t m = 0; m < 70; ++m) {
      Stream stream(120, "dot", m);
      const oracle::Vector a = RandomVector(stream, m);
      const oracle::Vector b = RandomVector(stream, m);
      double terms = 0;
      for (size_t i = 0; i < m; ++i) terms += std::abs(a[i] * b[i]);
      const auto size = static_cast<int64_t>(m);
      const at::Tensor dot = Dot(ToTensor(a, {size}, dtype), ToTensor(b, {size}, dtype));
      EXPECT_EQ(dot.scalar_type(), at::kDouble);
      EXPECT_EQ(dot.dim(), 0);
      // Both dtypes hold the numbers exactly, and double the products of floats.
      EXPECT_NEAR(dot.item<double>(), oracle::Dot(a, b),
                  static_cast<double>(m) * Epsilon(at::kDouble) * terms)
          << m;
    }
  }
}

TEST(Dot, TakesWhatIsNotContiguousAndKeepsANaN) {
  Stream stream(121, "dot");
  const at::Tensor a = RandomTensor(stream, {40}, at::kFloat).slice(0, 0, 40, 3);
  const at::Tensor b = RandomTensor(stream, {14}, at::kFloat);
  EXPECT_NEAR(Dot(a, b).item<double>(), oracle::Dot(ToVector(a), ToVector(b)), 1e-13);
  EXPECT_TRUE(std::isnan(Dot(a, at::full_like(b, NAN)).item<double>()));
}

}  // namespace
}  // namespace sgdscope
