// How the gradients g_i of the updating batch's n examples scatter around their mean g, and how far
// they agree. Exact for this batch, sums in double. With S = sum_i |g_i|^2:
//   trace               tr Sigma = (S - n |g|^2) / (n - 1), unbiased
//   mean_squared_norm   S / n
//   squared_norm        |g|^2
//   noise_scale         tr Sigma / |G|^2, |G|^2 = |g|^2 - tr Sigma / n: the simple noise scale with
//                       the unbiased |G|^2 of McCandlish et al., An empirical model of large-batch
//                       training (2018), equations 2.9 and A.2 (B_small = 1, B_big = n)
//   m_coherence         |sum_i g_i|^2 / S: 1 for orthogonal gradients, n for equal ones; Chatterjee
//                       and Zielinski, Making coherence out of nothing at all (2020)
//   gradient_diversity  S / |sum_i g_i|^2: 1 / m_coherence; Yin et al., Gradient diversity: a key
//                       ingredient for scalable distributed learning (2018)
// Where |G|^2 is not positive the batch is too small to tell it from 0, and noise_scale is not
// measured. An average over steps is made of trace and of squared_norm - trace / n, and divided
// last: the mean of the ratios is biased (McCandlish et al., appendix A.1).
//
// And of the pairs i != j, from the Gram matrix (if `gram`):
//   stiffness_sign     mean of sign <g_i, g_j>; Fort et al., Stiffness: a new perspective on
//                      generalization in neural networks (2019)
//   stiffness_cos      mean of cos(g_i, g_j), same source; the cosine with a gradient 0 counts as 0
//   ..._within         the same over pairs of examples with the same label
//   ..._between        over pairs with different labels. Pairs are weighted equally, where Fort et
//                      al. weight pairs of classes equally: a batch need not have all of them
//   confusion_min      min <g_i, g_j>: minus the smallest eta of gradient confusion; Sankararaman
//                      et al., The impact of neural network overparameterization on gradient
//                      confusion and stochastic gradient descent (2019), definition 2.1
//   confusion_min_cos  min cos(g_i, g_j)
//
// And of Sigma = (1/(n-1)) sum_i (g_i - g)(g_i - g)^T itself, also from the Gram matrix (if
// `spectrum` is not 0), of the batch's examples or of a fixed part of the training set
// (`spectrum_examples`):
//   eigenvalue<i>   its largest eigenvalues; of n examples only n - 1 are not 0
//   effective_rank  (tr Sigma)^2 / tr Sigma^2: at most n - 1

#include <algorithm>
#include <limits>

#include "config/registry.h"
#include "core/error.h"
#include "gradients/noise_spectrum.h"
#include "gradients/per_example.h"
#include "gradients/pieces.h"
#include "nn/reduce.h"
#include "probes/loss_choice.h"

namespace sgdscope {
namespace {

/// Mean of the values [n, n] of the pairs in `pairs` [n, n] bool; kNotMeasured if there are none.
at::Tensor MeanOver(const at::Tensor& pairs, const at::Tensor& values) {
  return Ratio(values.masked_fill(pairs.logical_not(), 0).sum(), pairs.sum(at::kDouble));
}

/// numerator / denominator, 0 where the denominator is 0. A NaN stays what it is.
at::Tensor RatioOrZero(const at::Tensor& numerator, const at::Tensor& denominator) {
  return numerator.div(denominator).masked_fill(denominator.eq(0), 0);
}

class Covariance : public Probe {
 public:
  void CheckNetwork(const Network& network, const std::string& path) const override {
    CheckSingleExamples(network, path);
  }

  bool NeedsWholeBatch() const override { return gram_ || (spectrum_ > 0 && !spectrum_examples_); }

  void Check(const std::string& path) const override {
    if (!spectrum_examples_ || spectrum_ > 0) return;
    throw Error(ErrorKind::kConfig, path + ".spectrum_examples",
                "found " + std::to_string(*spectrum_examples_) + ", but spectrum is 0",
                "Set spectrum to how many eigenvalues are wanted, or leave it out.");
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"trace",       "mean_squared_norm", "squared_norm",
                                       "noise_scale", "m_coherence",       "gradient_diversity"};
    for (int64_t i = 1; i <= spectrum_; ++i) values.push_back("eigenvalue" + std::to_string(i));
    if (spectrum_ > 0) values.emplace_back("effective_rank");
    if (!gram_) return values;
    for (const char* pairs : {"", "_within", "_between"}) {
      values.push_back(std::string("stiffness_sign") + pairs);
      values.push_back(std::string("stiffness_cos") + pairs);
    }
    values.insert(values.end(), {"confusion_min", "confusion_min_cos"});
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const PerExample per_example(view.gradients, TileMemory());
    std::vector<at::Tensor> values = {Moments(per_example.SquaredNorms(), view.gradients.Mean())};
    const at::Tensor gram = NeedsWholeBatch() ? per_example.Gram() : at::Tensor();
    if (part_.defined()) {
      values.push_back(Spectrum(GramInPieces(view.oracle, part_, view.theta, piece_size_)));
    } else if (spectrum_ > 0) {
      values.push_back(Spectrum(gram));
    }
    if (gram_) values.push_back(OfPairs(gram, view.batch.labels));
    return at::cat(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "gram",
                   .help = "also stiffness and gradient confusion, which compare all pairs of the "
                           "batch: n^2 numbers. With targets in place of labels, those within and "
                           "between classes stay empty"},
                  gram_);
    visitor.Visit({.name = "spectrum",
                   .help = "how many of the largest eigenvalues of the covariance matrix, with its "
                           "effective rank: n^2 numbers and a dense solver for them; 0: none",
                   .min = 0,
                   .max = 1e6},
                  spectrum_);
    visitor.Visit({.name = "spectrum_examples",
                   .help = "for spectrum: of so many examples of the training set, the same ones "
                           "throughout the run, in place of the batch's",
                   .unit = "examples",
                   .min = 2,
                   .max = 2e4},
                  spectrum_examples_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    if (!spectrum_examples_) return;
    part_ = FixedPart(context, "spectrum_examples", *spectrum_examples_, "covariance.spectrum");
    piece_size_ = PieceSize(context.sampler);
  }

 private:
  static at::Tensor Moments(const at::Tensor& squared_norms, const at::Tensor& mean) {
    const int64_t size = squared_norms.size(0);
    const auto n = static_cast<double>(size);
    const at::Tensor squared_norm = Dot(mean, mean);
    const at::Tensor mean_squared_norm = squared_norms.mean();
    const at::Tensor not_measured = at::full_like(squared_norm, kNotMeasured);
    const at::Tensor trace = size > 1 ? CovarianceTrace(squared_norms, squared_norm) : not_measured;
    const at::Tensor signal = squared_norm.sub(trace.div(n));  // |G|^2
    const at::Tensor noise_scale =
        size > 1 ? trace.div(signal).masked_fill(signal.le(0), kNotMeasured) : not_measured;
    return at::stack({trace, mean_squared_norm, squared_norm, noise_scale,
                      Ratio(squared_norm.mul(n), mean_squared_norm),
                      Ratio(mean_squared_norm, squared_norm.mul(n))});
  }

  /// The largest eigenvalues, as far as there are some, and the effective rank [spectrum + 1].
  at::Tensor Spectrum(const at::Tensor& gram) const {
    const at::Tensor values = at::full({spectrum_ + 1}, kNotMeasured, gram.options());
    const int64_t rank = gram.size(0) - 1;
    if (rank == 0) return values;
    const NoiseSpectrum sigma = SpectrumOfNoise(gram);
    const int64_t known = std::min(spectrum_, rank);
    values.narrow(0, 0, known).copy_(sigma.values.narrow(0, 0, known));
    values[spectrum_].copy_(Ratio(sigma.values.sum().square(), sigma.values.square().sum()));
    return values;
  }

  static at::Tensor OfPairs(const at::Tensor& gram, const at::Tensor& labels) {
    const int64_t n = gram.size(0);
    if (n == 1) return at::full({8}, kNotMeasured, gram.options());
    const at::Tensor norms = gram.diagonal().sqrt();
    const at::Tensor cosines = RatioOrZero(gram, norms.unsqueeze(1).mul(norms));
    const at::Tensor signs = RatioOrZero(gram, gram.abs());  // at::sign makes 0 of a NaN
    const at::Tensor places = at::arange(n, labels.options());
    const at::Tensor itself = places.unsqueeze(1).eq(places);
    const at::Tensor others = itself.logical_not();
    // Targets make no classes: then no pair is within one or between two.
    const at::Tensor none = at::zeros_like(others);
    const bool classes = !labels.is_floating_point();
    const at::Tensor same_class = classes ? labels.unsqueeze(1).eq(labels) : none;
    const at::Tensor two_classes = classes ? same_class.logical_not() : none;
    std::vector<at::Tensor> values;
    for (const at::Tensor& pairs : {others, others.logical_and(same_class), two_classes}) {
      values.push_back(MeanOver(pairs, signs));
      values.push_back(MeanOver(pairs, cosines));
    }
    for (const at::Tensor& of : {gram, cosines}) {
      values.push_back(of.masked_fill(itself, std::numeric_limits<double>::infinity()).min());
    }
    return at::stack(values);
  }

  bool gram_ = false;
  int64_t spectrum_ = 0;
  std::optional<int64_t> spectrum_examples_;
  at::Tensor part_;  // their indices
  int64_t piece_size_ = 1;
};

const Registration<Probe, Covariance> kRegistration(
    "covariance", "how far the gradients of the batch's examples scatter, and how far they agree",
    {.variants = {R"({"gram": true})", R"({"spectrum": 5})",
                  R"({"spectrum": 2, "spectrum_examples": 9})"}});

}  // namespace
}  // namespace sgdscope
