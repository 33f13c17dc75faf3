// Fully connected layer: z = h W^T + b.
// With dz = dL/dz [n, out]:  dL/dW = dz^T h [out, in],  dL/db = sum_i dz_i [out].
// The gradient of example i alone is the outer product of dz_i and (h_i, 1), so that
//   |g_i|^2 = |dz_i|^2 (|h_i|^2 + 1),   <g_i, g_j> = <dz_i, dz_j> (<h_i, h_j> + 1),
//   <g_i, v> = <dz_i, V h_i + v_b>   (Goodfellow, "Efficient per-example gradient computations",
//   2015).
// Along theta + s (dW, db), with h(s):  z'  = h' W^T + h dW^T + db,   z'' = h'' W^T + 2 h' dW^T at
// s = 0.

#include "nn/linear.h"

#include <algorithm>
#include <utility>

#include "nn/product.h"
#include "nn/reduce.h"
#include "nn/taps.h"

namespace sgdscope {
namespace {

/// NaN where x is not finite.
at::Tensor Signs(const at::Tensor& x) { return x.sign().add(x.mul(0)); }

class Linear : public DenseLayer {
 public:
  Linear(ParameterTable& table, const std::string& name, int64_t in, int64_t out, bool bias)
      : in_(in), out_(out), bias_(bias) {
    weight_offset_ = table.Add(name + ".weight", {out, in}, in, out, false);
    if (bias) bias_offset_ = table.Add(name + ".bias", {out}, in, out, true);
  }

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    const at::Tensor z = Recorded(*this, h, Affine(h, pass.theta), pass);
    if (pass.back != nullptr) AddStep(pass);
    return z;
  }

  at::Tensor ForwardPositive(const at::Tensor& h, const Pass& pass) const override {
    const Matrix bias = Biases(pass.theta);
    at::Tensor z;
    const bool recorded = pass.taps != nullptr;
    at::Tensor positive =
        PositiveTimes(h, Weights(pass.theta), bias_ ? &bias : nullptr, recorded ? &z : nullptr);
    if (recorded) Recorded(*this, h, z, pass);
    if (pass.back == nullptr) return positive;
    AddStep(pass);
    pass.back->positive = positive;
    return positive;
  }

  bool KnowsWayBack() const override { return true; }

  Line ForwardLine(const Line& h, const LinePass& pass) const override {
    const Matrix weight = Weights(pass.theta);
    Line z;
    z.value = ValueOnLine(*this, h.value, pass,
                          [&](const at::Tensor& rest) { return Affine(rest, pass.theta); });
    z.slope = Affine(h.value, pass.direction).mul(pass.scale);
    if (h.slope.defined()) z.slope = Plus(z.slope, h.slope, weight);
    if (pass.curvature && h.slope.defined()) {
      z.curvature = Times(h.slope, Weights(pass.direction)).mul(2 * pass.scale);
      if (h.curvature.defined()) z.curvature = Plus(z.curvature, h.curvature, weight);
    }
    z.moved = Moved(h, z, pass);
    return z;
  }

  void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                     const at::Tensor& gradient) const override {
    const Matrix d = Matrix::All(output_gradient);
    Multiply(d.Transposed(), Matrix::All(tap.input), Weights(gradient).Transposed());
    if (bias_) SumRows(output_gradient, Biases(gradient));
  }

  void AddGradient(const Tap& tap, const at::Tensor& output_gradient, double scale,
                   const at::Tensor& to) const override {
    const Matrix d = Matrix::All(output_gradient);
    AddMultipleOfProduct(d.Transposed(), Matrix::All(tap.input), scale, Weights(to).Transposed());
    if (bias_) AddMultipleOfRows(output_gradient, scale, Biases(to));
  }

  at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const override {
    return Affine(tap.input, v);
  }

  void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope, const at::Tensor& d,
                          const at::Tensor& d_slope, const at::Tensor& slope) const override {
    WriteGradient(tap, d_slope, slope);
    if (!input_slope.defined()) return;
    Multiply(Matrix::All(d).Transposed(), Matrix::All(input_slope), Weights(slope).Transposed(),
             /*add=*/true);
  }

  at::Tensor SquaredNorms(const Tap& tap, const at::Tensor& d) const override {
    const at::Tensor h = tap.input.detach();
    const at::Tensor inputs = ExampleDots(h, h);
    return ExampleDots(d, d).mul(bias_ ? inputs.add(1) : inputs);
  }

  at::Tensor Dots(const Tap& tap, const at::Tensor& d, const at::Tensor& v) const override {
    return ExampleDots(Affine(tap.input.detach(), v), d);
  }

  at::Tensor Gram(const Tap& tap, const at::Tensor& d) const override {
    const at::Tensor inputs = Products(tap.input.detach());
    return Products(d).mul(bias_ ? inputs.add(1) : inputs);
  }

  void ForEachTile(const Tap& tap, const at::Tensor& d, int64_t groups, int64_t max_numbers,
                   const UseTile& use) const override {
    const int64_t most = std::max<int64_t>(max_numbers / groups, 1);  // coordinates at a time
    const at::Tensor h = tap.input.detach().reshape({groups, -1, in_});
    const at::Tensor dz = d.reshape({groups, -1, out_}).transpose(1, 2);  // [groups, out, n/groups]
    const int64_t units = std::max<int64_t>(most / in_, 1);
    const int64_t columns = std::min(most, in_);
    for (int64_t o = 0; o < out_; o += units) {
      const at::Tensor some = dz.narrow(1, o, std::min(units, out_ - o));
      for (int64_t j = 0; j < in_; j += columns) {
        const at::Tensor inputs = h.narrow(2, j, std::min(columns, in_ - j));
        use(weight_offset_ + o * in_ + j, at::bmm(some, inputs).flatten(1));
      }
    }
    if (!bias_) return;
    const at::Tensor sums = dz.sum(2);  // [groups, out]
    for (int64_t o = 0; o < out_; o += most) {
      use(bias_offset_ + o, sums.narrow(1, o, std::min(most, out_ - o)));
    }
  }

  void Reduce(const Tap& tap, const at::Tensor& d, const kernels::Reduction& how, int64_t,
              const at::Tensor& out) const override {
    const at::Tensor h = tap.input.detach();
    if (how.kind == kernels::Reduction::Kind::kSigns) {  // of a product: the product of the signs
      return WriteGradient({this, Signs(h), {}}, Signs(d), out);
    }
    ReduceOuter(d, h, how, Weight(out));
    if (bias_) ReduceColumns(d, how, Bias(out));
  }

  void WriteSquares(const Tap& tap, const at::Tensor& d, int64_t,
                    const at::Tensor& out) const override {  // of a product: that of the squares
    WriteGradient({this, tap.input.detach().square(), {}}, d.square(), out);
  }

  at::Tensor Weight(const at::Tensor& v) const override {
    return v.narrow(0, weight_offset_, out_ * in_).view({out_, in_});
  }
  at::Tensor Bias(const at::Tensor& v) const override {
    return bias_ ? v.narrow(0, bias_offset_, out_) : at::Tensor();
  }

  std::string Describe() const override {
    return "linear " + std::to_string(in_) + " -> " + std::to_string(out_) +
           (bias_ ? "" : " (no bias)");
  }

 private:
  void AddStep(const Pass& pass) const {
    AddWayBack(pass, [this, theta = pass.theta,
                      h = std::exchange(pass.back->positive, {})](const at::Tensor& d) {
      const Matrix weight = Weights(theta).Transposed();
      return h.defined() ? MaskedTimes(d, weight, h) : Times(d, weight);
    });
  }

  static at::Tensor Products(const at::Tensor& rows) {  // [n, n], of all pairs of rows
    const at::Tensor exact = rows.to(at::kDouble);
    return at::mm(exact, exact.t());
  }

  /// Of v [p], W^T [in, out] and b [1, out].
  Matrix Weights(const at::Tensor& v) const {
    return Matrix::Piece(v, weight_offset_, out_, in_).Transposed();
  }
  Matrix Biases(const at::Tensor& v) const { return Matrix::Piece(v, bias_offset_, 1, out_); }

  /// h W^T + b with the W and b of v [p].
  at::Tensor Affine(const at::Tensor& h, const at::Tensor& v) const {
    if (!bias_) return Times(h, Weights(v));
    const Matrix bias = Biases(v);
    return Times(h, Weights(v), &bias);
  }

  /// sum + h W^T.
  static at::Tensor Plus(const at::Tensor& sum, const at::Tensor& h, const Matrix& weight) {
    const Matrix addend = Matrix::All(sum);
    return Times(h, weight, &addend);
  }

  at::Tensor Moved(const Line& h, const Line& z, const LinePass& pass) const {
    // z is affine in (W, b): where the input stays, the slope is the whole change.
    if (!h.moved.defined()) return z.value.add(z.slope);
    const at::Tensor weight = at::add(Weight(pass.theta), Weight(pass.direction), pass.scale);
    const Matrix weights = Matrix::All(weight).Transposed();
    if (!bias_) return Times(h.moved, weights);
    const at::Tensor bias = at::add(Bias(pass.theta), Bias(pass.direction), pass.scale);
    const Matrix biases = Matrix::Piece(bias, 0, 1, out_);
    return Times(h.moved, weights, &biases);
  }

  int64_t in_;
  int64_t out_;
  bool bias_;
  int64_t weight_offset_ = 0;
  int64_t bias_offset_ = 0;
};

}  // namespace

std::unique_ptr<DenseLayer> MakeLinear(ParameterTable& table, const std::string& name, int64_t in,
                                       int64_t out, bool bias) {
  return std::make_unique<Linear>(table, name, in, out, bias);
}

}  // namespace sgdscope
