#include "nn/few_channels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/convolution.h"
#include "nn/channels.h"

namespace sgdscope {
namespace {

constexpr int64_t kFew = kernels::kFewChannels;
constexpr int64_t kArea = 9;  // pixels of a weight

bool Fits(const at::Tensor& images, const at::Tensor& weight, int64_t padding) {
  const bool graph =
      at::GradMode::is_enabled() && (images.requires_grad() || weight.requires_grad());
  return images.is_cpu() && !graph && weight.size(2) == 3 && weight.size(3) == 3 && padding == 1;
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

/// Places of a weight, 3 j + i: turned around; and in the order of kernels::Spread.
constexpr std::array<int64_t, kArea> kTurned = {8, 7, 6, 5, 4, 3, 2, 1, 0};
constexpr std::array<int64_t, kArea> kByPlace = {4, 5, 3, 7, 1, 8, 6, 2, 0};

/// For each 8 input channels of a weight [out, in, 3, 3], its places in an order: [in / 8, 9, out, 8].
template <class T>
std::vector<T> InOrder(const at::Tensor& weight, const std::array<int64_t, kArea>& places) {
  const at::Tensor w = weight.permute({2, 3, 0, 1}).contiguous();  // [3, 3, out, in]
  const int64_t out = weight.size(0), in = weight.size(1);
  std::vector<T> ordered;
  ordered.reserve(static_cast<size_t>(w.numel()));
  for (int64_t block = 0; block < in; block += kFew) {
    for (const int64_t place : places) {
      for (int64_t o = 0; o < out; ++o) {
        const T* const from = w.data_ptr<T>() + (place * out + o) * in + block;
        ordered.insert(ordered.end(), from, from + kFew);
      }
    }
  }
  return ordered;
}

/// Calls use(first image, images) for parts of a batch, side by side on the threads.
template <class Use>
void ForEachPart(const at::Tensor& images, const Use& use) {
  constexpr int64_t kGrain = 1 << 14;  // numbers worth a thread
  const int64_t each = std::max<int64_t>(images.numel() / std::max<int64_t>(images.size(0), 1), 1);
  at::parallel_for(0, images.size(0), kGrain / each + 1,
                   [&](int64_t begin, int64_t end) { use(begin, ImagesOf(images, end - begin)); });
}

/// in * w for w [3, 3, channels, 8].
template <class T>
at::Tensor Convolve(const at::Tensor& in, const T* w, const T* bias) {
  const at::Tensor out = at::empty({in.size(0), in.size(2), in.size(3), kFew}, in.options());
  ForEachPart(in, [&](int64_t first, const kernels::Images& images) {
    const int64_t pixels = first * images.height * images.width;
    kernels::Convolve(in.data_ptr<T>() + pixels * images.channels, images, w, bias,
                      out.data_ptr<T>() + pixels * kFew);
  });
  return out.movedim(-1, 1);
}

/// The derivative by h of these sizes of a convolution with stride 2.
template <class T>
at::Tensor Spread(const at::Tensor& d, const T* w, at::IntArrayRef sizes) {
  const int64_t channels = sizes[1], height = sizes[2], width = sizes[3];
  const at::Tensor by_h = at::empty({sizes[0], height, width, channels}, d.options());
  ForEachPart(d, [&](int64_t first, const kernels::Images& images) {
    kernels::Spread(d.data_ptr<T>() + first * images.height * images.width * images.channels,
                    images, w, height, width, channels,
                    by_h.data_ptr<T>() + first * height * width * channels);
  });
  return by_h.movedim(-1, 1);
}

}  // namespace

bool MakesFewChannels(const at::Tensor& h, const at::Tensor& weight, int64_t stride,
                      int64_t padding) {
  return weight.size(0) == kFew && stride == 1 && Fits(h, weight, padding);
}

bool TakesFewChannels(const at::Tensor& d, const at::Tensor& weight, int64_t stride,
                      int64_t padding) {
  const int64_t in = weight.size(1);
  const bool few = (in == kFew && stride == 1) || (in <= 2 * kFew && in % kFew == 0 && stride == 2);
  return few && Fits(d, weight, padding);
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

at::Tensor ByFewInputs(const at::Tensor& d, const at::Tensor& weight, int64_t stride,
                       at::IntArrayRef sizes) {
  at::Tensor by_h;
  WithType(d, [&](auto number) {
    using T = decltype(number);
    if (stride == 1) {
      by_h = Convolve<T>(ChannelsTogether(d), InOrder<T>(weight, kTurned).data(), nullptr);
    } else {
      by_h = Spread<T>(ChannelsTogether(d), InOrder<T>(weight, kByPlace).data(), sizes);
    }
  });
  return by_h;
}

at::Tensor ByWeightToFew(const at::Tensor& h, const at::Tensor& d) {
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
