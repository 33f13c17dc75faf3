#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/torch.h"
#include "tests/oracles.h"

// Between tensors and the vectors of tests/oracles.h, and how far apart two of them are.

namespace sgdscope {

// Tensors of a few numbers only wait for other threads. Experiments set their own number.
inline const bool kOneThread = (at::set_num_threads(1), true);

inline oracle::Vector ToVector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kCPU, at::kDouble).contiguous().flatten();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

inline at::Tensor ToTensor(const oracle::Vector& values, const std::vector<int64_t>& sizes,
                           at::ScalarType dtype = at::kDouble) {
  at::Tensor tensor = at::empty(sizes, at::kDouble);
  std::copy(values.begin(), values.end(), tensor.data_ptr<double>());
  return tensor.to(dtype);
}

/// Standard normal numbers, each rounded to float so that both dtypes hold them exactly.
inline oracle::Vector RandomVector(Stream& stream, size_t size) {
  oracle::Vector values(size);
  for (double& value : values) value = static_cast<float>(stream.Normal());
  return values;
}

inline at::Tensor RandomTensor(Stream& stream, const std::vector<int64_t>& sizes,
                               at::ScalarType dtype = at::kDouble) {
  size_t count = 1;
  for (const int64_t size : sizes) count *= static_cast<size_t>(size);
  return ToTensor(RandomVector(stream, count), sizes, dtype);
}

inline double Epsilon(at::ScalarType dtype) {
  return dtype == at::kDouble ? std::numeric_limits<double>::epsilon()
                              : std::numeric_limits<float>::epsilon();
}

/// Expects |actual - expected| <= bound in the Euclidean norm. A NaN fails.
inline void ExpectNear(const oracle::Vector& actual, const oracle::Vector& expected, double bound,
                       const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  EXPECT_LE(oracle::Norm(oracle::Plus(actual, -1, expected)), bound) << what;
}

/// The same bytes, NaNs included, as well as the same type and sizes.
inline bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  const at::Tensor x = a.detach().cpu().contiguous();
  const at::Tensor y = b.detach().cpu().contiguous();
  return x.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

}  // namespace sgdscope
