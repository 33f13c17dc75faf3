// Pooling of images [n, c, height, width]. Along a line the maximum follows the pixel that holds it
// at s = 0, so its derivatives are that pixel's; the mean is linear.

#include "nn/pool2d.h"

namespace sgdscope {
namespace {

class MaxPool2d : public Layer {
 public:
  MaxPool2d(int64_t kernel, int64_t stride) : kernel_(kernel), stride_(stride) {}

  at::Tensor Forward(const at::Tensor& h, const Pass&) const override { return Pool(h); }

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
    return at::max_pool2d(h, {kernel_, kernel_}, {stride_, stride_});
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
  at::Tensor Forward(const at::Tensor& h, const Pass&) const override { return Mean(h); }
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
