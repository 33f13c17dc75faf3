// dL/dW[o, c, j, i] = sum_p d[o, p] h[c, p'] over the pixels p of all images, where p' is what the
// weight at (j, i) meets: for each (j, i) a product of two matrices.

#include "nn/few_pixels.h"

#include "kernels/product.h"
#include "nn/product.h"

namespace sgdscope {
namespace {

/// Pixels of an image that are few for going through so many weights.
constexpr int64_t kFewPixels = 16;
/// The same of a batch whose pixels are one sum (kernels::kTerms), and of any.
constexpr int64_t kManyWeights = 640 << 10;
constexpr int64_t kManyWeightsOfAny = 1 << 20;

}  // namespace

bool HasFewPixels(const at::Tensor& d, const at::Tensor& weight) {
  const int64_t pixels = d.size(2) * d.size(3);
  const bool one_sum = d.size(0) * pixels <= kernels::kTerms;
  return d.is_cpu() && pixels <= kFewPixels &&
         weight.numel() > (one_sum ? kManyWeights : kManyWeightsOfAny);
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
