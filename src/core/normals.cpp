// Box and Muller's method, as in rng.cpp, on many numbers at a time.

#include "core/normals.h"

#include <numbers>

namespace sgdscope {

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

}  // namespace sgdscope
