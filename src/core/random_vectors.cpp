#include "core/random_vectors.h"

#include <numbers>

namespace sgdscope {

// Box and Muller's method, as in rng.cpp, on many numbers at a time.
at::Tensor Normals(Stream& stream, int64_t size) {
  const int64_t pairs = (size + 1) / 2;
  const at::Tensor uniform = at::empty({2, pairs}, at::kDouble);
  auto numbers = uniform.accessor<double, 2>();
  for (int64_t i = 0; i < pairs; ++i) {
    numbers[0][i] = 1 - stream.Uniform();  // in (0, 1]
    numbers[1][i] = stream.Uniform();
  }
  const at::Tensor radius = uniform[0].log().mul_(-2).sqrt_();
  const at::Tensor angle = uniform[1].mul(2 * std::numbers::pi);
  const at::Tensor normals = at::stack({angle.cos().mul_(radius), angle.sin().mul_(radius)}, 1);
  return normals.flatten().narrow(0, 0, size);
}

at::Tensor RandomSigns(Stream& stream, const at::Tensor& like) {
  at::Tensor signs = at::empty({like.size(0)}, at::kFloat);
  float* sign = signs.data_ptr<float>();
  uint64_t bits = 0;
  for (int64_t i = 0; i < signs.size(0); ++i, bits >>= 1) {
    if (i % 64 == 0) bits = stream.Bits64();
    sign[i] = (bits & 1) == 0 ? 1.0F : -1.0F;
  }
  return signs.to(like.options());
}

at::Tensor RandomNormals(Stream& stream, const at::Tensor& like) {
  return Normals(stream, like.size(0)).to(like.options());
}

}  // namespace sgdscope
