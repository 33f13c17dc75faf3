// The spectrum of the Hessian H of the mean loss at theta, of the training set, of a fixed part of
// it or of the batch; or of the Gauss-Newton matrix, which leaves out the second derivatives of the
// logits. With `preconditioned` that of P^-1/2 H P^-1/2, which has the eigenvalues of P^-1 H, where
// P is the update rule's metric (Stability in updates/update_rule.h).
//   eigenvalue<i>, residual<i>  the largest eigenvalues, and the residual norms |H x_i - lambda_i
//                               x_i|: within that distance of lambda_i lies an eigenvalue
//   smallest<i>, smallest_residual<i>   the same at the lower end
//   trace, trace_error          tr H and the standard error that its sampled part has
//   gradient_cosine<i>, step_cosine<i>  |cos| of the angles of g and of delta with the eigenvector
//                               of eigenvalue<i>; in coordinates P^1/2 theta where preconditioned
//   density_mean, density_square, each with its error   mean and mean square of the eigenvalues: of
//                               the spectral density that is written to a file
//   noise_cosine<i>             with `noise`, and Sigma the covariance of the gradients of the updating
//                               batch's examples, or of a fixed part of the training set
//                               (`noise_examples`): the root mean square of the cosines of the
//                               angles of their noise with the eigenvector x_i, weighted by its
//                               square: the root of <x_i, Sigma x_i> / tr Sigma
//   noise_overlap               the mean squared cosine between the space of these k eigenvectors
//                               and that of the k leading ones of Sigma: 1 where they are the same,
//                               k/p where they have nothing to do with each other
//   products                    how many Hessian-vector products it took
// Eigenpairs are followed from one measurement to the next (gradients/eigenvalues.h): the next
// search begins with the vectors found last, a step further, and at each end with one more, into that
// of the upper one of which g is mixed. With `look_out_every` most searches do without these: where
// the vectors are still good, each of them takes one product.
// Products are exact, in pieces that are put into memory one after another. Under batch
// normalization a piece is a batch, normalized by itself.
//
// The trace is that on the space of the vectors X that were found, exact, plus a Hutchinson
// estimate on the rest (Meyer et al. 2021, "Hutch++", with X for the random sketch): the mean over
// random signs z of <z', H z'>, z' = z - X X^T z.
//
// The spectral density (1/p) sum_i delta(lambda - lambda_i) comes by stochastic Lanczos quadrature
// (Ubaru, Chen and Saad 2017; Ghorbani, Krishnan and Xiao 2019): nodes and weights [density_samples,
// density_steps], a row for each vector of random signs, in snapshots/step_N.LABEL.safetensors.
// sum_j weight_j f(node_j) of a row has the expectation (1/p) tr f(H), and the rows are independent.

#include <algorithm>
#include <functional>
#include <utility>

#include "config/registry.h"
#include "core/error.h"
#include "core/random_vectors.h"
#include "gradients/eigenvalues.h"
#include "gradients/gauss_newton.h"
#include "gradients/noise_spectrum.h"
#include "gradients/per_example.h"
#include "gradients/pieces.h"
#include "nn/reduce.h"
#include "probes/loss_choice.h"
#include "probes/snapshot_files.h"

namespace sgdscope {
namespace {

constexpr const char* kHessian = "hessian";
constexpr const char* kGaussNewton = "gauss_newton";

/// Products with the matrix at a step. What is common to those of a lone piece is kept.
class Products {
 public:
  /// Keeps references.
  Products(const StepView& view, const LossChoice& loss, bool gauss_newton)
      : view_(view), loss_(loss), gauss_newton_(gauss_newton) {}

  /// [m, p] of rows [m, p].
  at::Tensor Of(const at::Tensor& rows) {
    if (lone_) return OfRows(lone_, rows);
    const at::Tensor sum = at::zeros_like(rows, rows.options().dtype(at::kDouble));
    loss_.ForEachPiece(view_, [&](const Batch& piece, double share) {
      const Product product = OfPiece(piece);
      sum.add_(OfRows(product, rows), share);
      if (share == 1) lone_ = product;
    });
    return sum.to(rows.scalar_type());
  }

 private:
  using Product = std::function<at::Tensor(const at::Tensor& v)>;  // [p] of v [p]

  /// Holds the graph of the piece.
  Product OfPiece(const Batch& piece) const {
    const Oracle& oracle = view_.oracle;
    if (gauss_newton_) {
      return [matrix = GaussNewton(oracle, piece, view_.theta)](const at::Tensor& v) {
        return matrix.Product(v);
      };
    }
    return [&oracle, evaluated = oracle.Evaluate(piece, view_.theta, /*keep_graph=*/true)](
               const at::Tensor& v) {
      return oracle.HessianVectorProduct(evaluated, v, /*again=*/true);
    };
  }

  static at::Tensor OfRows(const Product& product, const at::Tensor& rows) {
    std::vector<at::Tensor> products;
    for (const at::Tensor& row : rows.unbind(0)) products.push_back(product(row));
    return at::stack(products);
  }

  const StepView& view_;
  const LossChoice& loss_;
  bool gauss_newton_;
  Product lone_;
};

class HessianProbe : public Probe {
 public:
  HessianProbe() : Probe(Cadence::EveryEpochs(1)) {}

  void Check(const std::string& path) const override {
    for (const auto& [field, samples] :
         {std::pair("trace_samples", samples_), std::pair("density_samples", density_samples_)}) {
      if (samples != 1) continue;
      throw Error(ErrorKind::kConfig, path + "." + field,
                  "1, which leaves the standard error unknown", "Give 2 or more, or 0 for none.");
    }
    loss_.Check(path);
    if (!noise_examples_ || noise_) return;
    throw Error(ErrorKind::kConfig, path + ".noise_examples",
                "found " + std::to_string(*noise_examples_) + ", but noise is false",
                "Set noise to true, or leave it out.");
  }

  void CheckNetwork(const Network& network, const std::string& path) const override {
    if (noise_) CheckSingleExamples(network, path + ".noise");
    const int64_t p = network.table.size();
    if (largest_ + smallest_ <= p) return;
    throw Error(ErrorKind::kConfig, path + (largest_ > p ? ".largest" : ".smallest"),
                "asks for " + std::to_string(largest_ + smallest_) + " eigenvalues (largest " +
                    std::to_string(largest_) + ", smallest " + std::to_string(smallest_) +
                    "), but the network has " + std::to_string(p) + " parameters",
                "Ask for fewer.");
  }

  bool NeedsWholeBatch() const override { return noise_ && !noise_examples_; }

  std::vector<int64_t> OwnBatches() const override { return loss_.OwnBatches(); }

  void Allocate(const at::Tensor& theta) override {
    vectors_ = at::empty({Asked(true).Rows(theta.size(0)), theta.size(0)}, theta.options());
    for (int64_t i = 0; i < vectors_.size(0); ++i) {
      Stream stream(seed_, "hessian", static_cast<uint64_t>(i));
      vectors_[i].copy_(RandomNormals(stream, theta));
    }
    searches_ = at::zeros({1}, at::kLong);
  }

  std::map<std::string, at::Tensor> State() const override {
    if (look_out_every_ == 1) return {{"vectors", vectors_}};
    return {{"vectors", vectors_}, {"searches", searches_}};
  }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values;
    const auto add = [&](const std::string& value, int64_t count) {
      for (int64_t i = 1; i <= count; ++i) values.push_back(value + std::to_string(i));
    };
    add("eigenvalue", largest_);
    add("residual", largest_);
    add("smallest", smallest_);
    add("smallest_residual", smallest_);
    if (samples_ > 0) values.insert(values.end(), {"trace", "trace_error"});
    if (density_samples_ > 0) {
      values.insert(values.end(), {"density_mean", "density_mean_error", "density_square",
                                   "density_square_error"});
    }
    add("gradient_cosine", largest_);
    add("step_cosine", largest_);
    if (noise_) {
      add("noise_cosine", largest_);
      values.emplace_back("noise_overlap");
    }
    values.emplace_back("products");
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const at::Tensor root =  // P^-1/2, or undefined
        preconditioned_ && view.update.stability.metric.defined()
            ? view.update.stability.metric.rsqrt()
            : at::Tensor();
    Products products(view, loss_, matrix_ == kGaussNewton);
    const SymmetricMatrix matrix = [&](const at::Tensor& rows) {
      return root.defined() ? products.Of(rows.mul(root)).mul(root) : products.Of(rows);
    };
    const at::Tensor g = root.defined() ? view.g.mul(root) : view.g;
    const EigenSearch asked = Asked(searches_.item<int64_t>() % look_out_every_ == 0);
    searches_.add_(1);
    const at::Tensor rows = RowsOf(asked);
    const Eigenpairs pairs = FindEigenpairs(matrix, Start(g).index_select(0, rows), asked);
    vectors_.index_copy_(0, rows, pairs.next);
    std::vector<at::Tensor> values = {pairs.values.narrow(0, 0, largest_),
                                      pairs.residuals.narrow(0, 0, largest_)};
    const int64_t lower = LowerEnd(pairs.values.size(0));
    for (const at::Tensor& of : {pairs.values, pairs.residuals}) {
      values.push_back(of.narrow(0, lower, smallest_));
    }
    if (samples_ > 0) values.push_back(Trace(view, matrix, pairs));
    if (density_samples_ > 0) values.push_back(Density(view, matrix));
    const at::Tensor leading = pairs.vectors.narrow(0, 0, largest_);
    const at::Tensor& delta = view.update.direction;
    values.push_back(Cosines(leading, g));
    values.push_back(Cosines(leading, root.defined() ? delta.div(root) : delta));
    if (noise_) values.push_back(Noise(view, leading));
    const int64_t count = pairs.products + samples_ + density_samples_ * density_steps_;
    values.push_back(at::full({1}, static_cast<double>(count), values[0].options()));
    return at::cat(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "largest", .help = "how many of the largest eigenvalues", .min = 1, .max = 1000},
        largest_);
    visitor.Visit(
        {.name = "smallest", .help = "how many of the smallest eigenvalues", .min = 0, .max = 1000},
        smallest_);
    visitor.Visit({.name = "matrix",
                   .help = "whose eigenvalues: of the Hessian or of the Gauss-Newton matrix",
                   .allowed = {kHessian, kGaussNewton}},
                  matrix_);
    loss_.Fields(visitor);
    visitor.Visit({.name = "tolerance",
                   .help = "the search ends where the residual norms are below this share of the "
                           "largest |eigenvalue|. The error of an eigenvalue is at most its "
                           "residual, mostly far smaller: of the order of the square",
                   .min = 0,
                   .above_min = true},
                  tolerance_);
    visitor.Visit({.name = "max_products",
                   .help = "Hessian-vector products after which the search ends in any case",
                   .min = 1,
                   .max = 1e9},
                  max_products_);
    visitor.Visit(
        {.name = "look_out_every",
         .help = "in one of so many measurements the search also looks for an eigenvalue "
                 "that has overtaken those followed, at the cost of a product and more; in "
                 "the others vectors that are still good take a product each",
         .unit = "measurements",
         .min = 1,
         .max = 1e9},
        look_out_every_);
    visitor.Visit({.name = "trace_samples",
                   .help = "random vectors for the trace, each at the cost of a product; 0: no "
                           "trace, else at least 2",
                   .min = 0,
                   .max = 1e6},
                  samples_);
    visitor.Visit({.name = "density_samples",
                   .help = "random vectors for the spectral density, which is written to "
                           "snapshots/step_N.LABEL.safetensors; 0: none, else at least 2",
                   .min = 0,
                   .max = 1e6},
                  density_samples_);
    visitor.Visit({.name = "density_steps",
                   .help = "products for each of these vectors, which makes as many nodes: "
                           "moments are exact up to twice that many, less 1. As many vectors as "
                           "long as theta are held in memory",
                   .min = 1,
                   .max = 1e6},
                  density_steps_);
    visitor.Visit({.name = "noise",
                   .help = "also how far the noise of the gradients of the batch's examples lies "
                           "along the leading eigenvectors"},
                  noise_);
    visitor.Visit(
        {.name = "noise_examples",
         .help = "for noise: of so many examples of the training set, the same ones "
                 "throughout the run; of the updating batch if left out. Holds the square "
                 "of that many numbers",
         .unit = "examples",
         .min = 2,
         .max = 2e4},
        noise_examples_);
    visitor.Visit({.name = "preconditioned",
                   .help = "the eigenvalues in the update rule's own metric: with adam those of "
                           "P^-1 H with its preconditioner P, with sgd the same as without"},
                  preconditioned_);
  }

  void OwnPrepare(const ProbeContext& context) override {
    if (preconditioned_ && !context.stability) {
      throw Error(
          ErrorKind::kConfig, context.path + ".preconditioned",
          "true, but this update rule's metric is not known",
          std::string("Leave it out, or use one of the rules ") + kRulesThatKnowStability + ".");
    }
    if (preconditioned_ && noise_) {
      throw Error(ErrorKind::kConfig, context.path + ".noise",
                  "true, but so is preconditioned: the noise is known in the Euclidean metric only",
                  "Leave one of the two out; another probe hessian, with a label, can have it.");
    }
    seed_ = context.seed;
    loss_.Prepare(context, "hessian.examples");
    if (noise_examples_) {
      noise_part_ = FixedPart(context, "noise_examples", *noise_examples_, "hessian.noise");
      piece_size_ = PieceSize(context.sampler);
    }
    if (density_samples_ > 0) files_ = SnapshotFiles(context, label());
  }

 private:
  EigenSearch Asked(bool looks_out) const {
    return {largest_, smallest_, tolerance_, max_products_, looks_out};
  }

  /// Those of vectors_ that such a search begins with.
  at::Tensor RowsOf(const EigenSearch& asked) const {
    const int64_t all = vectors_.size(0);
    const at::Tensor rows = asked.looks_out
                                ? at::arange(all, at::kLong)
                                : at::cat({at::arange(largest_, at::kLong),
                                           at::arange(smallest_, at::kLong).add(LowerEnd(all))});
    return rows.to(vectors_.device());
  }

  /// Where the search begins: at the last vectors, that of the one eigenvalue more than asked mixed
  /// with g, which leans to where the curvature rises.
  at::Tensor Start(const at::Tensor& g) const {
    if (vectors_.size(0) == largest_) return vectors_;
    const at::Tensor start = vectors_.clone();
    const at::Tensor length = Dot(g, g).sqrt();
    start[largest_].add_(g.div(length).masked_fill(length.eq(0), 0));
    return start;
  }

  /// Where the smallest of so many pairs begin.
  int64_t LowerEnd(int64_t pairs) const {
    return smallest_ == 0 ? 0 : std::min(largest_ + 1, pairs - smallest_);
  }

  /// trace and trace_error [2].
  at::Tensor Trace(const StepView& view, const SymmetricMatrix& matrix,
                   const Eigenpairs& pairs) const {
    constexpr int64_t kRows = 16;  // that share an evaluation of each piece
    std::vector<at::Tensor> estimates;
    Stream stream(seed_, "hessian.trace", static_cast<uint64_t>(view.step));
    for (int64_t begin = 0; begin < samples_; begin += kRows) {
      std::vector<at::Tensor> rows;
      for (int64_t i = begin; i < std::min(samples_, begin + kRows); ++i) {
        const at::Tensor z = RandomSigns(stream, view.theta);
        rows.push_back(z.sub(at::mv(pairs.vectors.t(), at::mv(pairs.vectors, z))));
      }
      const at::Tensor rest = at::stack(rows);
      estimates.push_back(ExampleDots(rest, matrix(rest)));
    }
    const at::Tensor sampled = MeanWithError(at::cat(estimates));
    return at::stack({pairs.values.sum().add(sampled[0]), sampled[1]});
  }

  /// The first two moments of the spectral density, each with its standard error [4]; writes it.
  at::Tensor Density(const StepView& view, const SymmetricMatrix& matrix) const {
    std::vector<at::Tensor> all_nodes, all_weights;
    Stream stream(seed_, "hessian.density", static_cast<uint64_t>(view.step));
    for (int64_t i = 0; i < density_samples_; ++i) {
      const auto [nodes, weights] =
          LanczosQuadrature(matrix, RandomSigns(stream, view.theta), density_steps_);
      all_nodes.push_back(nodes);
      all_weights.push_back(weights);
    }
    const at::Tensor nodes = at::stack(all_nodes);
    const at::Tensor weights = at::stack(all_weights);
    files_.Write(view.step, {{{"nodes", nodes}, {"weights", weights}}, {}});
    return at::cat({MeanWithError(weights.mul(nodes).sum(1)),
                    MeanWithError(weights.mul(nodes.square()).sum(1))});
  }

  /// noise_cosine<i> and noise_overlap [k + 1], for orthonormal rows [k, p].
  at::Tensor Noise(const StepView& view, const at::Tensor& rows) const {
    if (noise_part_.defined()) {
      return Noise(GramInPieces(view.oracle, noise_part_, view.theta, piece_size_),
                   DotsOfPart(view, rows));
    }
    const PerExample examples(view.gradients, TileMemory());
    if (view.batch.size() > 1) return Noise(examples.Gram(), Dots(examples, rows));
    return at::full({rows.size(0) + 1}, kNotMeasured, rows.options().dtype(at::kDouble));
  }

  /// <g_i, x_j> [k, n] of rows x_j [k, p].
  static at::Tensor Dots(const PerExample& examples, const at::Tensor& rows) {
    std::vector<at::Tensor> dots;
    for (const at::Tensor& row : rows.unbind(0)) dots.push_back(examples.Dots(row));
    return at::stack(dots);
  }

  at::Tensor DotsOfPart(const StepView& view, const at::Tensor& rows) const {
    std::vector<at::Tensor> dots;
    ForEachPiece(view.oracle, {noise_part_}, view.theta, piece_size_,
                 [&](const Batch&, const Gradients& gradients) {
                   dots.push_back(Dots(PerExample(gradients, TileMemory()), rows));
                 });
    return at::cat(dots, 1);
  }

  /// From <g_i, g_j> [n, n] and <g_i, x_j> [k, n], n > 1.
  static at::Tensor Noise(const at::Tensor& gram, const at::Tensor& dots) {
    const int64_t k = dots.size(0);
    const int64_t n = dots.size(1);
    const NoiseSpectrum sigma = SpectrumOfNoise(gram);
    const at::Tensor noise = dots.sub(dots.mean(1, /*keepdim=*/true));  // <g_i - g, x_j>
    const at::Tensor variances = noise.square().sum(1).div(static_cast<double>(n - 1));
    const at::Tensor overlap = k < n ? at::mm(sigma.weights.narrow(0, 0, k), noise.t())
                                           .square()
                                           .sum()
                                           .div(static_cast<double>(k))
                                     : at::full({}, kNotMeasured, dots.options());
    return at::hstack({Ratio(variances, sigma.values.sum()).sqrt(), overlap});
  }

  /// |cos| of the angles [k] between orthonormal rows [k, p] and v [p].
  static at::Tensor Cosines(const at::Tensor& rows, const at::Tensor& v) {
    return Ratio(at::mv(rows.to(at::kDouble), v.to(at::kDouble)).abs(), Dot(v, v).sqrt());
  }

  int64_t largest_ = 1;
  int64_t smallest_ = 0;
  std::string matrix_ = kHessian;
  LossChoice loss_;
  double tolerance_ = 1e-3;
  int64_t max_products_ = 500;
  int64_t look_out_every_ = 1;
  int64_t samples_ = 0;
  int64_t density_samples_ = 0;
  int64_t density_steps_ = 30;
  bool noise_ = false;
  std::optional<int64_t> noise_examples_;
  bool preconditioned_ = false;
  uint64_t seed_ = 0;
  at::Tensor noise_part_;   // indices of the examples whose noise it is, unless it is the batch
  int64_t piece_size_ = 1;  // of these
  SnapshotFiles files_;
  at::Tensor vectors_;   // [rows, p], where the next search begins
  at::Tensor searches_;  // [1] on the CPU, how many there were
};

const Registration<Probe, HessianProbe> kRegistration(
    "hessian", "extreme eigenvalues of the Hessian with error bars, trace, and where g points",
    {.base = R"({"max_products": 6})",
     .variants = {R"({"smallest": 1, "examples": 9, "trace_samples": 2, "matrix": "gauss_newton",
                      "preconditioned": true})",
                  R"({"largest": 2, "look_out_every": 3, "noise": true, "noise_examples": 9})",
                  R"({"examples": 9, "density_samples": 2, "density_steps": 3, "noise": true})"}});

}  // namespace
}  // namespace sgdscope
