#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "nn/layer.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

// What every layer's rules for single examples must agree with: a loop over the examples.

namespace sgdscope {

/// Elementwise |a|.
inline oracle::Vector Absolute(oracle::Vector a) {
  for (double& value : a) value = std::abs(value);
  return a;
}

/// Expects |actual[k] - expected[k]| <= bound[k] for each k. A NaN fails.
inline void ExpectWithin(const oracle::Vector& actual, const oracle::Vector& expected,
                         const oracle::Vector& bound, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t k = 0; k < actual.size(); ++k) {
    EXPECT_LE(std::abs(actual[k] - expected[k]), bound[k])
        << what << ", number " << k << ": " << actual[k] << " for " << expected[k];
  }
}

/// A layer's gradients of single examples by the definition.
struct ExampleGradients {
  std::vector<oracle::Vector> g;
  /// The same of absolute values: a number of g that is a sum of k terms is off by at most k eps
  /// times the sum of their absolute values.
  std::vector<oracle::Vector> absolute;
  double terms;  // of the longest sum in any way to compute a norm, dot or tile

  size_t n() const { return g.size(); }
  size_t size() const { return g[0].size(); }
};

/// Tiles put together: [groups][size of the layer]. Each coordinate must come once, in a tile that
/// is not too large.
inline std::vector<oracle::Vector> TogetherFromTiles(const ExampleLayer& layer, const Tap& tap,
                                                     const at::Tensor& d, int64_t groups,
                                                     int64_t max_numbers, int64_t offset,
                                                     size_t size) {
  std::vector<oracle::Vector> sums(static_cast<size_t>(groups), oracle::Vector(size, NAN));
  layer.ForEachTile(tap, d, groups, max_numbers, [&](int64_t from, const at::Tensor& tile) {
    ASSERT_EQ(tile.dim(), 2);
    ASSERT_EQ(tile.size(0), groups);
    ASSERT_GE(from, offset);
    ASSERT_LE(from + tile.size(1), offset + static_cast<int64_t>(size));
    EXPECT_LE(tile.size(1), std::max<int64_t>(1, max_numbers / groups));
    EXPECT_EQ(tile.scalar_type(), d.scalar_type());
    for (int64_t i = 0; i < groups; ++i) {
      const oracle::Vector row = ToVector(tile[i]);
      for (size_t k = 0; k < row.size(); ++k) {
        double& place = sums[static_cast<size_t>(i)][static_cast<size_t>(from - offset) + k];
        EXPECT_TRUE(std::isnan(place)) << "a coordinate came twice";
        place = row[k];
      }
    }
  });
  return sums;
}

inline void ExpectTiles(const ExampleLayer& layer, const Tap& tap, const at::Tensor& d,
                        const ExampleGradients& expected, int64_t offset, const std::string& what) {
  const auto n = static_cast<int64_t>(expected.n());
  const double rounding = expected.terms * Epsilon(d.scalar_type());
  for (int64_t groups = 1; groups <= n; ++groups) {
    if (n % groups != 0) continue;
    for (const int64_t max_numbers : {1, 13, 100, 1000, 1 << 20}) {
      const auto sums =
          TogetherFromTiles(layer, tap, d, groups, max_numbers, offset, expected.size());
      for (size_t i = 0; i < sums.size(); ++i) {
        oracle::Vector sum(expected.size()), bound(expected.size());
        for (size_t e = i * expected.n() / sums.size(); e < (i + 1) * expected.n() / sums.size();
             ++e) {
          sum = oracle::Plus(sum, 1, expected.g[e]);
          bound = oracle::Plus(bound, rounding, expected.absolute[e]);
        }
        ExpectWithin(sums[i], sum, bound,
                     what + ", tiles of " + std::to_string(max_numbers) + " in " +
                         std::to_string(groups) + " groups");
      }
    }
  }
}

/// Expects sum_i g_i^2 at the layer's place in a vector of `p` numbers, and nothing elsewhere.
inline void ExpectSquares(const ExampleLayer& layer, const Tap& tap, const at::Tensor& d, int64_t p,
                          int64_t offset, const ExampleGradients& expected,
                          const std::string& what) {
  constexpr double kUntouched = 777;
  for (const int64_t max_numbers : {1, 100, 1 << 20}) {
    oracle::Vector sums(static_cast<size_t>(p), kUntouched), bounds(sums.size());
    for (size_t k = 0; k < expected.size(); ++k) {
      double sum = 0, absolute = 0;
      for (size_t i = 0; i < expected.n(); ++i) {
        sum += expected.g[i][k] * expected.g[i][k];
        absolute += expected.absolute[i][k] * expected.absolute[i][k];
      }
      const double terms = 2 * expected.terms + static_cast<double>(expected.n());
      sums[static_cast<size_t>(offset) + k] = sum;
      bounds[static_cast<size_t>(offset) + k] = terms * Epsilon(d.scalar_type()) * absolute;
    }
    const at::Tensor out = at::full({p}, kUntouched, d.options());
    layer.WriteSquares(tap, d, max_numbers, out);
    ExpectWithin(ToVector(out), sums, bounds,
                 what + ", squares, tiles of " + std::to_string(max_numbers));
  }
}

/// Expects the layer's rules to give what follows from `expected`. The layer's parameters lie at
/// `offset` in v [p].
inline void ExpectExampleRules(const ExampleLayer& layer, const Tap& tap, const at::Tensor& d,
                               const at::Tensor& v, int64_t offset,
                               const ExampleGradients& expected, const std::string& what) {
  const double one = std::numeric_limits<double>::epsilon();
  const double rounding = expected.terms * Epsilon(d.scalar_type()) +
                          static_cast<double>(expected.size()) * one;  // sums in double on top
  const at::Tensor piece = v.narrow(0, offset, static_cast<int64_t>(expected.size()));
  oracle::Vector norms, dots, gram, norm_bounds, dot_bounds, gram_bounds;
  for (size_t i = 0; i < expected.n(); ++i) {
    const oracle::Vector& g = expected.g[i];
    const oracle::Vector& a = expected.absolute[i];
    norms.push_back(oracle::Dot(g, g));
    norm_bounds.push_back(2 * rounding * oracle::Dot(a, a));
    dots.push_back(oracle::Dot(g, ToVector(piece)));
    dot_bounds.push_back(rounding * oracle::Dot(a, Absolute(ToVector(piece))));
    for (size_t j = 0; j < expected.n(); ++j) {
      gram.push_back(oracle::Dot(g, expected.g[j]));
      gram_bounds.push_back(2 * rounding * oracle::Dot(a, expected.absolute[j]));
    }
  }
  const auto n = static_cast<int64_t>(expected.n());
  const at::Tensor input = tap.input.clone();
  const at::Tensor derivatives = d.clone();
  const auto expect = [&](const at::Tensor& actual, const std::vector<int64_t>& sizes,
                          const oracle::Vector& values, const oracle::Vector& bounds,
                          const std::string& rule) {
    EXPECT_EQ(actual.scalar_type(), at::kDouble) << what << ", " << rule;
    EXPECT_EQ(actual.sizes(), at::IntArrayRef(sizes)) << what << ", " << rule;
    EXPECT_FALSE(actual.requires_grad()) << what << ", " << rule;
    ExpectWithin(ToVector(actual), values, bounds, what + ", " + rule);
  };
  expect(layer.SquaredNorms(tap, d), {n}, norms, norm_bounds, "norms");
  expect(layer.Dots(tap, d, v), {n}, dots, dot_bounds, "dots");
  expect(layer.Gram(tap, d), {n, n}, gram, gram_bounds, "gram");
  ExpectTiles(layer, tap, d, expected, offset, what);
  ExpectSquares(layer, tap, d, v.size(0), offset, expected, what);
  EXPECT_TRUE(SameBits(tap.input, input) && SameBits(d, derivatives)) << what << ": modified";
}

}  // namespace sgdscope
