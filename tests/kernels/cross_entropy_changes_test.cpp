#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "config/registry.h"
#include "core/rng.h"
#include "gradients/loss.h"
#include "kernels/kernels.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

/// m random moves of n examples; a third of the shifts is 0, as where an input is.
struct MovesCase {
  MovesCase(uint64_t index, double size) : stream(80, "moves", index) {
    n = static_cast<size_t>(1 + stream.Below(40));
    classes = static_cast<size_t>(1 + stream.Below(12));
    m = static_cast<size_t>(1 + stream.Below(6));
    for (size_t i = 0; i < n; ++i) {
      logits.push_back(RandomVector(stream, classes));
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
    return {q.data(),
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
  Vector q, direction, shift;
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

/// Beyond exp's range the loss is linear: moving only the label's logit by -1000 costs about 1000.
TEST(CrossEntropyChanges, FarMovesDoNotOverflow) {
  const Vector q = {0.5, 0.5};
  const Vector direction = {1, 0};
  const int64_t label = 0;
  const Vector shift = {-1000};
  double change = 0;
  kernels::CrossEntropyChanges({q.data(), &label, shift.data(), direction.data(), 1, 1, 2},
                               &change);
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
