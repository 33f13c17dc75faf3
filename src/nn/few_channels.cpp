#include "nn/few_channels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "kernels/convolution.h"
#include "nn/channels.h"

namespace sgdscope {
namespace {

constexpr int64_t kFew = kernels::kFewChannels;
constexpr int64_t kArea = 9;  // pixels of a weight

bool Fits(const at::Tensor& images, const at::Tensor& weight, int64_t stride, int64_t padding) {
  const bool graph =
      at::GradMode::is_enabled() && (images.requires_grad() || weight.requires_grad());
  return images.is_cpu() && !graph && weight.size(2) == 3 && weight.size(3) == 3 && stride == 1 &&
         padding == 1;
}

kernels::Images ImagesOf(const at::Tensor& h, int64_t count) {
  return {count, h.size(2), h.size(3), h.size(1)};
}

/// Calls use of a number of h's type.
template <class Use>
void WithType(const at::Tensor& h, const Use& use) {
  if (h.scalar_type() == at::kDouble) return use(double());
  use(float());
}

/// in * w for w [3, 3, channels, 8].
template <class T>
at::Tensor Convolve(const at::Tensor& in, const T* w, const T* bias) {
  constexpr int64_t kGrain = 1 << 14;  // numbers worth a thread
  const int64_t area = in.size(2) * in.size(3), each = area * in.size(1);
  const at::Tensor out = at::empty({in.size(0), in.size(2), in.size(3), kFew}, in.options());
  const auto* const from = in.data_ptr<T>();
  auto* const to = out.data_ptr<T>();
  at::parallel_for(0, in.size(0), kGrain / each + 1, [&](int64_t begin, int64_t end) {
    kernels::Convolve(from + begin * each, ImagesOf(in, end - begin), w, bias,
                      to + begin * area * kFew);
  });
  return out.movedim(-1, 1);
}

}  // namespace

bool MakesFewChannels(const at::Tensor& h, const at::Tensor& weight, int64_t stride,
                      int64_t padding) {
  return weight.size(0) == kFew && Fits(h, weight, stride, padding);
}

bool TakesFewChannels(const at::Tensor& d, const at::Tensor& weight, int64_t stride,
                      int64_t padding) {
  return weight.size(1) == kFew && Fits(d, weight, stride, padding);
}

at::Tensor ConvolveToFew(const at::Tensor& h, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor in = ChannelsTogether(h);
  const at::Tensor w = weight.permute({2, 3, 1, 0}).contiguous();
  at::Tensor out;
  WithType(h, [&](auto number) {
    using T = decltype(number);
    const at::Tensor b = bias.defined() ? bias.contiguous() : bias;
    out = Convolve<T>(in, w.data_ptr<T>(), b.defined() ? b.data_ptr<T>() : nullptr);
  });
  return out;
}

at::Tensor ConvolveByFewInputs(const at::Tensor& d, const at::Tensor& weight) {
  // A convolution of d with the weights turned around.
  const at::Tensor in = ChannelsTogether(d);
  const at::Tensor w = weight.permute({2, 3, 0, 1}).contiguous();  // [3, 3, out, 8]
  at::Tensor out;
  WithType(d, [&](auto number) {
    using T = decltype(number);
    const int64_t each = w.numel() / kArea;
    std::vector<T> turned(static_cast<size_t>(w.numel()));
    for (int64_t k = 0; k < kArea; ++k) {
      std::copy_n(w.data_ptr<T>() + (kArea - 1 - k) * each, each, turned.data() + k * each);
    }
    out = Convolve<T>(in, turned.data(), nullptr);
  });
  return out;
}

at::Tensor ConvolveByWeightToFew(const at::Tensor& h, const at::Tensor& d) {
  // Sums of so many images each, which are added in their order: the bits don't depend on the number
  // of threads.
  constexpr int64_t kImages = 8;
  const at::Tensor in = ChannelsTogether(h), of_d = ChannelsTogether(d);
  const int64_t n = h.size(0), blocks = (n + kImages - 1) / kImages;
  const at::Tensor sums = at::zeros({std::max<int64_t>(blocks, 1), 3, 3, h.size(1), kFew},
                                    h.options().dtype(at::kDouble));
  const int64_t each = sums.numel() / sums.size(0);
  auto* const all = sums.data_ptr<double>();
  WithType(h, [&](auto number) {
    using T = decltype(number);
    const auto *const from = in.data_ptr<T>(), *const from_d = of_d.data_ptr<T>();
    const int64_t area = h.size(2) * h.size(3);
    at::parallel_for(0, blocks, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t first = b * kImages;
        kernels::ConvolveByWeight(from + first * area * h.size(1),
                                  ImagesOf(h, std::min(kImages, n - first)),
                                  from_d + first * area * kFew, all + b * each);
      }
    });
  });
  for (int64_t b = 1; b < blocks; ++b) {
    for (int64_t k = 0; k < each; ++k) all[k] += all[b * each + k];
  }
  return sums[0].permute({3, 2, 0, 1}).to(h.scalar_type());
}

}  // namespace sgdscope
