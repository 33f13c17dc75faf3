#include "nn/flatten.h"

#include "nn/taps.h"

namespace sgdscope {
namespace {

class Flatten : public ElementwiseLayer {
 public:
  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    AddStep(pass, [sizes = h.sizes().vec()](const at::Tensor& d) { return d.reshape(sizes); });
    return Flat(h);
  }
  bool KnowsWayBack() const override { return true; }
  Line ForwardLine(const Line& h, const LinePass&) const override {
    return {Flat(h.value), Flat(h.slope), Flat(h.curvature), Flat(h.moved)};
  }
  std::string Describe() const override { return "flatten"; }

 private:
  static at::Tensor Flat(const at::Tensor& h) { return h.defined() ? h.flatten(1) : h; }
};

}  // namespace

std::unique_ptr<ElementwiseLayer> MakeFlatten() { return std::make_unique<Flatten>(); }

}  // namespace sgdscope
