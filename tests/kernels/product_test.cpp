#include "kernels/product.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "core/rng.h"

namespace sgdscope {
namespace {

// Runs for each instruction set that this processor has.
class Product : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().DeInit(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, Product, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

/// Random factors, of any layout that a product takes, and what becomes of it.
template <class T>
struct Case {
  Case(uint64_t index, int64_t m, int64_t n, int64_t k)
      : stream(1, "product", index), m(m), n(n), k(k), c_row(n + 2) {
    a = Random(m * k + 3);
    b = Random(k * n + 3);
    c = Random(m * c_row);
    mask = Random(m * c_row);
    row = Random(n);
    of = {.a = a.data(),
          .a_row = k,
          .a_step = 1,
          .b = b.data(),
          .b_step = n,
          .b_column = 1,
          .c = c.data(),
          .c_row = c_row,
          .m = m,
          .n = n,
          .k = k};
    if (index & 1) std::swap(of.a_row, of.a_step), of.a_step = m;
    if (index & 2) of.b_step = 1, of.b_column = k;
    if (index & 4) of.add = row.data();
    if ((index & 12) == 8) of.add = c.data(), of.add_row = c_row;
    if (index & 16) of.mask = mask.data();
    if (index & 32) positive.assign(c.size(), -1), of.positive = positive.data();
  }

  std::vector<T> Random(int64_t size) {
    std::vector<T> values(static_cast<size_t>(size));
    for (T& value : values) value = static_cast<T>(stream.Normal());
    return values;
  }

  /// In double, and with the absolute values of what is added.
  std::pair<double, double> Expected(int64_t i, int64_t j, const std::vector<T>& before) const {
    double sum = 0, size = 0;
    const auto count = [&](double term) { sum += term, size += std::abs(term); };
    for (int64_t l = 0; l < k; ++l) {
      count(static_cast<double>(a[i * of.a_row + l * of.a_step]) *
            static_cast<double>(b[l * of.b_step + j * of.b_column]));
    }
    if (of.add == row.data()) count(row[j]);
    if (of.add == c.data()) count(before[i * c_row + j]);
    if (of.mask != nullptr && mask[i * c_row + j] <= 0) sum = 0;
    return {sum, size};
  }

  Stream stream;
  int64_t m, n, k, c_row;
  std::vector<T> a, b, c, mask, row, positive;
  kernels::Product<T> of;
};

template <class T>
void ExpectProduct(uint64_t index, int64_t m, int64_t n, int64_t k) {
  Case<T> it(index, m, n, k);
  const std::vector<T> before = it.c;
  const int64_t middle = n / 2 / 32 * 32;
  kernels::Multiply(it.of, 0, middle);
  kernels::Multiply(it.of, middle, n);
  const auto where = [&] {
    return testing::Message() << index << ": " << m << " " << n << " " << k;
  };
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < it.c_row; ++j) {
      const T found = it.c[i * it.c_row + j];
      if (j >= n) {
        ASSERT_EQ(found, before[i * it.c_row + j]) << where();
        continue;
      }
      const auto [expected, size] = it.Expected(i, j, before);
      const double epsilon = std::numeric_limits<T>::epsilon();
      ASSERT_NEAR(found, expected, size * static_cast<double>(k + 2) * epsilon) << where();
      if (it.of.positive == nullptr) continue;
      ASSERT_EQ(it.positive[i * it.c_row + j], std::max(found, T(0))) << where();
    }
  }
}

TEST_P(Product, OfAllSizesAndLayouts) {
  uint64_t index = 0;
  for (int64_t m = 1; m <= 26; ++m) {
    for (const int64_t n : {1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 32, 33, 50, 65}) {
      const int64_t k = static_cast<int64_t>(index * 7 % 37);
      ExpectProduct<float>(index, m, n, k);
      ExpectProduct<double>(index++, m, n, k);
    }
  }
  for (const int64_t k : {511, 512, 513, 1025}) {  // sums that are made of several
    for (int i = 0; i < 8; ++i) {
      ExpectProduct<float>(index, 5, 19, k);
      ExpectProduct<double>(index++, 5, 19, k);
    }
  }
}

/// The bits of a product, and of a multiple of it that is added to what is there.
template <class T>
void ExpectMultipleAdded(uint64_t index, int64_t m, int64_t n, int64_t k) {
  Case<T> it(index, m, n, k);
  std::vector<T> expected = it.c;
  const T scale = static_cast<T>(it.stream.Normal());
  it.of.scale = &scale;
  kernels::Multiply(it.of, 0, n);
  std::vector<T> product(expected.size());
  it.of.scale = nullptr;
  std::swap(it.c, product);
  it.of.c = it.c.data();
  kernels::Multiply(it.of, 0, n);
  for (int64_t i = 0; i < m; ++i) {
    kernels::AddMultiple(&it.c[i * it.c_row], scale, n, &expected[i * it.c_row]);
  }
  ASSERT_EQ(product, expected) << index << ": " << m << " " << n << " " << k;
}

TEST_P(Product, AMultipleIsAddedAsFromAPlaceBetween) {
  uint64_t index = 0;
  for (int64_t m = 1; m <= 26; ++m) {
    for (const int64_t n : {1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 32, 33, 50, 65}) {
      const uint64_t layout = index % 4;  // nothing but the product
      ExpectMultipleAdded<float>(layout, m, n, static_cast<int64_t>(1 + index * 7 % 37));
      ExpectMultipleAdded<double>(layout, m, n, static_cast<int64_t>(1 + index++ * 7 % 37));
    }
  }
  ExpectMultipleAdded<float>(0, 40, 700, kernels::kTerms);  // too much for a near cache
}

TEST_P(Product, MultiplesAreAddedToVectors) {
  Stream stream(1, "multiples", 0);
  for (int64_t n = 0; n < 70; ++n) {
    std::vector<float> x(n), to(n + 1);
    for (float& value : x) value = static_cast<float>(stream.Normal());
    for (float& value : to) value = static_cast<float>(stream.Normal());
    const std::vector<float> before = to;
    kernels::AddMultiple(x.data(), 0.3F, n, to.data());
    for (int64_t i = 0; i < n; ++i) {
      const double expected = before[i] + static_cast<double>(0.3F) * x[i];
      const double size = std::abs(before[i]) + std::abs(0.3 * x[i]);
      EXPECT_NEAR(to[i], expected, size * std::numeric_limits<float>::epsilon()) << n;
    }
    EXPECT_EQ(to[n], before[n]) << n;
  }
}

/// Of any part of the numbers; the others stay.
TEST_P(Product, MomentumMovesVelocities) {
  Stream stream(1, "momentum", 0);
  for (int64_t n = 0; n < 70; ++n) {
    const auto random = [&] {
      std::vector<float> values(n + 2);
      for (float& value : values) value = static_cast<float>(stream.Normal());
      return values;
    };
    const std::vector<float> g = random(), theta = random(), before = random();
    std::vector<float> velocity = before, ahead = before;
    const bool decays = n % 2 == 1, wanted = n / 2 % 2 == 1;
    kernels::Move(kernels::Momentum<float>{.g = g.data(),
                                           .theta = decays ? theta.data() : nullptr,
                                           .decay = 0.3F,
                                           .keep = 0.9F,
                                           .fresh = 0.7F,
                                           .velocity = velocity.data(),
                                           .ahead = wanted ? ahead.data() : nullptr},
                  1, n + 1);
    for (int64_t i = 0; i < n + 2; ++i) {
      const bool moved = i >= 1 && i <= n;
      const double d = g[i] + (decays ? static_cast<double>(0.3F) * theta[i] : 0);
      const double kept = static_cast<double>(0.9F) * before[i];
      const double expected = moved ? kept + static_cast<double>(0.7F) * d : before[i];
      const double size = std::abs(g[i]) + std::abs(theta[i]) + std::abs(before[i]);
      const double close = moved ? 4 * size * std::numeric_limits<float>::epsilon() : 0;
      ASSERT_NEAR(velocity[i], expected, close) << n;
      const double in_front = d + static_cast<double>(0.9F) * expected;
      ASSERT_NEAR(ahead[i], moved && wanted ? in_front : before[i], 2 * close) << n;
    }
  }
}

TEST_P(Product, WhatIsNotFiniteGoesThrough) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float a[] = {1, nan}, b[] = {-3}, mask[] = {nan, -1};
  float c[2], positive[2];
  kernels::Product<float> of = {.a = a,
                                .a_row = 1,
                                .a_step = 1,
                                .b = b,
                                .b_step = 1,
                                .b_column = 1,
                                .c = c,
                                .c_row = 1,
                                .m = 2,
                                .n = 1,
                                .k = 1,
                                .positive = positive};
  kernels::Multiply(of, 0, 1);
  EXPECT_EQ(c[0], -3);
  EXPECT_EQ(positive[0], 0);
  EXPECT_TRUE(std::isnan(c[1]) && std::isnan(positive[1]));
  of.mask = mask;
  kernels::Multiply(of, 0, 1);
  EXPECT_EQ(c[0], -3);  // as autograd's derivative of relu at NaN
  EXPECT_EQ(c[1], 0);
}

/// However the columns are shared out, and whatever other rows there are.
void ExpectSameAlone(uint64_t layout, int64_t m, int64_t n, int64_t k) {
  Case<float> whole(layout, m, n, k);
  kernels::Multiply(whole.of, 0, n);
  Case<float> parts(layout, m, n, k);
  for (int64_t i = 0; i < m; ++i) {
    kernels::Product<float> row = parts.of;
    row.m = 1;
    row.a += i * row.a_row;
    row.c += i * row.c_row;
    kernels::Multiply(row, 64, n);
    kernels::Multiply(row, 0, 64);
  }
  EXPECT_EQ(whole.c, parts.c) << layout << ": " << m << " " << n << " " << k;
}

TEST_P(Product, ANumberIsTheSameWhateverIsBesideIt) {
  for (const uint64_t layout : {0, 1, 2, 3}) {
    ExpectSameAlone(layout, 25, 70, 600);
    ExpectSameAlone(layout, 130, 70, 20);  // so many rows that they are gone through one by one
  }
}

}  // namespace
}  // namespace sgdscope
