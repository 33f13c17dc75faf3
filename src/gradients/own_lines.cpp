// Of a fully connected layer with input h [n, in], the gradient of a batch's mean loss has the parts
// d^T h [out, in] and d^T 1 [out], with the derivative d [n, out] by the output. So the output has,
// along the gradient itself, the slope and the curvature
//   z' = u + h' W^T,  u = h (h^T d) + 1 (1^T d),      z'' = h'' W^T + 2 h' (d^T h)^T
// where no weight is read but W, and  |g|^2 = sum over the layers of <d, u>. The second part of z''
// makes of the mean loss  2 <d, h' (d^T h)^T> = 2 <d (d^T h), h'>,  whatever the layers behind it do:
// d knows them. What is left of z'' comes from the bends of the activations alone, and where these are
// piecewise linear nothing is.
// h (h^T d) and d (d^T h) are made in the cheaper order: (h h^T) d and (d d^T) h take 2 n (in + out)
// multiplications for an example, the others, which share d^T h, 3 in out. Batches share the products
// with W, which for small ones is what takes the time.

#include "gradients/own_lines.h"

#include <algorithm>

#include "nn/dense_chain.h"
#include "nn/product.h"
#include "nn/reduce.h"

namespace sgdscope {
namespace {

/// Batch `k` of t [batches, rows, columns].
Matrix Of(const at::Tensor& t, int64_t k) {
  return {&t, k * t.stride(0), t.size(1), t.size(2), t.stride(1), t.stride(2)};
}

/// Writes a b of each batch to `out`: [batches, rows, k] times [batches, k, columns].
void MultiplyByBatch(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) {
  for (int64_t k = 0; k < a.size(0); ++k) Multiply(Of(a, k), Of(b, k), Of(out, k));
}

at::Tensor TimesByBatch(const at::Tensor& a, const at::Tensor& b) {
  if (!a.is_cpu()) return at::bmm(a, b);
  at::Tensor out = at::empty({a.size(0), a.size(1), b.size(2)}, a.options());
  MultiplyByBatch(a, b, out);
  return out;
}

/// a a^T of each batch [batches, n, n], of a [batches, n, k]: blocks of columns from the diagonal on,
/// the rest of which are mirrored.
at::Tensor GramsByBatch(const at::Tensor& a) {
  constexpr int64_t kColumns = 32;  // that are multiplied together
  const at::Tensor transposed = a.transpose(1, 2);
  if (!a.is_cpu()) return at::bmm(a, transposed);
  const int64_t n = a.size(1);
  at::Tensor out = at::empty({a.size(0), n, n}, a.options());
  for (int64_t begin = 0; begin < n; begin += kColumns) {
    const int64_t end = std::min(begin + kColumns, n);
    const at::Tensor columns = out.narrow(2, begin, end - begin);
    MultiplyByBatch(a.slice(1, begin), transposed.slice(2, begin, end), columns.slice(1, begin));
    out.slice(1, begin, end).slice(2, end).copy_(columns.slice(1, end).transpose(1, 2));
  }
  return out;
}

/// Products with a layer's part d^T h of each batch's gradient.
struct OwnProducts {
  at::Tensor with_inputs;   // h (h^T d) [batches, n, out]
  at::Tensor with_outputs;  // d (d^T h) [batches, n, in]
};

/// h: [batches, n, in]; d: [batches, n, out]. `both`: else only the one with the inputs.
OwnProducts WithGradients(const at::Tensor& h, const at::Tensor& d, bool both) {
  const int64_t n = h.size(1), in = h.size(2), out = d.size(2);
  const int64_t by_examples = (both ? 2 : 1) * n * (in + out);
  const int64_t by_weights = (both ? 3 : 2) * in * out;
  if (by_examples < by_weights) {
    return {TimesByBatch(GramsByBatch(h), d),
            both ? TimesByBatch(GramsByBatch(d), h) : at::Tensor()};
  }
  const at::Tensor gradients = TimesByBatch(d.transpose(1, 2), h);
  return {TimesByBatch(h, gradients.transpose(1, 2)),
          both ? TimesByBatch(d, gradients) : at::Tensor()};
}

/// The sweep through a chain of layers.
class Sweep {
 public:
  Sweep(const at::Tensor& theta, int64_t batches)
      : pass_{theta, {}, 1, /*curvature=*/true}, batches_(batches) {}

  void Through(const Layer& layer) {
    if (line_.slope.defined()) line_ = layer.ForwardLine(line_, pass_);  // else nothing moves yet
  }

  /// d: of the mean losses, by the output of the tap.
  void ThroughDense(const DenseLayer& layer, const Tap& tap, const at::Tensor& d) {
    const bool moves = line_.slope.defined();  // the input
    const auto [with_inputs, with_outputs] =
        WithGradients(ByBatch(tap.input.detach()), ByBatch(d), moves);
    at::Tensor own = with_inputs;
    if (layer.Bias(pass_.theta).defined()) own = own.add(ByBatch(d).sum(1, /*keepdim=*/true));
    own = own.flatten(0, 1);
    AddTo(norms_, ExampleDots(own, d));
    const at::Tensor weights = layer.Weight(pass_.theta);
    const Matrix weight = Matrix::All(weights).Transposed();
    Line z{tap.output.detach(), own, {}, {}};
    if (moves) {
      AddTo(bends_, ExampleDots(line_.slope, with_outputs.flatten(0, 1)));
      const Matrix addend = Matrix::All(own);
      z.slope = Times(line_.slope, weight, &addend);
    }
    if (line_.curvature.defined()) z.curvature = Times(line_.curvature, weight);
    line_ = z;
  }

  /// From the loss of the logits.
  OwnCurvature End(const Loss& loss, const at::Tensor& labels) {
    line_.moved = line_.value;  // is not asked for
    const at::Tensor curvature = loss.AlongLine(line_, labels, /*curvature=*/true).curvature;
    at::Tensor products = ByBatch(curvature).mean(1);
    if (bends_.defined()) products = products.add(ByBatch(bends_).sum(1), 2);
    return {products, ByBatch(norms_).sum(1)};
  }

 private:
  /// [n, ...] as [batches, n / batches, ...].
  at::Tensor ByBatch(const at::Tensor& t) const {
    return t.unflatten(0, {batches_, t.size(0) / batches_});
  }

  static void AddTo(at::Tensor& sum, const at::Tensor& more) {
    sum = sum.defined() ? sum.add(more) : more;
  }

  LinePass pass_;
  int64_t batches_;
  Line line_;  // of the activations; without the parts of z'' that are in bends_
  // [n], whose sums over the batches are these, as far as the sweep has come:
  at::Tensor norms_;  // |g_B|^2
  at::Tensor bends_;  // <d (d^T h), h'>
};

}  // namespace

OwnCurvature AlongOwnGradients(const Oracle& oracle, const Batch& joined, const at::Tensor& theta,
                               const Gradients& evaluated) {
  at::NoGradGuard no_grad;
  Sweep sweep(theta, joined.parts.empty() ? 1 : static_cast<int64_t>(joined.parts.size()));
  size_t tap = 0;
  for (const Layer* layer : ChainOf(*oracle.network().root)) {
    if (const auto* dense = dynamic_cast<const DenseLayer*>(layer)) {
      sweep.ThroughDense(*dense, evaluated.taps[tap], evaluated.output_gradients[tap]);
      ++tap;
    } else {
      sweep.Through(*layer);
    }
  }
  return sweep.End(oracle.loss(), joined.labels);
}

}  // namespace sgdscope
