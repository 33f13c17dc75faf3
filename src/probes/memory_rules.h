#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/fields.h"
#include "core/torch.h"

// Update rules that move by averages of gradients, and which flow they follow: backward error
// analysis of second order (Ghosh et al. 2023, "Implicit regularization in heavy-ball momentum
// accelerated stochastic gradient descent"; Cattaneo, Klusowski and Shigida 2024, "On the implicit
// bias of Adam"; Cattaneo and Shigida 2025, "How memory in optimization algorithms implicitly
// modifies the loss").
//
// Step n moves by theta_{n+1} = theta_n - s d_n, where d_n is made of the gradients g_j = grad
// C_j(theta_j) of the steps j <= n; C_j is the mean loss of step j's batch, H_j its Hessian. Call
// u_n(theta) what d_n would be if all of them had been taken at the same theta. The weights of step
// j <= n are theta_j = theta_n + s (u_j + ... + u_{n-1}) + O(s^2), all u at theta_n. So
//   d_n = u_n + s M_n + O(s^2),
// where M_n is the change of u_n as each g_j changes by H_j (u_j + ... + u_{n-1}). The flow
// d theta / dt = -f moves in the time s by -s f + (s^2 / 2) f' f: the step is one of the flow of
//   f_n = u_n + s (M_n + u_n' u_n / 2),
// but for O(s^3), and s (M_n + u_n' u_n / 2) is s times the change of u_n as
//   each g_j changes by H_j (u_j + ... + u_{n-1} + u_n / 2).                                   (1)
//
// On full batches, once the averages have forgotten their start, u depends on g = grad C alone, and
// g_j changes by (n - j + 1/2) H u. An exponential average with the weights (1 - beta) beta^{n-j}
// then changes by (1/2) phi(beta) H u,  phi(beta) = (1 + beta) / (1 - beta), and
//   f = u + (s / 2) D A H u                                                                    (2)
// with diagonal D [p] and factors A [p]:
//   heavy_ball  d = v,  v <- beta v + (1 - beta) g
//               u = g,  D = 1,  A = phi(beta)
//   nesterov    d = (1 - beta) g + beta v, v the same
//               u = g,  D = 1,  A = 1 - beta + beta phi(beta) = (1 - beta + 2 beta^2) / (1 - beta)
//   adam        d = m / (sqrt(q) + epsilon),  m <- beta1 m + (1 - beta1) g,
//                                             q <- beta2 q + (1 - beta2) g^2
//               u = D g,  D = 1 / (|g| + epsilon),  A = phi(beta1) - phi(beta2) |g| D
//   rmsprop     adam with beta1 = 0
// all but the first two as adam.cpp and rmsprop.cpp have them, and these as sgd.cpp has them with
// the rate times 1 - beta, so that they go as fast as gradient descent with the rate s (where A = 1).
// While a fresh adam corrects for its bias, phi(beta) is less by 2 t beta^t / (1 - beta^t) at its
// t-th step; a fresh rmsprop has sqrt(1 - beta2^t) |g| in place of |g| in u.
//
// H u is the gradient of a norm of g: of |g|^2 / 2 with momentum, where f is the gradient of
//   C + (s / 4) A |grad C|^2,
// and with adam and rmsprop of the perturbed one-norm
//   |g|_1,epsilon = sum_j (|g_j| - epsilon log(1 + |g_j| / epsilon)).
// It is lowered where A_j > 0 and raised where A_j < 0, that is where |g_j| / epsilon is above
// phi(beta1) / (phi(beta2) - phi(beta1)), which is soon so if beta2 > beta1. There is no loss whose
// gradient, over |g| + epsilon, f would be: A differs from weight to weight, on the left of H.

namespace sgdscope {

/// A vector [p] and its change along some direction [p].
struct Dual {
  at::Tensor value;
  at::Tensor change;
};

/// The averages of one rule at the pace of gradient descent, and equation 2 for it.
class MemoryRule {
 public:
  virtual ~MemoryRule() = default;

  /// u [p] of the gradient g [p] of the full batch.
  virtual at::Tensor Direction(const at::Tensor& g) const = 0;
  /// D [p].
  virtual at::Tensor Scale(const at::Tensor& g) const = 0;
  /// A [p].
  virtual at::Tensor Factors(const at::Tensor& g) const = 0;
  /// The norm of g whose gradient is H u, a scalar.
  virtual at::Tensor Norm(const at::Tensor& g) const = 0;

  /// Whether D is 1 and A the same for all weights: then it is that of C + (s / 4) A |grad C|^2.
  virtual bool HasScalar() const = 0;

  /// The averages after a long while in which the gradient was g + k s H u, k steps ago.
  virtual void Settle(const at::Tensor& g, const at::Tensor& h_u, double s) = 0;
  /// d of the next step, whose gradient is g, with its change as g and those before change by
  /// theirs. Without Settle the first step is the rule's first.
  virtual Dual Next(const Dual& g) = 0;
};

/// Fields `momentum`, `rules`, and those of the rules.
class MemoryRules {
 public:
  /// `measured`: what of each rule.
  void Fields(FieldVisitor& visitor, const std::string& measured);
  /// Throws an Error of kind kConfig where they contradict each other. `path`: of the probe.
  void Check(const std::string& path) const;
  /// The rules asked for: with momentum also the heavy ball.
  std::vector<std::string> names() const;
  /// One that has made no step.
  std::unique_ptr<MemoryRule> Make(const std::string& name) const;

 private:
  double momentum_ = 0;
  std::vector<std::string> others_;
  double beta1_ = 0.9;
  double beta2_ = 0.999;
  double epsilon_ = 1e-8;
};

}  // namespace sgdscope
