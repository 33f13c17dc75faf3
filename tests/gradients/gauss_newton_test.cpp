#include "gradients/gauss_newton.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/rng.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

using oracle::Vector;

/// J^T (d^2 L / dz^2) J v, with J from the gradients of single logits by theta.
TEST(GaussNewton, EachProductIsTheDefinitions) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    Stream stream(76, "v", index);
    const Vector v = RandomVector(stream, random.mlp.size());
    const at::Tensor leaf = it.theta.clone().requires_grad_(true);
    const at::Tensor z = it.network().root->Forward(it.batch.inputs, {leaf});
    Vector expected(v.size());
    for (size_t i = 0; i < random.examples.size(); ++i) {
      std::vector<Vector> jacobian;
      for (int64_t c = 0; c < z.size(1); ++c) {
        const at::Tensor logit = z[static_cast<int64_t>(i)][c];
        jacobian.push_back(ToVector(torch::autograd::grad({logit}, {leaf}, {}, true)[0]));
      }
      Vector slope;
      for (const Vector& row : jacobian) slope.push_back(oracle::Dot(row, v));
      const Vector bent =
          oracle::LossHessianVector(random.mlp.loss, ToVector(z[static_cast<int64_t>(i)]), slope);
      for (size_t c = 0; c < bent.size(); ++c) {
        expected = oracle::Plus(expected, bent[c] / static_cast<double>(random.examples.size()),
                                jacobian[c]);
      }
    }
    const GaussNewton matrix(it.oracle, it.batch, it.theta);
    const at::Tensor along = ToTensor(v, {static_cast<int64_t>(v.size())});
    const at::Tensor product = matrix.Product(along);
    EXPECT_TRUE(SameBits(matrix.Product(along), product)) << random.Text();
    EXPECT_FALSE(product.requires_grad());
    ExpectNear(ToVector(product), expected,
               random.Sums() * 1e-15 * (1 + oracle::Norm(expected)) * (1 + oracle::Norm(v)),
               random.Text());
  }
}

}  // namespace
}  // namespace sgdscope
