#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "gradients/per_example.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/tensors.h"
#include "updates/update_rule.h"

// The rule inverse_covariance against the dense matrix, made of the gradients of batches of one.

namespace sgdscope {
namespace {

constexpr double kRate = 0.25;
constexpr int64_t kExamples = 9;

/// A network with data, away from where it starts, and the covariance of its gradients.
struct Problem {
  Problem(const Json& model, at::ScalarType dtype, const std::vector<int64_t>& shape)
      : run(Config(model, dtype, shape)), oracle(run.experiment().train()) {
    Stream stream(60, "theta");
    const at::Tensor start = run.stepper().theta();
    theta = start.add(RandomTensor(stream, {start.size(0)}, dtype), 0.1);
    g = RandomTensor(stream, {start.size(0)}, dtype);
  }

  static Json Config(const Json& model, at::ScalarType dtype, const std::vector<int64_t>& shape) {
    Json json = SyntheticConfig({{"dtype", dtype == at::kDouble ? "float64" : "float32"}});
    json["data"]["shape"] = shape;
    json["model"] = model;
    return json;
  }

  /// Examples begin ... begin + n - 1 of the training set.
  Batch Examples(int64_t begin, int64_t n) const {
    return oracle.Load(at::arange(begin, begin + n, at::kLong));
  }

  /// Sigma [p, p] of these examples, in double.
  at::Tensor Covariance(const Batch& batch) const {
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < batch.size(); ++i) {
      rows.push_back(oracle.Evaluate(Part(batch, i, 1), theta).Mean().to(at::kDouble));
    }
    const at::Tensor all = at::stack(rows);  // [n, p]
    const at::Tensor centred = all.sub(all.mean(0));
    return centred.t().mm(centred).div(batch.size() - 1);
  }

  /// A rule in front of its first step.
  std::unique_ptr<UpdateRule> Rule(Json fields) const {
    fields["learning_rate"] = kRate;
    auto rule = MakeExample<UpdateRule>("inverse_covariance", fields);
    rule->Prepare(oracle.table());
    rule->Allocate(theta);
    return rule;
  }

  at::Tensor Delta(UpdateRule& rule, int64_t step, const Batch& batch) const {
    const Gradients gradients = oracle.Evaluate(batch, theta);
    return rule.Next({step, batch, gradients, oracle, g, theta, {}}).Delta();
  }

  ShortRun run;
  const Oracle& oracle;
  at::Tensor theta;
  at::Tensor g;
};

const Json kMlp = {{"name", "mlp"}, {"hidden", {5}}};

/// A covariance [p, p] by its eigenvalues [p], the smallest first, and eigenvectors [p, p].
struct Eigen {
  explicit Eigen(const at::Tensor& covariance) {
    std::tie(values, vectors) = at::linalg_eigh(covariance);
  }
  double Largest() const { return values.max().item<double>(); }
  /// The eigenvalues, all but the `rank` largest of them 0.
  at::Tensor Leading(int64_t rank) const {
    const int64_t rest = values.size(0) - rank;
    return at::cat({at::zeros({rest}, values.options()), values.narrow(0, rest, rank)});
  }
  /// -learning_rate rho (Sigma + rho I)^-1 g, for the Sigma with eigenvalues Leading(rank).
  at::Tensor Delta(int64_t rank, double rho, const at::Tensor& g) const {
    const at::Tensor along = vectors.t().mv(g.to(at::kDouble));
    return vectors.mv(along.div(Leading(rank).add(rho))).mul(-kRate * rho);
  }

  at::Tensor values;
  at::Tensor vectors;
};

TEST(InverseCovariance, AgainstTheDenseMatrix) {
  const Json no_bias = {{"name", "mlp"}, {"hidden", {4}}, {"bias", false}};
  const Json convolutions = {{"name", "convnet"}, {"channels", {3, 2}}, {"hidden", {4}}};
  const Json gains = {
      {"name", "wide_resnet"}, {"depth", 10}, {"width", 1}, {"channels", 1}, {"norm", "skipinit"}};
  for (const Json& model : {kMlp, no_bias, convolutions, gains}) {
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      const std::vector<int64_t> shape =
          model["name"] == "mlp" ? std::vector<int64_t>{2, 3} : std::vector<int64_t>{2, 8, 8};
      const Problem it(model, dtype, shape);
      const Batch batch = it.Examples(0, kExamples);
      const at::Tensor covariance = it.Covariance(batch);
      const Eigen eigen(covariance);
      const double plain = kRate * it.g.norm().item<double>();
      const auto expect = [&](const Json& fields, double rho, const at::Tensor& expected) {
        SCOPED_TRACE(model.dump() + ", " + fields.dump() + ", " + at::toString(dtype));
        const at::Tensor delta = it.Delta(*it.Rule(fields), 0, batch);
        // Relative errors of Sigma weigh by its size over rho.
        const double bound = 1e3 * Epsilon(dtype) * (1 + eigen.Largest() / rho) * plain;
        ExpectNear(ToVector(delta), ToVector(expected), bound, "delta");
        EXPECT_GT(expected.add(it.g, kRate).norm().item<double>(), 100 * Epsilon(dtype) * plain);
      };
      for (const double rho : {eigen.Largest() / 20, eigen.Largest()}) {
        const at::Tensor damped = covariance.diagonal().add(rho);
        expect({{"kind", "diagonal"}, {"rho", rho}}, rho, it.g.div(damped).mul(-kRate * rho));
        for (const int64_t rank : {1, 4, static_cast<int>(kExamples) - 1}) {
          expect({{"kind", "low_rank"}, {"rho", rho}, {"rank", rank}}, rho,
                 eigen.Delta(rank, rho, it.g));
        }
        const int64_t all = covariance.size(0);
        expect({{"kind", "low_rank"}, {"rho", rho}, {"rank", kExamples + 3}}, rho,
               eigen.Delta(all, rho, it.g));
      }
    }
  }
}

/// The eigenvalues and the squared lengths of the directions are those of Sigma.
TEST(InverseCovariance, KeepsTheLeadingEigenpairs) {
  const Problem it(kMlp, at::kDouble, {2, 3});
  const Batch batch = it.Examples(0, kExamples);
  const Eigen eigen(it.Covariance(batch));
  const auto rule = it.Rule({{"kind", "low_rank"}, {"rank", 3}});
  it.Delta(*rule, 0, batch);
  const at::Tensor b = rule->State().at("directions");
  const at::Tensor values = rule->State().at("eigenvalues");
  const double bound = 1e3 * Epsilon(at::kDouble) * eigen.Largest();
  ExpectNear(ToVector(b.mm(b.t())), ToVector(values.diag()), bound, "lengths");
  const at::Tensor leading = eigen.vectors.mul(eigen.Leading(3)).mm(eigen.vectors.t());
  ExpectNear(ToVector(b.t().mm(b)), ToVector(leading), bound, "matrix");
}

const std::vector<Json> kKinds = {{{"kind", "diagonal"}}, {{"kind", "low_rank"}, {"rank", 4}}};

Json With(Json fields, const std::string& key, const Json& value) {
  fields[key] = value;
  return fields;
}

TEST(InverseCovariance, IsSgdWhereRhoIsLargeOrNothingFluctuates) {
  const Problem it(kMlp, at::kDouble, {2, 3});
  const Batch batch = it.Examples(0, kExamples);
  const Batch same = it.oracle.Load(at::zeros({kExamples}, at::kLong));
  const double largest = Eigen(it.Covariance(batch)).Largest();
  const at::Tensor plain = it.g.mul(-kRate);
  const double size = plain.norm().item<double>();
  for (const Json& kind : kKinds) {
    const at::Tensor delta = it.Delta(*it.Rule(With(kind, "rho", 1e9 * largest)), 0, batch);
    ExpectNear(ToVector(delta), ToVector(plain), 1e-9 * size, kind.dump());
    const at::Tensor alike = it.Delta(*it.Rule(With(kind, "rho", largest)), 0, same);
    ExpectNear(ToVector(alike), ToVector(plain), 1e3 * Epsilon(at::kDouble) * size, kind.dump());
  }
}

/// Between refreshes the covariance stays that of the batch that it was made of; where that one has
/// fewer examples than `rank`, nothing is left of the one before.
TEST(InverseCovariance, RefreshesAtItsSteps) {
  const Problem it(kMlp, at::kDouble, {2, 3});
  const Batch first = it.Examples(0, kExamples);
  const Batch second = it.Examples(kExamples, 3);
  for (const Json& kind : kKinds) {
    const Json fields = With(kind, "rho", Eigen(it.Covariance(first)).Largest());
    const at::Tensor of_first = it.Delta(*it.Rule(fields), 0, first);
    const at::Tensor of_second = it.Delta(*it.Rule(fields), 0, second);
    EXPECT_FALSE(SameBits(of_first, of_second));
    const auto rule = it.Rule(With(fields, "refresh", 3));
    EXPECT_TRUE(SameBits(it.Delta(*rule, 0, first), of_first)) << kind;
    for (int64_t step = 1; step < 6; ++step) {
      const at::Tensor delta = it.Delta(*rule, step, second);
      EXPECT_TRUE(SameBits(delta, step < 3 ? of_first : of_second)) << kind << ", " << step;
    }
  }
}

/// The examples are almost alike, so that a variance is a millionth of the squared mean: float32
/// sums of squares would keep no more than one digit of it.
TEST(InverseCovariance, DiagonalOfSimilarExamplesKeepsItsDigits) {
  const Problem it({{"name", "mlp"}, {"hidden", Json::array()}}, at::kFloat, {6});
  Batch batch = it.Examples(0, kExamples);
  batch.inputs = batch.inputs.narrow(0, 0, 1).add(batch.inputs, 1e-3).contiguous();
  batch.labels = at::zeros_like(batch.labels);
  const Gradients gradients = it.oracle.Evaluate(batch, it.theta);
  const at::Tensor h = gradients.taps[0].input.detach().to(at::kDouble);
  const at::Tensor d = gradients.output_gradients[0].to(at::kDouble).mul(kExamples);
  const at::Tensor of_weights = d.unsqueeze(2).mul(h.unsqueeze(1)).flatten(1);
  const at::Tensor expected = at::cat({of_weights, d}, 1).var(0, /*unbiased=*/true);
  const at::Tensor found = PerExample(gradients, TileMemory()).Variances().to(at::kDouble);
  // Rounded to float32 once.
  EXPECT_LT(found.sub(expected).div(expected).abs().max().item<double>(), 1e-7);
}

/// A run that diverges says so at its next loss; it does not end in an eigenvalue solver.
TEST(InverseCovariance, PassesOnWhatIsNotFinite) {
  const Problem it(kMlp, at::kDouble, {2, 3});
  const Batch batch = it.Examples(0, kExamples);
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const Json& kind : kKinds) {
      const Gradients gradients = it.oracle.Evaluate(batch, at::full_like(it.theta, value));
      const auto rule = it.Rule(kind);
      const Update update =
          rule->Next({0, batch, gradients, it.oracle, gradients.Mean(), it.theta, {}});
      EXPECT_FALSE(update.direction.isfinite().all().item<bool>()) << kind << ", " << value;
    }
  }
}

TEST(InverseCovariance, RefusesWhatHasNoCovarianceAndRanksThatNoneHas) {
  const auto build = [](const Json& fields, const Json& changes = Json::object()) {
    Json json = SyntheticConfig(changes);
    json["update"] = fields;
    json["update"]["name"] = "inverse_covariance";
    json["update"]["learning_rate"] = kRate;
    const auto config = ReadRunConfig(json);
    const Experiment experiment(*config);
  };
  const auto refused = [&](const Json& fields, const Json& changes,
                           const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { build(fields, changes); });
  };
  const Json nothing = Json::object();
  const Json diagonal = {{"kind", "diagonal"}, {"rho", 1}};
  const Json low_rank = {{"kind", "low_rank"}, {"rho", 1}, {"rank", 6}};
  build(diagonal);
  build(low_rank);
  refused({{"rho", 1}}, nothing, {"update.kind", "missing"});
  refused({{"kind", "diagonal"}}, nothing, {"update.rho", "missing"});
  refused({{"kind", "low_rank"}, {"rho", 1}}, nothing, {"update.rank", "missing", "low_rank"});
  refused(With(diagonal, "rank", 2), nothing, {"update.rank", "diagonal"});
  refused(With(low_rank, "rank", 7), nothing, {"update.rank", "7 gradients", "at most 6"});
  refused(diagonal, {{"batch_size", 1}}, {"update: ", "single one", "batch_size"});
  refused(diagonal, {{"batch_size", 11}}, {"update: ", "single one", "drop_last"});
  build(diagonal, {{"batch_size", 11}, {"sampler", {{"name", "shuffle"}, {"drop_last", true}}}});
  const Json many = {{"sampler", {{"name", "replacement"}}}, {"batch_size", 4097}};
  refused(low_rank, many, {"update.kind", "4097", "4096", "diagonal"});
  build(diagonal, many);
}

}  // namespace
}  // namespace sgdscope
