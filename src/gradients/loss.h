#pragma once

#include <memory>
#include <string>
#include <utility>

#include "config/fields.h"
#include "core/torch.h"
#include "nn/layer.h"

namespace sgdscope {

/// Per-example losses on a line, each [n] in double (see Line): value, first and second derivative
/// by s at s = 0 (second: undefined unless asked for), and value at s = 1.
struct LineLosses {
  at::Tensor value;
  at::Tensor slope;
  at::Tensor curvature;
  at::Tensor moved;
};

/// Loss of one example, a function of its logits z [n, classes] and label [n], or, where the loss
/// takes them, targets [n, classes]; leaves register by name.
class Loss : public Configurable {
 public:
  /// Whether it takes targets, floating-point numbers, in place of labels.
  virtual bool TakesTargets() const { return false; }
  /// Losses [n], differentiable by z, in the type of z.
  virtual at::Tensor Losses(const at::Tensor& z, const at::Tensor& labels) const = 0;
  /// Means over the batch [m] of L(z + shift[v, i] direction[v]) - L(z), i the example: m ways to
  /// move all logits along one direction. shift: [m, n]; direction: [m, classes]; all of them
  /// double.
  virtual at::Tensor MeanChanges(const at::Tensor& z, const at::Tensor& labels,
                                 const at::Tensor& shift, const at::Tensor& direction) const;
  /// Losses on a line of logits, in double.
  virtual LineLosses AlongLine(const Line& z, const at::Tensor& labels, bool curvature) const = 0;
  /// What Losses gives, and the derivative of their sum weighted with weights [n] by z; no graph, and
  /// to the bit what autograd finds. As it stands, by autograd.
  virtual std::pair<at::Tensor, at::Tensor> WithGradient(const at::Tensor& z,
                                                         const at::Tensor& labels,
                                                         const at::Tensor& weights) const;
};

/// The labels or targets of so many copies of the batch, one after another.
at::Tensor Repeated(const at::Tensor& labels, int64_t times);

/// The mean of per-example losses [n], in double: the one place that averages. Returns a scalar
/// tensor.
inline at::Tensor MeanLoss(const at::Tensor& losses) { return losses.mean(at::kDouble); }

}  // namespace sgdscope
