// Pooling of images [n, c, height, width]. Along a line the maximum follows the pixel that holds it
// at s = 0, so its derivatives are that pixel's; the mean is linear.

#include "nn/pool2d.h"

#include <ATen/Parallel.h>

#include "kernels/pool.h"
#include "nn/channels.h"
#include "nn/taps.h"

namespace sgdscope {
namespace {

class MaxPool2d : public Layer {
 public:
  MaxPool2d(int64_t kernel, int64_t stride) : kernel_(kernel), stride_(stride) {}

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    if (at::GradMode::is_enabled()) return Pool(h);
    if (h.is_cpu()) return ByKernel(h, /*positive=*/false, pass);
    const auto [value, places] =
        at::max_pool2d_with_indices(h, {kernel_, kernel_}, {stride_, stride_});
    AddStep(pass, [this, h, places = places](const at::Tensor& d) {
      return at::max_pool2d_with_indices_backward(d, h, {kernel_, kernel_}, {stride_, stride_},
                                                  {0, 0}, {1, 1}, /*ceil_mode=*/false, places);
    });
    return value;
  }

  bool TakesPositivePart() const override { return true; }
  at::Tensor ForwardOfPositive(const at::Tensor& z, const Pass& pass) const override {
    return z.is_cpu() ? ByKernel(z, /*positive=*/true, pass) : Layer::ForwardOfPositive(z, pass);
  }

  bool KnowsWayBack() const override { return true; }

  Line ForwardLine(const Line& h, const LinePass&) const override {
    const auto [value, places] =
        at::max_pool2d_with_indices(h.value, {kernel_, kernel_}, {stride_, stride_});
    return {value, At(places, h.slope), At(places, h.curvature),
            h.moved.defined() ? Pool(h.moved) : h.moved};
  }

  std::string Describe() const override {
    return "max pool " + std::to_string(kernel_) + " x " + std::to_string(kernel_) + ", stride " +
           std::to_string(stride_);
  }

 private:
  at::Tensor Pool(const at::Tensor& h) const {
    // In the order of the kernel's images: that of the sums behind them.
    return at::max_pool2d(h.is_cpu() ? ChannelsTogether(h) : h, {kernel_, kernel_},
                          {stride_, stride_});
  }

  /// Pool of h, or of its positive part. The way back looks for the largest pixels again, which is
  /// less to read than their places.
  at::Tensor ByKernel(const at::Tensor& h, bool positive, const Pass& pass) const {
    const at::Tensor images = ChannelsTogether(h);
    const kernels::Windows windows = {h.size(2), h.size(3), h.size(1), kernel_, stride_, positive};
    const at::Tensor out =
        at::empty({h.size(0), windows.out_height(), windows.out_width(), h.size(1)}, h.options())
            .movedim(-1, 1);
    ForEachImage(images, [&](int64_t i, auto* pixels) {
      auto* const to = DataLike(pixels, out);
      kernels::MaxPool(pixels, windows, to + i * (out.numel() / out.size(0)));
    });
    AddStep(pass, [images, windows](const at::Tensor& given) {
      const at::Tensor d = ChannelsTogether(given), by_h = RoomFor(images);
      const int64_t each = d.numel() / d.size(0);
      ForEachImage(images, [&](int64_t i, auto* pixels) {
        auto* const to = DataLike(pixels, by_h) + i * (by_h.numel() / by_h.size(0));
        kernels::MaxPoolBack(pixels, DataLike(pixels, d) + i * each, windows, to);
      });
      return by_h;
    });
    return out;
  }

  template <class T>
  static T* DataLike(T*, const at::Tensor& tensor) {
    return tensor.data_ptr<T>();
  }

  /// Calls use(i, pixels) for each image of float or double, side by side on the threads.
  template <class Use>
  static void ForEachImage(const at::Tensor& images, const Use& use) {
    const auto run = [&](auto* first) {
      constexpr int64_t kGrain = 1 << 15;  // numbers worth a thread
      const int64_t each = images.numel() / images.size(0);
      at::parallel_for(0, images.size(0), kGrain / each + 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) use(i, first + i * each);
      });
    };
    if (images.scalar_type() == at::kDouble) {
      run(images.data_ptr<double>());
    } else {
      run(images.data_ptr<float>());
    }
  }

  /// Of t [n, c, height, width], the pixels at `places` [n, c, ...], which count through an image.
  static at::Tensor At(const at::Tensor& places, const at::Tensor& t) {
    if (!t.defined()) return t;
    return t.flatten(2).gather(2, places.flatten(2)).view(places.sizes());
  }

  int64_t kernel_;
  int64_t stride_;
};

class GlobalAveragePool : public Layer {
 public:
  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    AddStep(pass, [sizes = h.sizes().vec()](const at::Tensor& d) {
      const auto pixels = static_cast<double>(sizes[2] * sizes[3]);
      return d.unsqueeze(2).unsqueeze(3).expand(sizes).div(pixels);
    });
    return Mean(h);
  }
  bool KnowsWayBack() const override { return true; }
  Line ForwardLine(const Line& h, const LinePass&) const override {
    return {Mean(h.value), Mean(h.slope), Mean(h.curvature), Mean(h.moved)};
  }
  std::string Describe() const override { return "global average pool"; }

 private:
  static at::Tensor Mean(const at::Tensor& h) {
    return h.defined() ? h.mean(at::IntArrayRef({2, 3})) : h;
  }
};

}  // namespace

std::unique_ptr<Layer> MakeMaxPool2d(int64_t kernel, int64_t stride) {
  return std::make_unique<MaxPool2d>(kernel, stride);
}

std::unique_ptr<Layer> MakeGlobalAveragePool() { return std::make_unique<GlobalAveragePool>(); }

}  // namespace sgdscope
