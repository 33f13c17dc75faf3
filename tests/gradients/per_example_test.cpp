#include "gradients/per_example.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/rng.h"
#include "nn/batch_norm.h"
#include "nn/linear.h"
#include "nn/residual.h"
#include "nn/sequence.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/kernels/reference.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"
#include "tests/tensors.h"

// Against a loop over single examples in double. Tolerances as in oracle_test.cpp: each number goes
// through sums of Sums() terms; what sums over theta is summed in double.

namespace sgdscope {
namespace {

using oracle::Vector;

constexpr uint64_t kCases = 2 * kCombinations;

/// The gradients of single examples [n][p].
std::vector<Vector> Rows(const RandomMlp& random) {
  std::vector<Vector> rows;
  for (const auto& example : random.examples) {
    rows.push_back(oracle::Gradient(random.mlp, random.theta, example));
  }
  return rows;
}

double Largest(const std::vector<Vector>& rows) {
  double largest = 0;
  for (const Vector& row : rows) largest = std::max(largest, oracle::Norm(row));
  return largest;
}

class PerExampleTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  /// Runs `check` on every network, with what the program and the loop found.
  template <class Check>
  void ForEachNetwork(const Check& check) {
    for (uint64_t index = 0; index < kCases; ++index) {
      const RandomMlp random = MakeRandomMlp(index);
      SCOPED_TRACE(random.Text());
      const OracleUnderTest it(random, GetParam());
      const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
      const double relative = 16 * random.Sums() * Epsilon(GetParam());
      check(PerExample(gradients, TileMemory()), gradients, Rows(random), relative, index);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Types, PerExampleTest, ::testing::Values(at::kDouble, at::kFloat),
                         [](const auto& type) { return at::toString(type.param); });

TEST_P(PerExampleTest, NormsDotsAndGram) {
  ForEachNetwork([](const PerExample& per_example, const Gradients& gradients,
                    const std::vector<Vector>& rows, double relative, uint64_t index) {
    Stream stream(40, "v", index);
    const at::Tensor v =
        RandomTensor(stream, {gradients.parameters}, gradients.losses.scalar_type());
    const double largest = Largest(rows);
    Vector norms, dots, gram;
    for (const Vector& row : rows) {
      norms.push_back(oracle::Dot(row, row));
      dots.push_back(oracle::Dot(row, ToVector(v)));
      for (const Vector& other : rows) gram.push_back(oracle::Dot(row, other));
    }
    const auto n = static_cast<double>(rows.size());
    for (const at::Tensor& measured :
         {per_example.SquaredNorms(), per_example.Dots(v), per_example.Gram()}) {
      EXPECT_EQ(measured.scalar_type(), at::kDouble);
    }
    const double scale = relative * n * largest;
    ExpectNear(ToVector(per_example.SquaredNorms()), norms, scale * largest, "norms");
    ExpectNear(ToVector(per_example.Dots(v)), dots, scale * oracle::Norm(ToVector(v)), "dots");
    ExpectNear(ToVector(per_example.Gram()), gram, scale * largest * n, "gram");
  });
}

TEST_P(PerExampleTest, ReducesEachCoordinate) {
  ForEachNetwork([](const PerExample& per_example, const Gradients&,
                    const std::vector<Vector>& rows, double relative, uint64_t index) {
    using Kind = kernels::Reduction::Kind;
    const auto n = static_cast<int64_t>(rows.size());
    Stream stream(41, "ranks", index);
    const auto out = static_cast<int64_t>(stream.Below((n + 1) / 2));
    const double part = out + 1 < n - out ? 0.25 : 0;
    for (const kernels::Reduction& how :
         {kernels::Reduction{Kind::kClip, out, n - 1 - out},
          kernels::Reduction{Kind::kClip, out, n - 2 - out + (part == 0), part, part},
          kernels::Reduction{Kind::kTrim, out, n - 1 - out}}) {
      Vector expected(rows[0].size());
      for (size_t k = 0; k < expected.size(); ++k) {
        Vector values;
        for (const Vector& row : rows) values.push_back(row[k]);
        expected[k] = kernels::reference::Reduce(values, how) / static_cast<double>(n);
      }
      ExpectNear(ToVector(per_example.Reduce(how)), expected,
                 relative * Largest(rows) * static_cast<double>(n),
                 "kind " + std::to_string(static_cast<int>(how.kind)));
    }
  });
}

TEST_P(PerExampleTest, Signs) {
  ForEachNetwork([](const PerExample& per_example, const Gradients&,
                    const std::vector<Vector>& rows, double relative, uint64_t) {
    const Vector signs = ToVector(per_example.Reduce({kernels::Reduction::Kind::kSigns}));
    const auto n = static_cast<double>(rows.size());
    for (size_t k = 0; k < signs.size(); ++k) {
      double expected = 0;
      double undecided = 0;  // by rounding
      for (const Vector& row : rows) {
        expected += (row[k] > 0) - (row[k] < 0);
        undecided += row[k] != 0 && std::abs(row[k]) < relative * Largest(rows);
      }
      EXPECT_NEAR(signs[k], expected / n, undecided / n + relative) << k;
    }
  });
}

TEST_P(PerExampleTest, MedianOfMeans) {
  ForEachNetwork([](const PerExample& per_example, const Gradients& gradients,
                    const std::vector<Vector>& rows, double relative, uint64_t) {
    const size_t n = rows.size();
    for (size_t groups = 1; groups <= n; ++groups) {
      Vector expected(rows[0].size());
      for (size_t k = 0; k < expected.size(); ++k) {
        Vector means;
        for (size_t group = 0, i = 0; group < groups; ++group) {
          const size_t count = n / groups + (group < n % groups);
          means.push_back(0);
          for (size_t end = i + count; i < end; ++i) means.back() += rows[i][k];
          means.back() /= static_cast<double>(count);
        }
        std::ranges::sort(means);
        expected[k] = (means[(groups - 1) / 2] + means[groups / 2]) / 2;
      }
      const double scale = relative * static_cast<double>(n) * Largest(rows);
      const at::Tensor median = per_example.MedianOfMeans(static_cast<int64_t>(groups));
      ExpectNear(ToVector(median), expected, scale, std::to_string(groups) + " groups");
      if (groups == 1) ExpectNear(ToVector(median), ToVector(gradients.Mean()), scale, "the mean");
    }
  });
}

TEST_P(PerExampleTest, WeightedSumsAndVariances) {
  ForEachNetwork([](const PerExample& per_example, const Gradients&,
                    const std::vector<Vector>& rows, double relative, uint64_t index) {
    Stream stream(43, "weights", index);
    const Vector weights = RandomVector(stream, rows.size());
    const auto n = static_cast<double>(rows.size());
    Vector sum(rows[0].size()), mean(rows[0].size()), variances(rows[0].size());
    for (size_t i = 0; i < rows.size(); ++i) {
      sum = oracle::Plus(sum, weights[i], rows[i]);
      mean = oracle::Plus(mean, 1 / n, rows[i]);
    }
    const double largest = Largest(rows);
    const at::Tensor weighted =
        per_example.WeightedSum(ToTensor(weights, {static_cast<int64_t>(rows.size())}));
    ExpectNear(ToVector(weighted), sum, relative * n * largest * oracle::Norm(weights), "sum");
    if (rows.size() == 1) {
      EXPECT_TRUE(per_example.Variances().isnan().all().item<bool>());
      return;
    }
    for (const Vector& row : rows) {
      for (size_t k = 0; k < row.size(); ++k) {
        variances[k] += (row[k] - mean[k]) * (row[k] - mean[k]) / (n - 1);
      }
    }
    const Vector found = ToVector(per_example.Variances());
    ExpectNear(found, variances, relative * n * largest * largest, "variances");
    EXPECT_GE(*std::ranges::min_element(found), 0);
  });
}

/// Networks with convolutions and pooling: against the mean gradients of batches of one.
TEST(PerExample, OfConvolutionalNetworks) {
  for (uint64_t index = 0; index < 6; ++index) {
    Stream stream(42, "convnet", index);
    Json json = SyntheticConfig({{"dtype", "float64"}});
    json["data"]["shape"] = {1 + static_cast<int64_t>(stream.Below(3)), 8, 8};
    json["model"] = {{"name", "convnet"},
                     {"channels", {2 + static_cast<int64_t>(stream.Below(4)), 3}},
                     {"hidden", Json::array()},
                     {"pool", 1 + static_cast<int64_t>(stream.Below(2))},
                     {"bias", index % 2 == 0}};
    SCOPED_TRACE(json["model"].dump());
    ShortRun run(json);
    const Oracle& oracle = run.experiment().train();
    const at::Tensor& theta = run.stepper().theta();
    constexpr int64_t n = 11;
    const at::Tensor indices = at::arange(n, at::kLong);
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < n; ++i) {
      rows.push_back(oracle.Evaluate(oracle.Load(indices.narrow(0, i, 1)), theta).Mean());
    }
    const at::Tensor all = at::stack(rows);  // [n, p]
    const Gradients gradients = oracle.Evaluate(oracle.Load(indices), theta);
    const PerExample per_example(gradients, TileMemory());
    const double scale = all.norm().item<double>();
    const auto expect_near = [&](const at::Tensor& actual, const at::Tensor& expected, double size,
                                 const std::string& what) {
      constexpr double kRelative = 1e3 * std::numeric_limits<double>::epsilon();
      ExpectNear(ToVector(actual), ToVector(expected), kRelative * size, what);
    };
    expect_near(per_example.Gram(), all.mm(all.t()), scale * scale, "gram");
    expect_near(per_example.SquaredNorms(), all.pow(2).sum(1), scale * scale, "norms");
    const at::Tensor v = RandomTensor(stream, {all.size(1)});
    expect_near(per_example.Dots(v), all.mv(v), scale * v.norm().item<double>(), "dots");
    expect_near(per_example.WeightedSum(v.narrow(0, 0, n)), all.t().mv(v.narrow(0, 0, n)),
                scale * v.norm().item<double>(), "weighted sum");
    expect_near(per_example.Variances(), all.sub(all.mean(0)).square().sum(0).div(n - 1),
                scale * scale, "variances");
    const at::Tensor sorted = std::get<0>(all.sort(0));
    const at::Tensor clipped = at::min(at::max(all, sorted[2]), sorted[n - 3]).mean(0);
    expect_near(per_example.Reduce({kernels::Reduction::Kind::kClip, 2, n - 3}), clipped, scale,
                "winsorized");
    expect_near(per_example.Reduce({kernels::Reduction::Kind::kTrim, 2, n - 3}),
                sorted.narrow(0, 2, n - 4).mean(0), scale, "trimmed");
    expect_near(per_example.Reduce(MedianOf(n)), sorted[n / 2], scale, "median");
    expect_near(per_example.MedianOfMeans(n), sorted[n / 2], scale, "median of groups of one");
    expect_near(per_example.MedianOfMeans(1), all.mean(0), scale, "mean");
  }
}

TEST(CovarianceTrace, IsTheUnbiasedOneOfKnownNumbers) {
  // g_1 = (1, 0), g_2 = (3, 4): deviations (-1, -2) and (1, 2), squared 5 each, over n - 1 = 1.
  const at::Tensor norms = ToTensor({1, 25}, {2});
  const at::Tensor squared_norm = at::scalar_tensor(8, at::kDouble);  // of their mean (2, 2)
  EXPECT_DOUBLE_EQ(CovarianceTrace(norms, squared_norm).item<double>(), 10);
  EXPECT_TRUE(std::isnan(
      CovarianceTrace(ToTensor({4}, {1}), at::scalar_tensor(4, at::kDouble)).item<double>()));
}

/// Batch norm whose statistics nobody keeps is but a layer that knows no single examples.
TEST(PerExampleOfOtherLayers, IsRefusedByTheLayersName) {
  Network network;
  ParameterTable nobodys;
  auto root = std::make_unique<Sequence>();
  root->Append(MakeLinear(network.table, "linear1", 3, 2, true));
  root->Append(MakeResidual(MakeBatchNorm(network.table, nobodys, "norm", 2, 0), nullptr));
  network.root = std::move(root);
  const std::vector<std::string> parts = {"single examples", "batch norm of 2 channels"};
  ExpectError(ErrorKind::kConfig, {"probes[2]: ", parts[0], parts[1]},
              [&] { CheckSingleExamples(network, "probes[2]"); });

  RandomMlp random;
  random.mlp = {{3, 2}, "identity", true, "cross_entropy"};
  Stream stream(36, "others");
  random.theta = RandomVector(stream, static_cast<size_t>(network.table.size()));
  for (size_t i = 0; i < 4; ++i) random.examples.push_back({RandomVector(stream, 3), i % 2});
  const OracleUnderTest it(std::move(network), random, at::kDouble);
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  EXPECT_EQ(gradients.Mean().size(0), it.theta.size(0));
  const PerExample examples(gradients, TileMemory());
  ExpectError(ErrorKind::kConfig, parts, [&] { examples.SquaredNorms(); });
  ExpectError(ErrorKind::kConfig, parts, [&] { examples.MedianOfMeans(2); });
  ExpectError(ErrorKind::kConfig, parts, [&] { examples.Variances(); });
}

}  // namespace
}  // namespace sgdscope
