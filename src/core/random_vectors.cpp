#include "core/random_vectors.h"

namespace sgdscope {

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
  const at::Tensor numbers = at::empty({like.size(0)}, at::kDouble);
  double* number = numbers.data_ptr<double>();
  for (int64_t i = 0; i < numbers.size(0); ++i) number[i] = stream.Normal();
  return numbers.to(like.options());
}

}  // namespace sgdscope
