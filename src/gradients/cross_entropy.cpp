// Cross-entropy of softmax: L(z, y) = logsumexp(z) - z_y. With q = softmax(z), on a line of logits:
//   L'  = <q, z' - z'_y>
//   L'' = <q, (z' - <q, z'>)^2> + <q, z'' - z''_y>
// which keep their digits where the label is almost certain, and where z moves by u:
//   L(z + u) - L(z) = log1p(sum_c q_c expm1(u_c - u_y))
// exact also where u is small; far moves are made on the logits (kernels/kernels.h).

#include "config/registry.h"
#include "gradients/loss.h"
#include "kernels/kernels.h"

namespace sgdscope {
namespace {

class CrossEntropy : public Loss {
 public:
  at::Tensor Losses(const at::Tensor& z, const at::Tensor& labels) const override {
    return at::cross_entropy_loss(z, labels, {}, at::Reduction::None);
  }

  // The functions that autograd calls for Losses, without its book-keeping.
  std::pair<at::Tensor, at::Tensor> WithGradient(const at::Tensor& z, const at::Tensor& labels,
                                                 const at::Tensor& weights) const override {
    constexpr int64_t kNone = -100;  // ATen's label of what doesn't count
    const at::Tensor log_q = at::_log_softmax(z, 1, /*half_to_float=*/false);
    const auto [losses, total] =
        at::nll_loss_forward(log_q, labels, {}, at::Reduction::None, kNone);
    const at::Tensor by_log_q =
        at::nll_loss_backward(weights, log_q, labels, {}, at::Reduction::None, kNone, total);
    return {losses, at::_log_softmax_backward_data(by_log_q, log_q, 1, z.scalar_type())};
  }

  at::Tensor MeanChanges(const at::Tensor& z, const at::Tensor& labels, const at::Tensor& shift,
                         const at::Tensor& direction) const override {
    if (!z.is_cpu()) return Loss::MeanChanges(z, labels, shift, direction);
    const at::Tensor q = at::softmax(z, 1).t().contiguous();  // [classes, n]
    const at::Tensor logits = z.contiguous();
    const at::Tensor shifts = shift.contiguous();
    const at::Tensor directions = direction.contiguous();
    const at::Tensor changes = at::empty({shift.size(0)}, shift.options());
    kernels::CrossEntropyChanges(
        {logits.data_ptr<double>(), q.data_ptr<double>(), labels.data_ptr<int64_t>(),
         shifts.data_ptr<double>(), directions.data_ptr<double>(), shift.size(0), shift.size(1),
         z.size(1)},
        changes.data_ptr<double>());
    return changes.div(static_cast<double>(z.size(0)));
  }

  LineLosses AlongLine(const Line& z, const at::Tensor& labels, bool curvature) const override {
    const at::Tensor y = labels.unsqueeze(1);  // [n, 1]
    const at::Tensor value = z.value.to(at::kDouble);
    const at::Tensor moved = z.moved.to(at::kDouble);
    const at::Tensor slope = z.slope.to(at::kDouble);
    const at::Tensor log_q = at::log_softmax(value, 1);
    const at::Tensor q = log_q.exp();
    LineLosses losses;
    losses.value = At(log_q, y).neg();
    losses.moved = At(at::log_softmax(moved, 1), y).neg();
    const auto from_label = [&](const at::Tensor& of) { return of.sub(of.gather(1, y)); };
    const at::Tensor slopes = from_label(slope);
    losses.slope = q.mul(slopes).sum(1);
    if (!curvature) return losses;
    const at::Tensor from_mean = slopes.sub(losses.slope.unsqueeze(1));
    losses.curvature = q.mul(from_mean).mul(from_mean).sum(1);
    if (!z.curvature.defined()) return losses;
    const at::Tensor bends = from_label(z.curvature.to(at::kDouble));
    losses.curvature = losses.curvature.add(q.mul(bends).sum(1));
    return losses;
  }

 private:
  static at::Tensor At(const at::Tensor& z, const at::Tensor& y) {  // [n, classes] to [n]
    return z.gather(1, y).squeeze(1);
  }
};

const Registration<Loss, CrossEntropy> kRegistration("cross_entropy", "-log softmax(z)_y");

}  // namespace
}  // namespace sgdscope
