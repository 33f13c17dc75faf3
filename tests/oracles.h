#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

// The slow, obvious definitions: double precision, plain loops, one example at a time, no LibTorch.
// Fast code is tested against them. What they share with the program is only the documented order
// of theta: layer by layer, weight [out, in] row-major, then bias [out].

namespace sgdscope::oracle {

using Vector = std::vector<double>;

inline double Dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

inline double Norm(const Vector& a) { return std::sqrt(Dot(a, a)); }

/// a + scale * b
inline Vector Plus(Vector a, double scale, const Vector& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += scale * b[i];
  return a;
}

struct Example {
  Vector x;
  size_t label;
};

/// A fully connected network with its loss.
struct Mlp {
  std::vector<size_t> widths;  // inputs, hidden layers, classes
  std::string activation = "relu";
  bool bias = true;
  std::string loss = "cross_entropy";

  size_t layers() const { return widths.size() - 1; }
  size_t size() const {  // p
    size_t size = 0;
    for (size_t l = 0; l < layers(); ++l) size += widths[l + 1] * (widths[l] + (bias ? 1 : 0));
    return size;
  }
};

// Layers on one image [channels, height, width].

/// A convolution whose parameters are weight [out, in, kernel, kernel], then bias [out].
struct Convolution {
  size_t in, out, kernel, stride, padding;
  bool bias;
  size_t height, width;

  size_t rows() const { return (height + 2 * padding - kernel) / stride + 1; }
  size_t columns() const { return (width + 2 * padding - kernel) / stride + 1; }
  size_t positions() const { return rows() * columns(); }
  size_t fan_in() const { return in * kernel * kernel; }
  size_t size() const { return out * (fan_in() + (bias ? 1 : 0)); }

  /// Calls use(place in the output, place in the weight, place in the input) for every product.
  template <class Use>
  void ForEachProduct(const Use& use) const {
    for (size_t o = 0; o < out; ++o)
      for (size_t y = 0; y < rows(); ++y)
        for (size_t x = 0; x < columns(); ++x)
          for (size_t c = 0; c < in; ++c)
            for (size_t i = 0; i < kernel; ++i)
              for (size_t j = 0; j < kernel; ++j) {
                const size_t row = y * stride + i;
                const size_t column = x * stride + j;
                if (row < padding || row >= height + padding) continue;
                if (column < padding || column >= width + padding) continue;
                use((o * rows() + y) * columns() + x, ((o * in + c) * kernel + i) * kernel + j,
                    (c * height + row - padding) * width + column - padding);
              }
  }

  /// The output [out, rows, columns]; the parameters lie in `theta` from `offset` on.
  Vector Forward(const Vector& theta, size_t offset, const Vector& h) const {
    Vector z(out * positions());
    for (size_t k = 0; bias && k < z.size(); ++k) {
      z[k] = theta[offset + out * fan_in() + k / positions()];
    }
    ForEachProduct(
        [&](size_t at, size_t weight, size_t from) { z[at] += theta[offset + weight] * h[from]; });
    return z;
  }

  /// The gradient by the parameters [size()] of a loss whose derivative by the output is dz.
  Vector Gradient(const Vector& h, const Vector& dz) const {
    Vector gradient(size());
    ForEachProduct(
        [&](size_t at, size_t weight, size_t from) { gradient[weight] += dz[at] * h[from]; });
    for (size_t k = 0; bias && k < dz.size(); ++k) {
      gradient[out * fan_in() + k / positions()] += dz[k];
    }
    return gradient;
  }
};

/// Of each window, the first place in h that holds its maximum.
inline std::vector<size_t> MaxPlaces(size_t channels, size_t height, size_t width, size_t kernel,
                                     size_t stride, const Vector& h) {
  std::vector<size_t> places;
  for (size_t c = 0; c < channels; ++c)
    for (size_t y = 0; y + kernel <= height; y += stride)
      for (size_t x = 0; x + kernel <= width; x += stride) {
        size_t best = (c * height + y) * width + x;
        for (size_t i = 0; i < kernel; ++i)
          for (size_t j = 0; j < kernel; ++j) {
            const size_t place = (c * height + y + i) * width + x + j;
            if (h[place] > h[best]) best = place;
          }
        places.push_back(best);
      }
  return places;
}

// The standard normal distribution.
inline double NormalShare(double z) { return std::erfc(-z / std::sqrt(2.0)) / 2; }
inline double NormalDensity(double z) { return std::exp(-z * z / 2) / std::sqrt(2 * M_PI); }
/// What gelu_tanh takes for NormalShare, and its derivatives: those of a logistic function.
struct LogisticShare {
  explicit LogisticShare(double z) {
    const double u = std::sqrt(8 / M_PI) * (z + 0.044715 * z * z * z);
    const double u1 = std::sqrt(8 / M_PI) * (1 + 3 * 0.044715 * z * z);
    const double u2 = std::sqrt(8 / M_PI) * 6 * 0.044715 * z;
    value = 1 / (1 + std::exp(-u));
    first = value * (1 - value) * u1;
    second = value * (1 - value) * (u2 + (1 - 2 * value) * u1 * u1);
  }
  double value, first, second;
};

// Activations: a(z) and its first two derivatives; those of relu at 0 are 0.

inline double Activate(const std::string& name, double z) {
  if (name == "relu") return z > 0 ? z : 0;
  if (name == "tanh") return std::tanh(z);
  if (name == "gelu") return z * NormalShare(z);
  if (name == "gelu_tanh") return z * LogisticShare(z).value;
  return z;
}

inline double ActivateFirst(const std::string& name, double z) {
  if (name == "relu") return z > 0 ? 1 : 0;
  if (name == "tanh") return 1 - std::tanh(z) * std::tanh(z);
  if (name == "gelu") return NormalShare(z) + z * NormalDensity(z);
  if (name == "gelu_tanh") return LogisticShare(z).value + z * LogisticShare(z).first;
  return 1;
}

inline double ActivateSecond(const std::string& name, double z) {
  if (name == "gelu") return (2 - z * z) * NormalDensity(z);
  if (name == "gelu_tanh") return 2 * LogisticShare(z).first + z * LogisticShare(z).second;
  if (name != "tanh") return 0;
  return -2 * std::tanh(z) * (1 - std::tanh(z) * std::tanh(z));
}

// Losses of one example.

inline Vector Softmax(const Vector& z) {
  const double largest = *std::max_element(z.begin(), z.end());
  Vector q;
  double sum = 0;
  for (const double value : z) {
    q.push_back(std::exp(value - largest));
    sum += q.back();
  }
  for (double& value : q) value /= sum;
  return q;
}

/// Cross-entropy: log sum_c exp(z_c) - z_y. Mean squared error: (1/k) sum_c (z_c - [c = y])^2.
inline double LossOf(const std::string& loss, const Vector& z, size_t label) {
  if (loss == "cross_entropy") {
    const double largest = *std::max_element(z.begin(), z.end());
    double sum = 0;
    for (const double value : z) sum += std::exp(value - largest);
    return largest + std::log(sum) - z[label];
  }
  double sum = 0;
  for (size_t c = 0; c < z.size(); ++c) {
    const double error = z[c] - (c == label ? 1 : 0);
    sum += error * error;
  }
  return sum / static_cast<double>(z.size());
}

/// dL/dz.
inline Vector LossGradient(const std::string& loss, const Vector& z, size_t label) {
  Vector gradient = loss == "cross_entropy" ? Softmax(z) : z;
  gradient[label] -= 1;
  if (loss == "cross_entropy") return gradient;
  for (double& value : gradient) value *= 2 / static_cast<double>(z.size());
  return gradient;
}

/// (d^2 L/dz^2) u.
inline Vector LossHessianVector(const std::string& loss, const Vector& z, const Vector& u) {
  Vector product(z.size());
  if (loss == "cross_entropy") {
    const Vector q = Softmax(z);
    const double mean = Dot(q, u);
    for (size_t c = 0; c < z.size(); ++c) product[c] = q[c] * (u[c] - mean);
    return product;
  }
  for (size_t c = 0; c < z.size(); ++c) product[c] = 2 * u[c] / static_cast<double>(z.size());
  return product;
}

/// W h + b of layer l, whose parameters start at `offset` of theta.
inline Vector Affine(const Mlp& mlp, size_t l, const Vector& theta, size_t offset,
                     const Vector& h) {
  const size_t in = mlp.widths[l];
  const size_t out = mlp.widths[l + 1];
  Vector z(out);
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) z[o] += theta[offset + o * in + i] * h[i];
    if (mlp.bias) z[o] += theta[offset + out * in + o];
  }
  return z;
}

/// What one layer saw in the forward pass: h into it, z = W h + b out of it, and where its
/// parameters start.
struct LayerTrace {
  size_t offset;
  Vector h;
  Vector z;
};

inline std::vector<LayerTrace> Forward(const Mlp& mlp, const Vector& theta, const Vector& x) {
  std::vector<LayerTrace> trace;
  Vector h = x;
  size_t offset = 0;
  for (size_t l = 0; l < mlp.layers(); ++l) {
    trace.push_back({offset, h, Affine(mlp, l, theta, offset, h)});
    h.clear();
    for (const double z : trace.back().z) h.push_back(Activate(mlp.activation, z));
    offset += mlp.widths[l + 1] * (mlp.widths[l] + (mlp.bias ? 1 : 0));
  }
  return trace;
}

inline Vector Logits(const Mlp& mlp, const Vector& theta, const Vector& x) {
  return Forward(mlp, theta, x).back().z;
}

inline double LossAt(const Mlp& mlp, const Vector& theta, const Example& example) {
  return LossOf(mlp.loss, Logits(mlp, theta, example.x), example.label);
}

/// The smallest |z| of a hidden unit: how far the examples stay away from relu's kink.
inline double KinkDistance(const Mlp& mlp, const Vector& theta,
                           const std::vector<Example>& examples) {
  double distance = std::numeric_limits<double>::infinity();
  for (const Example& example : examples) {
    const auto trace = Forward(mlp, theta, example.x);
    for (size_t l = 0; l + 1 < trace.size(); ++l) {
      for (const double z : trace[l].z) distance = std::min(distance, std::abs(z));
    }
  }
  return distance;
}

/// Gradient of one example's loss by theta, by backpropagation: from the last layer to the first,
///   dL/dW = dz h^T,  dL/db = dz,  dh = W^T dz,  dz of the layer before = dh a'(z).
inline Vector Gradient(const Mlp& mlp, const Vector& theta, const Example& example) {
  const auto trace = Forward(mlp, theta, example.x);
  Vector gradient(mlp.size());
  Vector dz = LossGradient(mlp.loss, trace.back().z, example.label);
  for (size_t l = mlp.layers(); l-- > 0;) {
    const auto& [offset, h, z] = trace[l];
    Vector dh(h.size());
    for (size_t o = 0; o < dz.size(); ++o) {
      for (size_t i = 0; i < h.size(); ++i) {
        gradient[offset + o * h.size() + i] = dz[o] * h[i];
        dh[i] += theta[offset + o * h.size() + i] * dz[o];
      }
      if (mlp.bias) gradient[offset + dz.size() * h.size() + o] = dz[o];
    }
    if (l == 0) break;
    for (size_t i = 0; i < dh.size(); ++i) {
      dh[i] *= ActivateFirst(mlp.activation, trace[l - 1].z[i]);
    }
    dz = dh;
  }
  return gradient;
}

/// H v of one example's loss: Pearlmutter's R-operator (the derivative along v) of each line of
/// Gradient.
inline Vector HessianVector(const Mlp& mlp, const Vector& theta, const Example& example,
                            const Vector& v) {
  const auto trace = Forward(mlp, theta, example.x);
  std::vector<Vector> r_h = {Vector(mlp.widths[0])};  // R(x) = 0
  std::vector<Vector> r_z;
  Mlp without_bias = mlp;
  without_bias.bias = false;
  for (size_t l = 0; l < mlp.layers(); ++l) {  // R(z) = W R(h) + V h + v_b
    const Vector own = Affine(mlp, l, v, trace[l].offset, trace[l].h);
    r_z.push_back(Plus(own, 1, Affine(without_bias, l, theta, trace[l].offset, r_h[l])));
    r_h.emplace_back();
    for (size_t o = 0; o < own.size(); ++o) {
      r_h.back().push_back(ActivateFirst(mlp.activation, trace[l].z[o]) * r_z[l][o]);
    }
  }
  Vector product(mlp.size());
  Vector dz = LossGradient(mlp.loss, trace.back().z, example.label);
  Vector r_dz = LossHessianVector(mlp.loss, trace.back().z, r_z.back());
  for (size_t l = mlp.layers(); l-- > 0;) {
    const auto& [offset, h, z] = trace[l];
    Vector dh(h.size());
    Vector r_dh(h.size());
    for (size_t o = 0; o < dz.size(); ++o) {
      for (size_t i = 0; i < h.size(); ++i) {
        const size_t place = offset + o * h.size() + i;
        product[place] = r_dz[o] * h[i] + dz[o] * r_h[l][i];
        dh[i] += theta[place] * dz[o];
        r_dh[i] += theta[place] * r_dz[o] + v[place] * dz[o];
      }
      if (mlp.bias) product[offset + dz.size() * h.size() + o] = r_dz[o];
    }
    if (l == 0) break;
    dz.assign(h.size(), 0);
    r_dz.assign(h.size(), 0);
    for (size_t i = 0; i < h.size(); ++i) {
      const double first = ActivateFirst(mlp.activation, trace[l - 1].z[i]);
      const double second = ActivateSecond(mlp.activation, trace[l - 1].z[i]);
      dz[i] = dh[i] * first;
      r_dz[i] = r_dh[i] * first + dh[i] * second * r_z[l - 1][i];
    }
  }
  return product;
}

// Means over a batch.

inline double MeanLoss(const Mlp& mlp, const Vector& theta, const std::vector<Example>& batch) {
  double sum = 0;
  for (const Example& example : batch) sum += LossAt(mlp, theta, example);
  return sum / static_cast<double>(batch.size());
}

inline Vector MeanGradient(const Mlp& mlp, const Vector& theta, const std::vector<Example>& batch) {
  Vector mean(mlp.size());
  for (const Example& example : batch) {
    mean = Plus(mean, 1 / static_cast<double>(batch.size()), Gradient(mlp, theta, example));
  }
  return mean;
}

inline Vector MeanHessianVector(const Mlp& mlp, const Vector& theta,
                                const std::vector<Example>& batch, const Vector& v) {
  Vector mean(mlp.size());
  for (const Example& example : batch) {
    mean = Plus(mean, 1 / static_cast<double>(batch.size()), HessianVector(mlp, theta, example, v));
  }
  return mean;
}

// One weight's values over the examples of a batch.

/// The mean of the values with those below the c-th and above the (100 - c)-th percentile moved to
/// it, for whole c up to 50. A percentile that lies between two values is the outer of the nearest,
/// or (linear) on the line between them.
inline double WinsorizedMean(Vector values, size_t c, bool linear) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  const size_t rank = c * (n - 1) / 100;
  const size_t hundredths = c * (n - 1) % 100;
  const auto threshold = [&](const auto& at) {  // at(0), at(1), ...: from the outermost inwards
    if (!linear || hundredths == 0) return at(hundredths > 50 ? rank + 1 : rank);
    const double part = static_cast<double>(hundredths) / 100;
    return (1 - part) * at(rank) + part * at(rank + 1);
  };
  const double low = threshold([&](size_t i) { return values[i]; });
  const double high = threshold([&](size_t i) { return values[n - 1 - i]; });
  double sum = 0;
  for (const double value : values) sum += std::min(std::max(value, low), high);
  return sum / static_cast<double>(n);
}

// Update rules, one number at a time.

/// d = g + decay theta;  velocity <- momentum velocity + d;  delta = -rate (velocity | d + momentum
/// velocity).
struct SgdLoop {
  double rate;
  double momentum = 0;
  bool nesterov = false;
  double decay = 0;
  Vector velocity = {};

  Vector Delta(const Vector& g, const Vector& theta) {
    velocity.resize(g.size());
    Vector delta(g.size());
    for (size_t i = 0; i < g.size(); ++i) {
      const double d = g[i] + decay * theta[i];
      velocity[i] = momentum * velocity[i] + d;
      delta[i] = -rate * (nesterov ? d + momentum * velocity[i] : velocity[i]);
    }
    return delta;
  }
};

/// Algorithm 1 of Kingma and Ba (2015), as printed.
struct AdamLoop {
  double rate;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  int t = 0;
  Vector m = {};
  Vector v = {};

  Vector Delta(const Vector& g, const Vector&) {
    m.resize(g.size());
    v.resize(g.size());
    ++t;
    Vector delta(g.size());
    for (size_t i = 0; i < g.size(); ++i) {
      m[i] = beta1 * m[i] + (1 - beta1) * g[i];
      v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(beta1, t));
      const double v_hat = v[i] / (1 - std::pow(beta2, t));
      delta[i] = -rate * m_hat / (std::sqrt(v_hat) + epsilon);
    }
    return delta;
  }
};

}  // namespace sgdscope::oracle
