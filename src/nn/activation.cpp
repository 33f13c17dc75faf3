// Elementwise nonlinearities a(z). Along a line: a' = a'(z) z',  a'' = a'(z) z'' + a''(z) z'^2.

#include "nn/layer.h"

namespace sgdscope {
namespace {

class Elementwise : public Layer {
 public:
  at::Tensor Forward(const at::Tensor& z, const Pass&) const override { return Apply(z); }

  Line ForwardLine(const Line& z, const LinePass& pass) const override {
    Line h;
    h.value = Apply(z.value);
    if (z.moved.defined()) h.moved = Apply(z.moved);
    if (!z.slope.defined()) return h;
    const at::Tensor first = First(z.value, h.value);
    h.slope = z.slope.mul(first);
    if (pass.curvature) h.curvature = Curvature(z, h, first);
    return h;
  }

 protected:
  virtual at::Tensor Apply(const at::Tensor& z) const = 0;
  /// a'(z), given z and h = a(z).
  virtual at::Tensor First(const at::Tensor& z, const at::Tensor& h) const = 0;
  /// a''(z); undefined where it is zero almost everywhere.
  virtual at::Tensor Second(const at::Tensor&, const at::Tensor&) const { return {}; }

 private:
  at::Tensor Curvature(const Line& z, const Line& h, const at::Tensor& first) const {
    const at::Tensor second = Second(z.value, h.value);
    at::Tensor curvature;
    if (z.curvature.defined()) curvature = z.curvature.mul(first);
    if (!second.defined()) return curvature;
    const at::Tensor bend = z.slope.mul(z.slope).mul(second);
    return curvature.defined() ? curvature.add(bend) : bend;
  }
};

class Relu : public Elementwise {
 public:
  std::string Describe() const override { return "relu"; }

 protected:
  at::Tensor Apply(const at::Tensor& z) const override { return at::relu(z); }
  at::Tensor First(const at::Tensor& z, const at::Tensor&) const override {
    return z.gt(0).to(z.scalar_type());
  }
};

class Tanh : public Elementwise {
 public:
  std::string Describe() const override { return "tanh"; }

 protected:
  at::Tensor Apply(const at::Tensor& z) const override { return at::tanh(z); }
  at::Tensor First(const at::Tensor&, const at::Tensor& h) const override {
    return at::rsub(h.mul(h), 1);
  }
  at::Tensor Second(const at::Tensor& z, const at::Tensor& h) const override {
    return h.mul(First(z, h)).mul(-2);
  }
};

class Identity : public Layer {
 public:
  at::Tensor Forward(const at::Tensor& z, const Pass&) const override { return z; }
  Line ForwardLine(const Line& z, const LinePass&) const override { return z; }
  std::string Describe() const override { return "identity"; }
};

class Flatten : public Layer {
 public:
  at::Tensor Forward(const at::Tensor& h, const Pass&) const override { return Flat(h); }
  Line ForwardLine(const Line& h, const LinePass&) const override {
    return {Flat(h.value), Flat(h.slope), Flat(h.curvature), Flat(h.moved)};
  }
  std::string Describe() const override { return "flatten"; }

 private:
  static at::Tensor Flat(const at::Tensor& h) { return h.defined() ? h.flatten(1) : h; }
};

}  // namespace

std::vector<std::string> ActivationNames() { return {"relu", "tanh", "identity"}; }

std::unique_ptr<Layer> MakeActivation(const std::string& name) {
  if (name == "relu") return std::make_unique<Relu>();
  if (name == "tanh") return std::make_unique<Tanh>();
  return std::make_unique<Identity>();
}

std::unique_ptr<Layer> MakeFlatten() { return std::make_unique<Flatten>(); }

}  // namespace sgdscope
