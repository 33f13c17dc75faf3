// Preconditioned by the inverse covariance of the gradients, so that theta moves less where they
// fluctuate: generalization_gap, section 4 and footnote 6 (named there, without a formula). With
// Sigma [p, p] the covariance of the gradients g_i of single examples (equation 4):
//   delta = -learning_rate * rho (Sigma + rho I)^-1 g
// The damping rho is ours: a batch's Sigma has at most n - 1 eigenvalues that are not 0. So is the
// factor rho: along a direction whose variance is far below rho the step is that of SGD, along one
// of variance s it is rho / (s + rho) of it. rho has the unit of a squared gradient; as it grows
// the rule becomes SGD.
//
// Sigma is that of the updating batch at every `refresh`-th step, unbiased, and is kept until the
// next one:
//   Sigma = (1 / (n - 1)) sum_i c_i c_i^T,  c_i = g_i - mean
// diagonal: its diagonal s [p] alone:  g_j rho / (s_j + rho).
// low_rank: its `rank` leading eigenpairs (lambda_k, u_k), exact. The Gram matrix K = (<c_i, c_j>)
//   / (n - 1) [n, n] has all eigenvalues of Sigma that are not 0; if v_k [n] is its eigenvector,
//     b_k = sum_i v_ki c_i / sqrt(n - 1) = sqrt(lambda_k) u_k
//   and by Woodbury's identity
//     rho (Sigma_r + rho I)^-1 g = g - sum_k b_k <b_k, g> / (lambda_k + rho)
//   in which nothing is divided by a small lambda_k. That takes the Gram matrix and one weighted
//   sum of gradients for each of the r pairs. A randomized method (subspace iteration, Halko,
//   Martinsson and Tropp 2011) would take two products with Sigma, each a weighted sum and n dot
//   products, for each of r and more vectors, and be approximate: it pays only where n^2 numbers
//   or the n^3 of the eigenvectors are too much, which is refused here.

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>

#include "config/registry.h"
#include "core/error.h"
#include "gradients/per_example.h"
#include "updates/update_rule.h"

namespace sgdscope {
namespace {

constexpr const char* kDiagonal = "diagonal";
constexpr const char* kLowRank = "low_rank";
constexpr int64_t kMostExamples = 4096;  // whose Gram matrix is decomposed in about a minute

/// Of a Gram matrix <g_i, g_j> [n, n] that of the gradients minus their mean.
at::Tensor Centred(const at::Tensor& gram) {
  const at::Tensor of_rows = gram.mean(1);  // those of the columns, too
  return gram.sub(of_rows).sub(of_rows.unsqueeze(1)).add(of_rows.mean());
}

class InverseCovariance final : public UpdateRule {
 public:
  void Check(const std::string& path) const override {
    if (LowRank() == rank_.has_value()) return;
    if (LowRank()) {
      throw Error(ErrorKind::kConfig, path + ".rank", "missing, and kind is low_rank",
                  "Say how many eigenpairs of the covariance to use.");
    }
    throw Error(ErrorKind::kConfig, path + ".rank", "given, but kind is diagonal",
                "Leave rank out, or set " + path + ".kind to low_rank.");
  }

  bool NeedsSingleExamples() const override { return true; }
  bool NeedsWholeBatch() const override { return true; }

  void CheckBatches(const Sampler& sampler, const std::string& path) const override {
    const int64_t n = sampler.batch_size();
    if (sampler.smallest_batch() < 2) {
      throw Error(ErrorKind::kConfig, path,
                  "needs the covariance of the gradients of a batch's examples, but there are "
                  "batches of a single one",
                  "Give a larger batch_size, or set sampler.drop_last where only the last batch "
                  "of an epoch is that small.");
    }
    if (!LowRank()) return;
    if (*rank_ >= n) {
      throw Error(ErrorKind::kConfig, path + ".rank",
                  "found " + std::to_string(*rank_) + ", but the covariance of " +
                      std::to_string(n) + " gradients has a rank of at most " +
                      std::to_string(n - 1),
                  "Give a smaller rank or a larger batch_size.");
    }
    if (n > kMostExamples) {
      throw Error(ErrorKind::kConfig, path + ".kind",
                  "low_rank decomposes a matrix of n x n numbers for a batch of n examples: "
                  "batches of " +
                      std::to_string(n) + " are too large, " + std::to_string(kMostExamples) +
                      " are the most",
                  "Use smaller batches, or the diagonal.");
    }
  }

  void Allocate(const at::Tensor& theta) override {
    if (LowRank()) {
      directions_ = at::zeros({*rank_, theta.size(0)}, theta.options());
      eigenvalues_ = at::zeros({*rank_}, theta.options().dtype(at::kDouble));
    } else {
      variances_ = at::zeros_like(theta);
    }
  }

  std::map<std::string, at::Tensor> State() const override {
    if (LowRank()) return {{"directions", directions_}, {"eigenvalues", eigenvalues_}};
    return {{"variances", variances_}};
  }

 private:
  Update OwnNext(const StepGradient& gradient) override {
    if (gradient.step % refresh_ == 0 || Seen(gradient.step) == 0) {
      const PerExample examples(gradient.gradients, memory_);
      if (LowRank()) {
        RefreshEigenpairs(examples, gradient.batch.size());
      } else {
        variances_.copy_(examples.Variances());
      }
    }
    return {Preconditioned(gradient.g), -LearningRate(gradient.step)};
  }

  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "kind",
                   .help = "what of the covariance Sigma of single examples' gradients is used: "
                           "its diagonal, or its leading eigenpairs",
                   .paper = "generalization_gap, section 4",
                   .required = true,
                   .allowed = {kDiagonal, kLowRank}},
                  kind_);
    visitor.Visit({.name = "rho",
                   .help = "damping: the gradient is multiplied by rho (Sigma + rho I)^-1, which "
                           "halves it where the variance is rho",
                   .unit = "squared gradient",
                   .required = true,
                   .min = 0,
                   .above_min = true},
                  rho_);
    visitor.Visit({.name = "rank",
                   .help = "for low_rank: how many eigenpairs; each keeps p numbers",
                   .paper = "generalization_gap, footnote 6",
                   .min = 1,
                   .max = 4095},
                  rank_);
    visitor.Visit({.name = "refresh",
                   .help = "Sigma is that of the updating batch of every so-many-th step",
                   .unit = "steps",
                   .min = 1,
                   .max = 1e15},
                  refresh_);
    memory_.Fields(visitor);
  }

  bool LowRank() const { return kind_ == kLowRank; }

  void RefreshEigenpairs(const PerExample& examples, int64_t n) {
    // What is not finite shows in the weighted sums; the decomposition would throw.
    const at::Tensor gram = examples.Gram().nan_to_num(0.0, 0.0, 0.0);
    const auto others = static_cast<double>(n - 1);
    const auto [values, vectors] = at::linalg_eigh(Centred(gram).div(others));  // smallest first
    const int64_t pairs = std::min(*rank_, n);
    directions_.zero_();
    eigenvalues_.zero_();
    eigenvalues_.narrow(0, 0, pairs).copy_(values.flip(0).narrow(0, 0, pairs).clamp_min(0));
    for (int64_t k = 0; k < pairs; ++k) {
      const at::Tensor v = vectors.select(1, n - 1 - k);
      const at::Tensor weights = v.sub(v.mean()).div(std::sqrt(others));  // sum_i v_i c_i
      directions_.select(0, k).copy_(examples.WeightedSum(weights));
    }
  }

  /// rho (Sigma + rho I)^-1 g [p].
  at::Tensor Preconditioned(const at::Tensor& g) const {
    if (!LowRank()) return g.div(variances_.div(rho_).add(1));
    const at::Tensor parts = directions_.mv(g).to(at::kDouble).div(eigenvalues_.add(rho_));
    return at::addmv(g, directions_.t(), parts.to(g.scalar_type()), 1, -1);
  }

  std::string kind_ = kDiagonal;
  double rho_ = 0;
  std::optional<int64_t> rank_;
  int64_t refresh_ = 1;
  TileMemory memory_;
  at::Tensor variances_;    // [p]: the diagonal of Sigma
  at::Tensor directions_;   // [rank, p]: b_k
  at::Tensor eigenvalues_;  // [rank], in double: lambda_k
};

const Registration<UpdateRule, InverseCovariance> kRegistration(
    "inverse_covariance", "gradient descent preconditioned by the gradients' inverse covariance",
    {.variants = {R"({"kind": "diagonal", "refresh": 3})",
                  R"({"kind": "low_rank", "rank": 2, "refresh": 3})"}});

}  // namespace
}  // namespace sgdscope
