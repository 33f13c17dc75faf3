// The noise of gradients at fixed theta: noise_enhancement, equations 4 and 10, without eta^2.
// K = `draws` batches b_k of `batch_size` examples (left out: of as many as the step's batch has), all
// distinct, are drawn from the training set, independently of one another and of the step's batch,
// and augmented like it.
// Of plain SGD (prefix sgd) x_k = grad L_{b_k}; of the run's estimator (prefix estimator)
// x_k = g(b_k), where it also draws anew what it draws itself:
//   trace     sum_k |x_k - mean x|^2 / (K - 1), unbiased for the trace of x's covariance
//   ratio     estimator.trace / sgd.trace: alpha^2 + (1 - alpha)^2 for noise_enhanced. Both traces
//             have equation 4's factor (N - B) / (N - 1); their ratio is free of it.
//   kurtosis  excess kurtosis of the noise along random directions u: Fisher's G2 of <x_k, u>, with
//             the mean 0 where the noise is Gaussian, averaged over `projections` directions, which
//             are uniform on the sphere and stay the same throughout the run
// and standard errors:
//   trace_error     With m_k the mean of x_1 ... x_k, d_k = (k - 1) / k |x_k - m_{k-1}|^2 has the
//                   mean of trace for each k = 2 ... K, and trace is the mean of the d_k: the error
//                   is std(d) / sqrt(K - 1), and no gradient has to be kept. The d_k of Gaussian
//                   noise are independent; what its kurtosis adds to the variance of trace comes
//                   out too small by a share below 2 ln(K) / K.
//   ratio_error     std(d_k - ratio d'_k) / sqrt(K - 1) / sgd.trace, to first order in 1 / K, where
//                   d'_k are those of sgd: what pairs of the same batches have in common cancels.
//   kurtosis_error  the jackknife over the draws, for these directions

#include <cmath>
#include <optional>

#include "config/registry.h"
#include "core/error.h"
#include "core/random_vectors.h"
#include "core/rng.h"
#include "data/distinct.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

/// An estimate and its standard error, scalars.
struct Estimate {
  at::Tensor value;
  at::Tensor error;
};

/// Fisher's G2 of n numbers with the given sums of their powers 1 to 4, [4, ...]: [...].
at::Tensor ExcessKurtosis(const at::Tensor& power_sums, double n) {
  const at::Tensor raw = power_sums.div(n);
  const at::Tensor mean = raw[0];
  const at::Tensor square = mean.mul(mean);
  const at::Tensor m2 = raw[1].sub(square);
  const at::Tensor m4 = raw[3]
                            .sub(mean.mul(raw[2]).mul(4))
                            .add(square.mul(raw[1]).mul(6))
                            .sub(square.mul(square).mul(3));
  const at::Tensor g2 = m4.div(m2.mul(m2)).sub(3);
  return g2.mul(n + 1).add(6).mul((n - 1) / ((n - 2) * (n - 3)));
}

/// Takes gradients x_1, x_2, ... [p] in turn and keeps what the values are made of.
class Draws {
 public:
  /// directions: [projections, p], of length 1, in double.
  explicit Draws(const at::Tensor& directions) : directions_(directions) {}

  void Add(const at::Tensor& x) {
    const at::Tensor value = x.to(at::kDouble);
    projections_.push_back(directions_.mv(value));
    if (projections_.size() == 1) {
      mean_ = value.clone();
      return;
    }
    const auto k = static_cast<double>(projections_.size());
    const at::Tensor distance = value.sub(mean_);
    contrasts_.push_back(distance.dot(distance).mul((k - 1) / k));
    mean_.add_(distance, 1 / k);
  }

  /// d_2 ... d_K: [K - 1].
  at::Tensor Contrasts() const { return at::stack(contrasts_); }

  Estimate Kurtosis() const {
    const at::Tensor rows = at::stack(projections_);  // [K, projections]
    const auto k = static_cast<double>(rows.size(0));
    const at::Tensor y = rows.sub(rows.mean(0, /*keepdim=*/true));
    const at::Tensor square = y.mul(y);
    const at::Tensor powers = at::stack({y, square, square.mul(y), square.mul(square)});
    const at::Tensor sums = powers.sum(1);  // [4, projections]
    const at::Tensor without_one =          // [K]
        ExcessKurtosis(sums.unsqueeze(1).sub(powers), k - 1).mean(1);
    const at::Tensor no_noise = sums[1].eq(0).any();
    const at::Tensor error = without_one.std(/*unbiased=*/true).mul((k - 1) / std::sqrt(k));
    return {ExcessKurtosis(sums, k).mean().masked_fill(no_noise, kNotMeasured),
            error.masked_fill(no_noise, kNotMeasured)};
  }

 private:
  const at::Tensor& directions_;
  at::Tensor mean_;                      // [p]
  std::vector<at::Tensor> contrasts_;    // scalars
  std::vector<at::Tensor> projections_;  // [projections] each
};

/// The mean of independent values [n].
Estimate MeanOf(const at::Tensor& values) {
  return {values.mean(),
          values.std(/*unbiased=*/true).div(std::sqrt(static_cast<double>(values.size(0))))};
}

Estimate RatioOf(const at::Tensor& numerators, const at::Tensor& denominators) {
  const at::Tensor denominator = denominators.mean();
  const at::Tensor value = Ratio(numerators.mean(), denominator);
  return {value, Ratio(MeanOf(numerators.sub(denominators.mul(value))).error, denominator)};
}

class GradientNoise : public Probe {
 public:
  GradientNoise() : Probe(Cadence::EveryEpochs(1)) {}

  void Allocate(const at::Tensor& theta) override {
    at::Tensor directions = at::empty({projections_, theta.size(0)}, at::kDouble);
    for (int64_t r = 0; r < projections_; ++r) {
      Stream stream(seed_, "gradient_noise.direction", static_cast<uint64_t>(r));
      const at::Tensor direction = Normals(stream, theta.size(0));
      directions[r].copy_(direction.div(direction.norm()));
    }
    directions_ = directions.to(theta.device());
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"estimator.trace", "estimator.trace_error",
                                       "sgd.trace",       "sgd.trace_error",
                                       "ratio",           "ratio_error"};
    if (projections_ > 0) {
      values.insert(values.end(), {"estimator.kurtosis", "estimator.kurtosis_error", "sgd.kurtosis",
                                   "sgd.kurtosis_error"});
    }
    return values;
  }

  std::vector<int64_t> OwnBatches() const override { return {size_}; }
  std::vector<int64_t> EstimatedBatches() const override { return {size_}; }

  at::Tensor Measure(const StepView& view) override {
    Draws estimator(directions_);
    Draws sgd(directions_);
    Stream stream(seed_, "gradient_noise", static_cast<uint64_t>(view.step));
    const int64_t size = batch_size_.value_or(view.batch.size());
    for (int64_t k = 0; k < draws_; ++k) {
      const at::Tensor indices = DrawDistinct(stream, size, examples_);
      // At random: never the same at two steps or for two batches.
      const auto draw = static_cast<int64_t>(stream.Bits64() >> 1);
      const Batch batch = view.oracle.Load(view.sampler.Augmented(indices, augment_seed_, draw));
      sgd.Add(view.oracle.Evaluate(batch, view.theta).Mean());
      estimator.Add(view.estimate(batch, -1 - draw));
    }
    const at::Tensor of_estimator = estimator.Contrasts();
    const at::Tensor of_sgd = sgd.Contrasts();
    std::vector<Estimate> estimates = {MeanOf(of_estimator), MeanOf(of_sgd),
                                       RatioOf(of_estimator, of_sgd)};
    if (projections_ > 0) {
      estimates.push_back(estimator.Kurtosis());
      estimates.push_back(sgd.Kurtosis());
    }
    std::vector<at::Tensor> values;
    for (const Estimate& estimate : estimates) {
      values.push_back(estimate.value);
      values.push_back(estimate.error);
    }
    return at::stack(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "draws",
                   .help = "batches drawn each time; each costs a plain gradient and an estimate",
                   .paper = "noise_enhancement, equation 10",
                   .min = 5,
                   .max = 1e6},
                  draws_);
    visitor.Visit(
        {.name = "batch_size",
         .help = "examples of each drawn batch; left out: as many as the step's batch has",
         .unit = "examples",
         .paper = "noise_enhancement, equation 11",
         .min = 1,
         .max = 1e9},
        batch_size_);
    visitor.Visit(
        {.name = "projections",
         .help = "random directions along which the noise's kurtosis is taken; each is kept "
                 "at 8 bytes a parameter; 0: no kurtosis",
         .paper = "noise_enhancement, section 4 (the paper states no measure)",
         .min = 0,
         .max = 1e6},
        projections_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    seed_ = context.seed;
    augment_seed_ = Stream(context.seed, "gradient_noise.augment").Bits64();
    examples_ = context.examples;
    size_ = batch_size_.value_or(context.sampler.batch_size());
    if (size_ < context.examples) return;
    throw Error(ErrorKind::kConfig, context.path,
                "draws batches of " + std::to_string(size_) +
                    " distinct examples, and there are only " + std::to_string(context.examples) +
                    " training examples: all draws would be the same",
                "Give the probe a lower batch_size, or lower that of the run, with a sampler other "
                "than full, or remove the probe.");
  }

 private:
  int64_t draws_ = 20;
  std::optional<int64_t> batch_size_;
  int64_t projections_ = 8;
  uint64_t seed_ = 0;
  uint64_t augment_seed_ = 0;
  int64_t examples_ = 0;   // in the training set
  int64_t size_ = 0;       // of the drawn batches, or the largest of them
  at::Tensor directions_;  // [projections, p]
};

const Registration<Probe, GradientNoise> kRegistration(
    "gradient_noise",
    "how strong and how far from Gaussian the noise of the estimator and of plain SGD is at theta",
    {.base = R"({"draws": 5})", .variants = {R"({"projections": 0})"}});

}  // namespace
}  // namespace sgdscope
