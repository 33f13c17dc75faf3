// dL/dW[o, c, j, i] = sum_p d[o, p] h[c, p'] over the pixels p of all images, where p' is what the
// weight at (j, i) meets: for each (j, i) a product of two matrices.

#include "nn/few_pixels.h"

#include "nn/product.h"

namespace sgdscope {
namespace {

/// Weights that oneDNN would read and write from a far cache, and pixels that are few for that.
constexpr int64_t kManyWeights = 1 << 20;
constexpr int64_t kFewPixels = 16;

}  // namespace

bool HasFewPixels(const at::Tensor& d, const at::Tensor& weight) {
  return d.is_cpu() && weight.numel() > kManyWeights && d.size(2) * d.size(3) <= kFewPixels;
}

at::Tensor ByWeightOfFewPixels(const at::Tensor& h, const at::Tensor& d, const at::Tensor& weight,
                               int64_t stride, int64_t padding) {
  const int64_t out = weight.size(0), in = weight.size(1), kernel = weight.size(2);
  const int64_t height = d.size(2), width = d.size(3), rest = d.size(0) * height * width;
  const at::Tensor of_d = d.transpose(0, 1).contiguous();  // [out, n, height, width]
  const Matrix pixels = {&of_d, 0, out, rest, rest, 1};
  const at::Tensor framed =
      at::constant_pad_nd(h.movedim(1, -1), {0, 0, padding, padding, padding, padding});
  const at::Tensor by_weight = at::empty({out, kernel, kernel, in}, d.options());
  for (int64_t j = 0; j < kernel; ++j) {
    const at::Tensor rows = framed.slice(1, j, j + stride * (height - 1) + 1, stride);
    for (int64_t i = 0; i < kernel; ++i) {
      const at::Tensor met =
          rows.slice(2, i, i + stride * (width - 1) + 1, stride).reshape({rest, in});
      Multiply(pixels, Matrix::All(met),
               {&by_weight, (j * kernel + i) * in, out, in, kernel * kernel * in, 1});
    }
  }
  return by_weight.movedim(-1, 1);
}

}  // namespace sgdscope
