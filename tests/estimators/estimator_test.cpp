#include "estimators/estimator.h"

#include <gtest/gtest.h>

#include "core/registry.h"
#include "tests/example_fields.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

TEST(EstimatorContract, ReturnsAGradientAndModifiesNothing) {
  for (const auto& [name, entry] : Registry<Estimator>::entries()) {
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      for (const uint64_t index : {25, 28}) {  // one example and several
        const OracleUnderTest it(MakeRandomMlp(index), dtype);
        const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
        const Gradients before{gradients.losses.clone(), gradients.mean.clone(), {}, {}};
        const at::Tensor inputs_before = it.batch.inputs.clone();
        const auto estimator = MakeExample<Estimator>(name);
        const at::Tensor g = estimator->Estimate(it.batch, gradients);
        EXPECT_TRUE(g.sizes() == it.theta.sizes() && g.scalar_type() == dtype) << name;
        EXPECT_FALSE(g.requires_grad()) << name;
        EXPECT_TRUE(g.isfinite().all().item<bool>()) << name;
        EXPECT_TRUE(SameBits(g, MakeExample<Estimator>(name)->Estimate(it.batch, gradients)))
            << name << " gives something else in a second instance";
        EXPECT_TRUE(SameBits(gradients.mean, before.mean)) << name;
        EXPECT_TRUE(SameBits(gradients.losses, before.losses)) << name;
        EXPECT_TRUE(SameBits(it.batch.inputs, inputs_before)) << name;
      }
    }
  }
}

TEST(MeanEstimator, IsTheBatchGradient) {
  const OracleUnderTest it(MakeRandomMlp(28), at::kFloat);
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  const auto mean = Registry<Estimator>::entries().at("mean").make();
  EXPECT_TRUE(SameBits(mean->Estimate(it.batch, gradients), gradients.mean));
}

}  // namespace
}  // namespace sgdscope
