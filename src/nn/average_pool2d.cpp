// Means over windows of images [n, c, height, width]: linear, so that along a line the derivatives
// are means, too.

#include "nn/average_pool2d.h"

namespace sgdscope {
namespace {

class AveragePool2d : public Layer {
 public:
  AveragePool2d(int64_t kernel, int64_t stride) : kernel_(kernel), stride_(stride) {}

  at::Tensor Forward(const at::Tensor& h, const Pass&) const override { return Pool(h); }

  Line ForwardLine(const Line& h, const LinePass&) const override {
    return {Pool(h.value), Pool(h.slope), Pool(h.curvature), Pool(h.moved)};
  }

  std::string Describe() const override {
    return "average pool " + std::to_string(kernel_) + " x " + std::to_string(kernel_) +
           ", stride " + std::to_string(stride_);
  }

 private:
  at::Tensor Pool(const at::Tensor& h) const {
    return h.defined() ? at::avg_pool2d(h, {kernel_, kernel_}, {stride_, stride_}) : h;
  }

  int64_t kernel_;
  int64_t stride_;
};

}  // namespace

std::unique_ptr<Layer> MakeAveragePool2d(int64_t kernel, int64_t stride) {
  return std::make_unique<AveragePool2d>(kernel, stride);
}

}  // namespace sgdscope
