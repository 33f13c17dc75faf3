// Of a fully connected layer with input h [n, in], the gradient of a batch's mean loss has the parts
// d^T h [out, in] and d^T 1 [out], with the derivative d [n, out] by the output. So the output has,
// along the gradient itself, the slope and the curvature
//   z' = u + h' W^T,  u = h (h^T d) + 1 (1^T d),      z'' = h'' W^T + 2 h' (h^T d)
// where no weight is read but W, and  |g|^2 = sum over the layers of <d, u>. A product a (h^T d) is
// made in the cheaper order: (a h^T) d takes n (in + out) multiplications for an example, the other one
// 2 in out. Batches share the products with W, which for small ones is what takes the time.

#include "gradients/own_lines.h"

#include "nn/dense_chain.h"
#include "nn/product.h"
#include "nn/reduce.h"

namespace sgdscope {
namespace {

/// a (h^T d) of each batch [batches, n, out]: a and h [batches, n, in], d [batches, n, out].
at::Tensor TimesGradient(const at::Tensor& a, const at::Tensor& h, const at::Tensor& d) {
  const int64_t n = h.size(1), in = h.size(2), out = d.size(2);
  if (n * (in + out) < 2 * in * out) return at::bmm(at::bmm(a, h.transpose(1, 2)), d);
  return at::bmm(a, at::bmm(h.transpose(1, 2), d));
}

/// `sum` + a W^T [n, out].
at::Tensor Plus(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& weight) {
  const Matrix addend = Matrix::All(sum);
  return Times(a, Matrix::All(weight).Transposed(), &addend);
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
    const at::Tensor h = ByBatch(tap.input.detach());
    const at::Tensor by_batch = ByBatch(d);
    at::Tensor own = TimesGradient(h, h, by_batch);
    if (layer.Bias(pass_.theta).defined()) own = own.add(by_batch.sum(1, /*keepdim=*/true));
    own = own.flatten(0, 1);
    const at::Tensor norms = ExampleDots(own, d);
    norms_ = norms_.defined() ? norms_.add(norms) : norms;
    const at::Tensor weight = layer.Weight(pass_.theta);
    Line z{tap.output.detach(), own, {}, {}};
    if (line_.slope.defined()) {
      z.slope = Plus(own, line_.slope, weight);
      z.curvature = TimesGradient(ByBatch(line_.slope), h, by_batch).flatten(0, 1).mul(2);
    }
    if (line_.curvature.defined()) z.curvature = Plus(z.curvature, line_.curvature, weight);
    line_ = z;
  }

  /// From the loss of the logits.
  OwnCurvature End(const Loss& loss, const at::Tensor& labels) {
    line_.moved = line_.value;  // is not asked for
    const at::Tensor curvature = loss.AlongLine(line_, labels, /*curvature=*/true).curvature;
    return {ByBatch(curvature).mean(1), ByBatch(norms_).sum(1)};
  }

 private:
  /// [n, ...] as [batches, n / batches, ...].
  at::Tensor ByBatch(const at::Tensor& t) const {
    return t.unflatten(0, {batches_, t.size(0) / batches_});
  }

  LinePass pass_;
  int64_t batches_;
  Line line_;         // of the activations
  at::Tensor norms_;  // [n], whose sums over the batches are |g_B|^2, as far as the sweep has come
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
