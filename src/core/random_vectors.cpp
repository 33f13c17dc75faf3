#include "core/random_vectors.h"

#include <algorithm>

#include "core/random_simd.h"

namespace sgdscope {

at::Tensor Normals(Stream& stream, int64_t size) {
  constexpr int64_t kInCache = 1024;
  const int64_t even = (size + 1) / 2 * 2;
  const at::Tensor normals = at::empty({even}, at::kDouble);
  double* numbers = normals.data_ptr<double>();
  for (int64_t begin = 0; begin < even; begin += kInCache) {
    const int64_t count = std::min(kInCache, even - begin);
    stream.Uniforms(numbers + begin, count);
    BoxMuller(numbers + begin, count / 2);
  }
  return normals.narrow(0, 0, size);
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
