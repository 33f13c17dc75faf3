#pragma once

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "nn/layer.h"
#include "tests/tensors.h"

// What every layer must agree with: autograd through its own forward pass.

namespace sgdscope {

/// <a, b>, where an undefined b is zero.
inline double DotOf(const at::Tensor& a, const at::Tensor& b) {
  return b.defined() ? a.mul(b).sum().item<double>() : 0;
}

/// <a, b> of their absolute values: what the rounding of a sum is in proportion to.
inline double SizeOf(const at::Tensor& a, const at::Tensor& b) {
  return b.defined() ? DotOf(a.abs(), b.abs()) : 0;
}

/// dy/dx, and its graph; zero where y does not depend on x.
inline at::Tensor Derivative(const at::Tensor& y, const at::Tensor& x) {
  if (!y.requires_grad()) return at::zeros_like(x);
  const at::Tensor slope = torch::autograd::grad({y}, {x}, {}, /*retain_graph=*/true,
                                                 /*create_graph=*/true, /*allow_unused=*/true)[0];
  return slope.defined() ? slope : at::zeros_like(x);
}

/// Expects ForwardLine to give the derivatives of Forward by s, of a random projection, where theta
/// moves along `direction` by s / 4 and the input as `h` says.
inline void ExpectLineOfAutograd(const Layer& layer, const at::Tensor& theta,
                                 const at::Tensor& direction, const Line& h, Stream& stream,
                                 const std::string& what) {
  const double scale = 0.25;
  const Line z = layer.ForwardLine(h, {theta, direction, scale, /*curvature=*/true});
  const at::Tensor u = RandomTensor(stream, z.value.sizes().vec());
  const at::Tensor s = at::zeros({}, at::kDouble).requires_grad_(true);
  at::Tensor input = h.value;
  if (h.slope.defined()) input = input + s * h.slope;
  if (h.curvature.defined()) input = input + s * s / 2 * h.curvature;
  const at::Tensor value = (u * layer.Forward(input, {theta + s * scale * direction})).sum();
  const at::Tensor first = Derivative(value, s);
  const at::Tensor second = Derivative(first, s);
  const at::Tensor end = h.moved.defined() ? h.moved : h.value;
  const at::Tensor moved = layer.Forward(end, {theta + scale * direction});
  // Conditioned like a few hundred additions of numbers of the size of all that is compared.
  const double bound = 1e-12 * (1 + SizeOf(u, z.value) + SizeOf(u, z.slope) +
                                SizeOf(u, z.curvature) + SizeOf(u, moved));
  EXPECT_NEAR(DotOf(u, z.value), value.item<double>(), bound) << what;
  EXPECT_NEAR(DotOf(u, z.slope), first.item<double>(), bound) << what;
  EXPECT_NEAR(DotOf(u, z.curvature), second.item<double>(), bound) << what;
  EXPECT_NEAR(DotOf(u, z.moved.defined() ? z.moved : z.value), DotOf(u, moved), bound) << what;
}

/// Expects the layer's part of the gradient, and the slopes of that and of the output, to be those
/// of Forward. All of theta is the layer's.
inline void ExpectGradientOfAutograd(const ParameterLayer& layer, const at::Tensor& theta,
                                     const at::Tensor& v, const Line& h, Stream& stream,
                                     const std::string& what) {
  std::vector<Tap> taps;
  const at::Tensor z = layer.Forward(h.value, {theta, &taps}).detach();
  ASSERT_EQ(taps.size(), 1u) << what;
  const at::Tensor d = RandomTensor(stream, z.sizes().vec());
  const at::Tensor d_slope = RandomTensor(stream, z.sizes().vec());

  const at::Tensor s = at::zeros({}, at::kDouble).requires_grad_(true);
  const at::Tensor leaf = theta.clone().requires_grad_(true);
  const at::Tensor input = h.value + s * h.slope;
  const at::Tensor loss = ((d + s * d_slope) * layer.Forward(input, {leaf})).sum();
  const at::Tensor expected = Derivative(loss, leaf);
  const double slope = Derivative((expected * v).sum(), s).item<double>();
  at::NoGradGuard no_grad;
  const at::Tensor g = at::empty_like(theta), g_slope = at::empty_like(theta);
  layer.WriteGradient(taps[0], d, g);
  layer.WriteGradientSlope(taps[0], h.slope, d, d_slope, g_slope);
  const at::Tensor output = layer.OutputSlope(taps[0], v);
  const at::Tensor still = layer.ForwardLine({h.value, {}, {}, {}}, {theta, v, 1, false}).slope;
  const double bound =
      1e-12 * (1 + SizeOf(d, z)) * (1 + SizeOf(v, g) + SizeOf(v, g_slope) + SizeOf(d, output));
  ExpectNear(ToVector(g), ToVector(expected), bound, what + ", gradient");
  EXPECT_NEAR(DotOf(v, g_slope), slope, bound) << what;
  ExpectNear(ToVector(output), ToVector(still), bound, what + ", slope of the output");
}

/// All of it at random theta [p] and inputs of `shape`, moving and not.
inline void ExpectRulesOfAutograd(const Layer& layer, int64_t p, const std::vector<int64_t>& shape,
                                  Stream& stream, const std::string& what) {
  const auto random = [&](const std::vector<int64_t>& sizes) {
    return RandomTensor(stream, sizes);
  };
  const at::Tensor theta = random({p}), direction = random({p});
  const Line h{random(shape), random(shape), random(shape), random(shape)};
  ExpectLineOfAutograd(layer, theta, direction, h, stream, what);
  ExpectLineOfAutograd(layer, theta, direction, {h.value, {}, {}, {}}, stream, what + ", still");
  const auto* it = dynamic_cast<const ParameterLayer*>(&layer);
  if (it != nullptr) ExpectGradientOfAutograd(*it, theta, direction, h, stream, what);
}

}  // namespace sgdscope
