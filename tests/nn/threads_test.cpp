#include "tests/threads.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "core/rng.h"
#include "nn/add_multiple.h"
#include "nn/layer.h"
#include "nn/pool2d.h"
#include "nn/reduce.h"
#include "tests/tensors.h"

// Loops of our own, over sizes that are worth several threads: the bits don't depend on their number.
// Those of products, convolutions and batch norm are tested with the rest of them.

namespace sgdscope {
namespace {

using Tensors = std::vector<at::Tensor>;

void ExpectSameBitsOnAnyThreads(const std::function<Tensors(Stream&, at::ScalarType)>& compute) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const auto results = [&] {
      Stream stream(61, "threads");
      return compute(stream, dtype);
    };
    const Tensors one = OnThreads(1, results);
    for (const int threads : {2, 3, 5}) {
      const Tensors several = OnThreads(threads, results);
      ASSERT_EQ(several.size(), one.size());
      for (size_t i = 0; i < one.size(); ++i) {
        EXPECT_TRUE(SameBits(several[i], one[i])) << threads << " threads, number " << i;
      }
    }
  }
}

TEST(LoopsOverThreads, MoveWeights) {
  ExpectSameBitsOnAnyThreads([](Stream& stream, at::ScalarType dtype) {
    const at::Tensor theta = RandomTensor(stream, {200'003}, dtype), added = theta.clone();
    const at::Tensor g = RandomTensor(stream, {200'003}, dtype), velocity = g.mul(0.5);
    AddMultiple(g, -0.1, added);
    const at::Tensor ahead =
        MoveVelocity({.decay = 0.01, .keep = 0.9, .fresh = 1, .ahead = true}, g, theta, velocity);
    return Tensors{added, velocity, ahead};
  });
}

TEST(LoopsOverThreads, PoolImages) {
  ExpectSameBitsOnAnyThreads([](Stream& stream, at::ScalarType dtype) {
    const auto layer = MakeMaxPool2d(2, 2);
    const at::Tensor h = RandomTensor(stream, {33, 16, 16, 16}, dtype);
    std::vector<Tap> taps = {{}};  // a layer before it asks for the way back
    WayBack back;
    const at::Tensor z = layer->Forward(h, {.theta = {}, .taps = &taps, .back = &back});
    const at::Tensor d = RandomTensor(stream, z.sizes().vec(), dtype);
    return Tensors{z, WayBack::Go(back.steps, d)};
  });
}

TEST(LoopsOverThreads, ReduceColumnsAndProducts) {
  ExpectSameBitsOnAnyThreads([](Stream& stream, at::ScalarType dtype) {
    constexpr int64_t kExamples = 40, kUnits = 7, kInputs = 5003;
    const kernels::Reduction how = {
        .kind = kernels::Reduction::Kind::kClip, .low = 2, .high = kExamples - 3};
    const at::Tensor h = RandomTensor(stream, {kExamples, kInputs}, dtype);
    const at::Tensor d = RandomTensor(stream, {kExamples, kUnits}, dtype);
    const at::Tensor columns = at::empty({kInputs}, h.options());
    const at::Tensor outer = at::empty({kUnits, kInputs}, h.options());
    ReduceColumns(h, how, columns);
    ReduceOuter(d, h, how, outer);
    return Tensors{columns, outer, ExampleDots(h, h.flip(0))};
  });
}

}  // namespace
}  // namespace sgdscope
