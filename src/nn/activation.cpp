// Elementwise nonlinearities a(z). Along a line: a' = a'(z) z',  a'' = a'(z) z'' + a''(z) z'^2.

#include "nn/activation.h"

#include "nn/gelu.h"
#include "nn/taps.h"

namespace sgdscope {
namespace {

class Nonlinearity : public ElementwiseLayer {
 public:
  at::Tensor Forward(const at::Tensor& z, const Pass& pass) const override {
    const at::Tensor h = Apply(z);
    AddStep(pass, [this, h](const at::Tensor& d) { return Back(d, h); });
    return h;
  }

  bool KnowsWayBack() const override { return true; }

  Line ForwardLine(const Line& z, const LinePass& pass) const override {
    Line h;
    h.value = Apply(z.value);
    if (z.moved.defined()) h.moved = Apply(z.moved);
    if (!z.slope.defined()) return h;
    h.slope = Scale(z.slope, h.value);
    if (!pass.curvature) return h;
    if (z.curvature.defined()) h.curvature = Scale(z.curvature, h.value);
    const at::Tensor bend = Bend(z.slope, h);
    if (!bend.defined()) return h;
    h.curvature = h.curvature.defined() ? h.curvature.add(bend) : bend;
    return h;
  }

 protected:
  virtual at::Tensor Apply(const at::Tensor& z) const = 0;
  /// a'(z) t, given h = a(z).
  virtual at::Tensor Scale(const at::Tensor& t, const at::Tensor& h) const = 0;
  /// a'(z) d, given h = a(z), with the roundings of autograd.
  virtual at::Tensor Back(const at::Tensor& d, const at::Tensor& h) const = 0;
  /// a''(z) z'^2, given z', h and h'; undefined where a'' is zero almost everywhere.
  virtual at::Tensor Bend(const at::Tensor& z_slope, const Line& h) const = 0;
};

class Relu : public Nonlinearity {
 public:
  bool IsPositivePart() const override { return true; }
  std::string Describe() const override { return "relu"; }

 protected:
  at::Tensor Apply(const at::Tensor& z) const override { return at::relu(z); }
  at::Tensor Scale(const at::Tensor& t, const at::Tensor& h) const override {
    return at::threshold_backward(t, h, 0);  // t where h > 0, else 0, in one pass
  }
  at::Tensor Back(const at::Tensor& d, const at::Tensor& h) const override { return Scale(d, h); }
  at::Tensor Bend(const at::Tensor&, const Line&) const override { return {}; }
};

class Tanh : public Nonlinearity {
 public:
  std::string Describe() const override { return "tanh"; }

 protected:
  at::Tensor Apply(const at::Tensor& z) const override { return at::tanh(z); }
  at::Tensor Scale(const at::Tensor& t, const at::Tensor& h) const override {  // (1 - h^2) t
    return t.mul(at::rsub(h.mul(h), 1));
  }
  at::Tensor Back(const at::Tensor& d, const at::Tensor& h) const override {
    return at::tanh_backward(d, h);
  }
  at::Tensor Bend(const at::Tensor& z_slope, const Line& h) const override {  // -2 h (1 - h^2) z'^2
    return h.value.mul(z_slope).mul(h.slope).mul(-2);
  }
};

class Identity : public ElementwiseLayer {
 public:
  at::Tensor Forward(const at::Tensor& z, const Pass&) const override { return z; }
  bool KnowsWayBack() const override { return true; }
  Line ForwardLine(const Line& z, const LinePass&) const override { return z; }
  std::string Describe() const override { return "identity"; }
};

}  // namespace

std::vector<std::string> ActivationNames() {
  return {"relu", "tanh", "gelu", "gelu_tanh", "identity"};
}

std::unique_ptr<ElementwiseLayer> MakeActivation(const std::string& name) {
  if (name == "relu") return std::make_unique<Relu>();
  if (name == "tanh") return std::make_unique<Tanh>();
  if (name == "gelu") return MakeGelu();
  if (name == "gelu_tanh") return MakeGeluTanh();
  return std::make_unique<Identity>();
}

}  // namespace sgdscope
