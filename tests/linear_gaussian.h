#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "tests/oracles.h"

namespace sgdscope::oracle {

/// A linear model with the mean squared error on Gaussian clusters, where the moments of the
/// gradient are known. For x = m_c + s e, e ~ N(0, I_d), with label c, one of k equally frequent
/// ones, and weights W [k, d]:
///   L = |W x - e_c|^2 / k,   g = (2 / k) (W x - e_c) x^T
///   E[g | c]     = (2 / k) (W (s^2 I + m_c m_c^T) - e_c m_c^T)
///   E[|g|^2 | c] = (4 / k^2) (|a|^2 (|m_c|^2 + s^2 d) + 4 s^2 <a, W m_c> + s^2 |W|^2 |m_c|^2
///                             + s^4 (d + 2) |W|^2),  a = W m_c - e_c
/// by E[<e, M e> |e|^2] = (d + 2) tr M. With all m_c = 0 the labels say nothing of x, and
///   G = (2 / k) s^2 W,   tr Sigma = (4 / k^2) (s^2 d + s^4 (d + 1) |W|^2):
/// the generalization gap that a step opens, eta tr Sigma / n, is an L2 penalty but for a constant.
struct LinearGaussian {
  double s = 1;
  std::vector<Vector> means = {};  // m_c [d] of each of the k clusters
  Vector weights = {};             // [k, d] row-major

  double k() const { return static_cast<double>(means.size()); }
  double d() const { return static_cast<double>(means[0].size()); }

  /// E[g | c].
  Vector MeanGradient(size_t c) const {
    const Vector& mean = means[c];
    Vector gradient(weights.size());
    for (size_t o = 0; o < means.size(); ++o) {
      const double residual = Row(o, mean) - (o == c ? 1 : 0);
      for (size_t j = 0; j < mean.size(); ++j) {
        const size_t place = o * mean.size() + j;
        gradient[place] = 2 / k() * (s * s * weights[place] + residual * mean[j]);
      }
    }
    return gradient;
  }

  /// E[|g|^2 | c].
  double MeanSquaredNorm(size_t c) const {
    const Vector& mean = means[c];
    double residual = 0;  // |a|^2
    double cross = 0;     // <a, W m_c>
    for (size_t o = 0; o < means.size(); ++o) {
      const double output = Row(o, mean);
      const double a = output - (o == c ? 1 : 0);
      residual += a * a;
      cross += a * output;
    }
    const double weight = Dot(weights, weights);
    const double norm = Dot(mean, mean);
    return 4 / (k() * k()) *
           (residual * (norm + s * s * d()) + 4 * s * s * cross + s * s * weight * norm +
            s * s * s * s * (d() + 2) * weight);
  }

  /// E|g|^2.
  double MeanSquaredNorm() const {
    double sum = 0;
    for (size_t c = 0; c < means.size(); ++c) sum += MeanSquaredNorm(c);
    return sum / k();
  }
  /// |G|^2.
  double SquaredNorm() const {
    Vector mean(weights.size());
    for (size_t c = 0; c < means.size(); ++c) mean = Plus(mean, 1 / k(), MeanGradient(c));
    return Dot(mean, mean);
  }
  double Trace() const { return MeanSquaredNorm() - SquaredNorm(); }

  /// E <g_a, g_b> of two different examples of a set of `examples`, which has equally many of each
  /// class: a little less often than by chance they have the same one.
  double DotOfTwo(double examples) const {
    double of_classes = 0;
    for (size_t c = 0; c < means.size(); ++c) {
      of_classes += Dot(MeanGradient(c), MeanGradient(c)) / k();
    }
    return SquaredNorm() - (of_classes - SquaredNorm()) / (examples - 1);
  }
  /// E of the unbiased tr Sigma over such a set, and over a part of it.
  double TraceOf(double examples) const { return MeanSquaredNorm() - DotOfTwo(examples); }

 private:
  double Row(size_t o, const Vector& x) const {  // of W x
    double sum = 0;
    for (size_t j = 0; j < x.size(); ++j) sum += weights[o * x.size() + j] * x[j];
    return sum;
  }
};

/// The clusters of the data set `synthetic` of this seed.
inline LinearGaussian SyntheticClusters(uint64_t seed, size_t d, size_t k, double separation,
                                        double s) {
  LinearGaussian clusters{s};
  for (size_t c = 0; c < k; ++c) {
    Stream stream(seed, "synthetic.mean", c);
    clusters.means.emplace_back();
    for (size_t j = 0; j < d; ++j) {
      clusters.means.back().push_back(separation / std::sqrt(2 * static_cast<double>(d)) *
                                      stream.Normal());
    }
  }
  return clusters;
}

}  // namespace sgdscope::oracle
