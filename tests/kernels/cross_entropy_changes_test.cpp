#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "config/registry.h"
#include "core/rng.h"
#include "gradients/loss.h"
#include "kernels/kernels.h"
#include "tests/kernels/reference.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

/// m random moves of n examples; a third of the shifts is 0, as where an input is. `spread`: how far
/// logits lie apart.
struct MovesCase {
  MovesCase(uint64_t index, double size, double spread = 1) : stream(80, "moves", index) {
    n = static_cast<size_t>(1 + stream.Below(40));
    classes = static_cast<size_t>(1 + stream.Below(12));
    m = static_cast<size_t>(1 + stream.Below(6));
    for (size_t i = 0; i < n; ++i) {
      logits.push_back(oracle::Plus(Vector(classes), spread, RandomVector(stream, classes)));
      z.insert(z.end(), logits.back().begin(), logits.back().end());
      labels.push_back(static_cast<int64_t>(stream.Below(classes)));
    }
    q.resize(classes * n);
    for (size_t i = 0; i < n; ++i) {
      const Vector softmax = oracle::Softmax(logits[i]);
      for (size_t c = 0; c < classes; ++c) q[c * n + i] = softmax[c];
    }
    direction = RandomVector(stream, m * classes);
    shift = RandomVector(stream, m * n);
    for (double& s : shift) s = stream.Below(3) == 0 ? 0 : size * s;
  }

  kernels::LogitMoves Moves() const {
    return {z.data(),
            q.data(),
            labels.data(),
            shift.data(),
            direction.data(),
            static_cast<int64_t>(m),
            static_cast<int64_t>(n),
            static_cast<int64_t>(classes)};
  }

  Stream stream;
  size_t n, classes, m;
  std::vector<Vector> logits;
  std::vector<int64_t> labels;
  Vector z, q, direction, shift;
};

/// Relative to the sum of the absolute terms, expm1, log1p and n additions round a few times each.
TEST(CrossEntropyChanges, AgreeWithTheirTwin) {
  for (uint64_t index = 0; index < 300; ++index) {
    const double size = std::pow(10.0, -static_cast<double>(index % 9) + 2);  // 100 to 1e-6
    const MovesCase it(index, size);
    Vector fast(it.m);
    Vector slow(it.m);
    kernels::CrossEntropyChanges(it.Moves(), fast.data());
    kernels::reference::CrossEntropyChanges(it.Moves(), slow.data());
    for (size_t v = 0; v < it.m; ++v) {
      double scale = 0;
      for (size_t i = 0; i < it.n; ++i) scale += std::abs(it.shift[v * it.n + i]);
      EXPECT_NEAR(fast[v], slow[v], 1e-14 * scale) << index << ", move " << v;
    }
  }
}

/// The twin against the definition; the difference of two losses cancels, so only to 1e-14 each.
TEST(CrossEntropyChanges, TwinIsTheDefinition) {
  for (uint64_t index = 0; index < 100; ++index) {
    const double size = std::pow(10.0, -static_cast<double>(index % 5) + 3);  // 1000 to 0.1
    const MovesCase it(index, size);
    Vector changes(it.m);
    kernels::reference::CrossEntropyChanges(it.Moves(), changes.data());
    for (size_t v = 0; v < it.m; ++v) {
      const Vector direction(it.direction.begin() + static_cast<int64_t>(v * it.classes),
                             it.direction.begin() + static_cast<int64_t>((v + 1) * it.classes));
      double expected = 0;
      double scale = 0;
      for (size_t i = 0; i < it.n; ++i) {
        const double shift = it.shift[v * it.n + i];
        const auto label = static_cast<size_t>(it.labels[i]);
        expected +=
            oracle::LossOf("cross_entropy", oracle::Plus(it.logits[i], shift, direction), label) -
            oracle::LossOf("cross_entropy", it.logits[i], label);
        scale += 10 + std::abs(shift);
      }
      EXPECT_NEAR(changes[v], expected, 1e-14 * scale) << index << ", move " << v;
    }
  }
}

/// Softmax of logits 700 apart and more is 0 or has few digits, but a far move brings such classes
/// back: to the rounding of the logits and of the move.
TEST(CrossEntropyChanges, OfLogitsThatLieFarApart) {
  for (const double spread : {200.0, 700.0, 800.0, 1e4}) {
    for (uint64_t index = 0; index < 100; ++index) {
      // From small moves to those that cross all logits.
      const double size = spread * std::pow(10.0, 1 - static_cast<double>(index % 5));
      const MovesCase it(index, size, spread);
      Vector fast(it.m);
      Vector slow(it.m);
      kernels::CrossEntropyChanges(it.Moves(), fast.data());
      kernels::reference::CrossEntropyChanges(it.Moves(), slow.data());
      for (size_t v = 0; v < it.m; ++v) {
        double scale = 0;
        for (size_t i = 0; i < it.n; ++i) {
          // Of what cancels: 4 deviations.
          scale += 4 * (10 * spread + 4 * std::abs(it.shift[v * it.n + i]));
        }
        EXPECT_NEAR(fast[v], slow[v], 2e-16 * scale) << spread << ", " << index << ", " << v;
      }
    }
  }
}

/// By hand: z = (0, -gap), both labels, one logit moves by s.
TEST(CrossEntropyChanges, AClassOfProbabilityZeroComesBack) {
  for (const double gap : {700.0, 745.0, 746.0, 800.0, 1e4}) {
    const Vector z = {0, -gap};
    const Vector q = oracle::Softmax(z);
    for (const int64_t label : {0, 1}) {
      const auto change = [&](double shift, const Vector& direction) {
        double value = 0;
        kernels::CrossEntropyChanges(
            {z.data(), q.data(), &label, &shift, direction.data(), 1, 1, 2}, &value);
        return value;
      };
      // The second logit passes the first by 100: the loss of label 0 becomes 100, that of 1
      // falls from gap to 0.
      const double expected = label == 0 ? 100 : -gap;
      EXPECT_NEAR(change(gap + 100, {0, 1}), expected, 4e-16 * (2 * gap + 100)) << gap;
      EXPECT_NEAR(change(-gap - 100, {1, 0}), expected, 4e-16 * (2 * gap + 100)) << gap;
      // Short of it by 2: log(1 + e^-2).
      const double near = std::log1p(std::exp(-2.0)) - (label == 0 ? 0 : gap - 2);
      EXPECT_NEAR(change(gap - 2, {0, 1}), near, 4e-16 * 2 * gap) << gap;
    }
  }
}

/// Where the label is almost certain the change is far below the move: digits count relative to
/// the change.
TEST(CrossEntropyChanges, OfAnAlmostCertainLabelKeepTheirDigits) {
  for (const double gap : {20.0, 100.0, 600.0}) {
    const Vector z = {0, -gap};
    const Vector q = oracle::Softmax(z);
    const Vector direction = {0.5, 1};
    const int64_t label = 0;
    for (const double shift : {1e-6, 0.1, 3.0}) {
      double change = 0;
      kernels::CrossEntropyChanges({z.data(), q.data(), &label, &shift, direction.data(), 1, 1, 2},
                                   &change);
      const double expected = std::exp(-gap) * std::expm1(shift / 2);  // and less than 1e-16 of it
      EXPECT_NEAR(change / expected, 1, 1e-8) << gap << ", " << shift;
    }
  }
}

/// Beyond exp's range the loss is linear: moving only the label's logit by -1000 costs about 1000.
TEST(CrossEntropyChanges, FarMovesDoNotOverflow) {
  const Vector z = {3, 3};
  const Vector q = {0.5, 0.5};
  const Vector direction = {1, 0};
  const int64_t label = 0;
  const Vector shift = {-1000};
  double change = 0;
  kernels::CrossEntropyChanges(
      {z.data(), q.data(), &label, shift.data(), direction.data(), 1, 1, 2}, &change);
  EXPECT_NEAR(change, 1000 + std::log(0.5), 1e-10);
}

TEST(CrossEntropyChanges, WhatIsNotFiniteIsNotHidden) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (size_t place = 0; place < 9; ++place) {
      MovesCase it(7, 0.1);
      it.shift[place % it.shift.size()] = bad;
      Vector changes(it.m);
      kernels::CrossEntropyChanges(it.Moves(), changes.data());
      EXPECT_FALSE(std::isfinite(changes[place % it.shift.size() / it.n])) << bad << place;
    }
  }
}

/// What a GPU uses in its place.
TEST(CrossEntropyChanges, LossWithoutKernelAgrees) {
  const auto loss = Registry<Loss>::entries().at("cross_entropy").make();
  for (uint64_t index = 0; index < 40; ++index) {
    const MovesCase it(index, 0.3);
    const auto m = static_cast<int64_t>(it.m);
    const auto n = static_cast<int64_t>(it.n);
    const auto classes = static_cast<int64_t>(it.classes);
    std::vector<at::Tensor> rows;
    for (const Vector& row : it.logits) rows.push_back(ToTensor(row, {classes}));
    const at::Tensor labels = at::tensor(it.labels, at::kLong);
    const at::Tensor z = at::stack(rows);
    const at::Tensor shift = ToTensor(it.shift, {m, n});
    const at::Tensor direction = ToTensor(it.direction, {m, classes});
    const Vector fast = ToVector(loss->MeanChanges(z, labels, shift, direction));
    const Vector plain = ToVector(loss->Loss::MeanChanges(z, labels, shift, direction));
    ExpectNear(fast, plain, 1e-13, std::to_string(index));
  }
}

}  // namespace
}  // namespace sgdscope
