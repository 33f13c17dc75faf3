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
// C_j(theta_j) of the steps j <= n, and with decoupled weight decay lambda also of lambda theta_n;
// C_j is the mean loss of step j's batch, H_j its Hessian. Call u_n(theta) what d_n would be if all
// of them had been taken at the same theta. The weights of step j <= n are
// theta_j = theta_n + s (u_j + ... + u_{n-1}) + O(s^2), all u at theta_n. So
//   d_n = u_n + s M_n + O(s^2),
// where M_n is the change of u_n as each g_j changes by H_j (u_j + ... + u_{n-1}). The flow
// d theta / dt = -f moves in the time s by -s f + (s^2 / 2) f' f: the step is one of the flow of
//   f_n = u_n + s (M_n + u_n' u_n / 2),
// but for O(s^3), and s (M_n + u_n' u_n / 2) is s times the change of u_n as
//   each g_j changes by H_j (u_j + ... + u_{n-1} + u_n / 2), and theta_n by u_n / 2.           (1)
//
// On full batches, once the averages have forgotten their start, u depends on g = grad C and on the
// decay alone, and g_j changes by (n - j + 1/2) H u. An exponential average with the weights
// (1 - beta) beta^{n-j} then changes by (1/2) phi(beta) H u,  phi(beta) = (1 + beta) / (1 - beta), and
//   f = u + (s / 2) (D A H u + lambda u)                                                       (2)
// with diagonal D [p] and factors A [p], and lambda = 0 but in adamw:
//   heavy_ball  d = v,  v <- beta v + (1 - beta) g
//               u = g,  D = 1,  A = phi(beta)
//   nesterov    d = (1 - beta) g + beta v, v the same
//               u = g,  D = 1,  A = 1 - beta + beta phi(beta) = (1 - beta + 2 beta^2) / (1 - beta)
//   adam        d = m / (sqrt(q) + epsilon),  m <- beta1 m + (1 - beta1) g,
//                                             q <- beta2 q + (1 - beta2) g^2
//               u = D g,  D = 1 / (|g| + epsilon),  A = phi(beta1) - phi(beta2) |g| D
//   rmsprop     adam with beta1 = 0
//   adamw       d = adam's + lambda theta;  u = D g + lambda theta,  D and A of adam
//   rmsprop_momentum
//               d = v,  v <- beta v + (1 - beta) rmsprop's d
//               u, D of rmsprop,  A = phi(beta) - (phi(beta2) + phi(beta) - 1) |g| D:
//               each of rmsprop's d in v has all its gradients so many steps further back
// those of momentum as sgd.cpp and rmsprop.cpp have them with the rate times 1 - beta, so that they
// go as fast as with the rate s without it, the others as adam.cpp and rmsprop.cpp have them.
// While a fresh adam corrects for its bias, phi(beta) is less by 2 t beta^t / (1 - beta^t) at its
// t-th step; a fresh rmsprop has sqrt(1 - beta2^t) |g| in place of |g| in u.
//
// A step of -s u alone, which remembers nothing, follows u + (s / 2) u' u, where u' = D a H + lambda
// with a = 1 of momentum and a = 1 - |g| D of the others. So f is followed, without memory, by
//   u + s M,  M = D (A - a) H u / 2:                                                           (3)
// the memoryless iteration of Cattaneo and Shigida.
//
// Without decay H u is the gradient of a norm of g: of |g|^2 / 2 with momentum, where f is the
// gradient of
//   C + (s / 4) A |grad C|^2,
// and with adam and rmsprop of the perturbed one-norm
//   |g|_1,epsilon = sum_j (|g_j| - epsilon log(1 + |g_j| / epsilon)).
// It is lowered where A_j > 0 and raised where A_j < 0, that is where |g_j| / epsilon is above
// phi(beta1) / (phi(beta2) - phi(beta1)), which is soon so if beta2 > beta1. There is no loss whose
// gradient, over |g| + epsilon, f would be: A differs from weight to weight, on the left of H. With
// decay H u is the gradient of that norm + lambda (<theta, grad C> - C).
//
// On mini-batches in random order what adam and rmsprop hold is no function of grad C. Momentum is
// linear: with l = beta / (1 - beta), or beta^2 / (1 - beta) of nesterov, A = 1 + 2 l, and
//   y_n = theta_n - s l v_{n-1},  where theta would come to rest without further gradients,
// moves by y_{n+1} = y_n - s g_n: as SGD does, on gradients that are taken s l v_{n-1} ahead. Let
// epochs have m batches, each for n steps in a row, all orders being equally likely. The mean over
// orders and the steps of an epoch of H_j v_{j-1} is (1 - c) H grad C + c (1/m) sum_k H_k grad C_k,
// and y follows, but for O(s^3) in an epoch, the flow of
//   C + (s / 4) (A_own (1/m) sum_k |grad C_k|^2 + A_mean |grad C|^2),                          (4)
//   A_own = 1 + 2 l c,  A_mean = 2 l (1 - c),
//   c = 1 - S_n - (S_n - S_{m n}) / (m - 1),  S_i = (1 - beta^i) / (i (1 - beta)).
// The sum of the two is A. Without momentum that is implicit_regularization, equation 39; of many
// batches c tends to 0 where n = 1, and to 1 where the averages forget within one batch's n steps.

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

  /// u [p] of the gradient g [p] of the full batch at theta [p].
  virtual at::Tensor Direction(const at::Tensor& g, const at::Tensor& theta) const = 0;
  /// D [p].
  virtual at::Tensor Scale(const at::Tensor& g) const = 0;
  /// A [p].
  virtual at::Tensor Factors(const at::Tensor& g) const = 0;
  /// a [p].
  virtual at::Tensor OwnFactors(const at::Tensor& g) const = 0;
  /// The norm of g whose gradient H u is without decay, a scalar.
  virtual at::Tensor Norm(const at::Tensor& g) const = 0;
  /// lambda.
  virtual double decay() const { return 0; }
  /// D A H u + lambda u [p].
  at::Tensor Correction(const at::Tensor& g, const at::Tensor& u, const at::Tensor& h_u) const {
    return Scale(g).mul(Factors(g)).mul(h_u).add(u, decay());
  }
  /// M [p].
  at::Tensor Memory(const at::Tensor& g, const at::Tensor& h_u) const {
    return Scale(g).mul(Factors(g).sub(OwnFactors(g))).mul(h_u).div(2);
  }

  /// Whether D is 1 and A the same for all weights: then it is that of C + (s / 4) A |grad C|^2.
  virtual bool HasScalar() const = 0;

  /// The averages after a long while in which the gradient was g + k s H u, k steps ago.
  virtual void Settle(const at::Tensor& g, const at::Tensor& h_u, double s) = 0;
  /// d of the next step, whose gradient is g at theta, with its change as these and the gradients
  /// before change by theirs. Without Settle the first step is the rule's first.
  virtual Dual Next(const Dual& g, const Dual& theta) = 0;
};

/// What the rules are made of.
struct MemoryParameters {
  double momentum = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;

  /// Fields of the same names, but for momentum.
  void AdaptiveFields(FieldVisitor& visitor);
  /// Throws an Error of kind kConfig, at path.`field`, which names the rule, where it is to have
  /// momentum and has none.
  void CheckMomentum(const std::string& rule, const std::string& path,
                     const std::string& field) const;
};

/// Names of all rules.
std::vector<std::string> MemoryRuleNames();

/// One that has made no step.
std::unique_ptr<MemoryRule> MakeMemoryRule(const std::string& name,
                                           const MemoryParameters& parameters);

/// The factors of equation 4.
struct BatchFactors {
  double own;                                          // A_own
  double mean;                                         // A_mean
  double lag() const { return (own + mean - 1) / 2; }  // l
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
  /// Of the heavy ball or Nesterov's momentum on epochs of m batches with n steps on each.
  BatchFactors OnBatches(const std::string& name, int64_t m, int64_t n) const;

 private:
  MemoryParameters parameters_;
  std::vector<std::string> others_;
};

}  // namespace sgdscope
