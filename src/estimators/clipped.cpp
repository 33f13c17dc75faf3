// Per-example clipping: with the gradients g_i of the batch's n examples and R = norm,
//   g = (1/n) (sum_i a_i g_i + noise_multiplier R z),   z ~ N(0, I)
//   norm       a_i = min(1, R / |g_i|): Abadi et al. 2016, "Deep learning with differential
//              privacy", algorithm 1
//   automatic  a_i = R / (|g_i| + gamma): Bu et al. 2023, "Automatic clipping", AUTO-S with gamma
//              above 0 and AUTO-V with gamma = 0
// No a_i g_i is longer than R. With noise a step on an independently drawn batch is private; how
// private many of them are is not counted here.
//
// The |g_i| come from the layers' inputs and output gradients (nn/layer.h), and g is one weighted
// sum in place of the mean: no single gradient is written down, and there is no second backward
// pass.

#include "config/registry.h"
#include "core/error.h"
#include "core/random_vectors.h"
#include "core/rng.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"

namespace sgdscope {
namespace {

constexpr const char* kNorm = "norm";
constexpr const char* kAutomatic = "automatic";

class Clipped : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "norm",
                   .help = "R: what no example adds to n times g is longer than",
                   .unit = "norm of a gradient",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  norm_);
    visitor.Visit({.name = "method",
                   .help = "norm: longer gradients are scaled down to R; automatic: all are scaled "
                           "by R / (their norm + gamma)",
                   .allowed = {kNorm, kAutomatic}},
                  method_);
    visitor.Visit({.name = "gamma",
                   .help = "for automatic: added to the norms, so that those of short gradients "
                           "still differ",
                   .unit = "norm of a gradient",
                   .min = 0},
                  gamma_);
    visitor.Visit({.name = "noise_multiplier",
                   .help = "standard deviation, over norm, of the Gaussian noise that is added to "
                           "each weight of n times g; its draws are streams of their own",
                   .min = 0},
                  noise_multiplier_);
  }

  void Prepare(const EstimatorContext& context) override { seed_ = context.seed; }

  bool NeedsSingleExamples() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    const PerExample examples(view.gradients, TileMemory());
    const auto n = static_cast<double>(view.batch.size());
    const at::Tensor g = examples.WeightedSum(Factors(examples.SquaredNorms().sqrt()).div(n));
    if (noise_multiplier_ == 0) return g;
    Stream stream(seed_, "clipped.noise", static_cast<uint64_t>(view.draw));
    const at::Tensor noise = Normals(stream, g.size(0)).to(g.device(), g.scalar_type());
    return g.add(noise, noise_multiplier_ * norm_ / n);
  }

 private:
  /// a_i [n] of |g_i| [n]. A gradient of norm 0 stays 0.
  at::Tensor Factors(const at::Tensor& norms) const {
    if (method_ == kNorm) return norms.reciprocal().mul(norm_).clamp_max(1);
    const at::Tensor lengths = norms.add(gamma_);
    return lengths.reciprocal().mul(norm_).masked_fill(lengths.eq(0), 0);
  }

  double norm_ = 0;
  std::string method_ = kNorm;
  double gamma_ = 0.01;
  double noise_multiplier_ = 0;
  uint64_t seed_ = 0;
};

const Registration<Estimator, Clipped> kRegistration(
    "clipped", "the mean of per-example gradients of limited length, with noise if asked",
    {.variants = {R"({"method": "automatic"})", R"({"noise_multiplier": 1})"}});

}  // namespace
}  // namespace sgdscope
