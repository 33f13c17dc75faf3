#include "gradients/eigenvalues.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

/// Q diag(spectrum) Q^T with a random orthogonal Q.
at::Tensor WithSpectrum(const oracle::Vector& spectrum, uint64_t index) {
  const auto p = static_cast<int64_t>(spectrum.size());
  Stream stream(70, "orthogonal", index);
  const at::Tensor q = std::get<0>(at::linalg_qr(RandomTensor(stream, {p, p})));
  return at::mm(q.mul(ToTensor(spectrum, {p})), q.t());
}

at::Tensor RandomRows(int64_t rows, int64_t p, uint64_t index) {
  Stream stream(71, "start", index);
  return RandomTensor(stream, {rows, p});
}

/// The search under test, counting products.
struct Counted {
  Eigenpairs Find(const at::Tensor& a, const at::Tensor& start, const EigenSearch& search) {
    const SymmetricMatrix matrix = [&](const at::Tensor& rows) {
      products += rows.size(0);
      return at::mm(rows, a);
    };
    return FindEigenpairs(matrix, start, search);
  }
  int64_t products = 0;
};

constexpr double kTight = 1e-11;
constexpr int64_t kMany = 100000;

/// Against a dense eigensolver: values, residuals, orthonormality.
void ExpectSolves(const at::Tensor& a, const EigenSearch& search, const at::Tensor& start) {
  const int64_t p = a.size(0);
  const std::string what = "p " + std::to_string(p) + ", " + std::to_string(search.largest) + ", " +
                           std::to_string(search.smallest);
  const Eigenpairs found = Counted().Find(a, start, search);
  const at::Tensor all = std::get<0>(at::linalg_eigh(a));
  const double scale = all.abs().max().item<double>();
  const int64_t rows = search.Rows(p);
  ASSERT_EQ(found.vectors.sizes(), at::IntArrayRef({rows, p})) << what;
  const int64_t lower = std::min(search.largest + 1, rows - search.smallest);
  for (int64_t i = 0; i < search.largest; ++i) {
    EXPECT_NEAR(found.values[i].item<double>(), all[p - 1 - i].item<double>(), 1e-10 * scale)
        << what << ", largest " << i;
    EXPECT_LE(found.residuals[i].item<double>(), kTight * scale) << what;
  }
  for (int64_t i = 0; i < search.smallest; ++i) {
    EXPECT_NEAR(found.values[lower + i].item<double>(), all[i].item<double>(), 1e-10 * scale)
        << what << ", smallest " << i;
    EXPECT_LE(found.residuals[lower + i].item<double>(), kTight * scale) << what;
  }
  const at::Tensor residual =
      at::mm(found.vectors, a).sub(found.vectors.mul(found.values.unsqueeze(1))).norm(2, 1);
  // Combinations of up to 3 rows + 8 products, each off by some eps of |A|.
  EXPECT_LE(residual.sub(found.residuals).abs().max().item<double>(), 1e-12 * scale) << what;
  const at::Tensor gram = at::mm(found.vectors, found.vectors.t());
  EXPECT_LE(gram.sub(at::eye(rows, gram.options())).abs().max().item<double>(), 1e-12) << what;
}

TEST(FindEigenpairs, AgreesWithADenseSolver) {
  uint64_t index = 0;
  for (const size_t p : {1, 2, 3, 7, 60}) {
    for (const int64_t largest : {1, 2, 5}) {
      for (const int64_t smallest : {0, 1, 3}) {
        if (largest + smallest > static_cast<int64_t>(p)) continue;
        Stream stream(72, "spectrum", ++index);
        oracle::Vector spectrum = RandomVector(stream, p);
        const at::Tensor a = WithSpectrum(spectrum, index);
        const EigenSearch search{largest, smallest, kTight, kMany};
        ExpectSolves(a, search, RandomRows(search.Rows(a.size(0)), a.size(0), index));
      }
    }
  }
}

TEST(FindEigenpairs, FindsEqualEigenvalues) {
  const EigenSearch search{3, 2, kTight, kMany};
  ExpectSolves(WithSpectrum(oracle::Vector(20, 0.5), 1), search, RandomRows(7, 20, 1));
  oracle::Vector spectrum(30, 0.1);
  spectrum[3] = spectrum[8] = spectrum[20] = 2;
  spectrum[4] = spectrum[5] = -1;
  ExpectSolves(WithSpectrum(spectrum, 2), search, RandomRows(7, 30, 2));
}

TEST(FindEigenpairs, FindsTheZerosOfNothing) {
  const Eigenpairs found =
      Counted().Find(at::zeros({9, 9}, at::kDouble), RandomRows(3, 9, 3), {2, 0, 1e-3, kMany});
  EXPECT_EQ(found.values.abs().max().item<double>(), 0);
  EXPECT_EQ(found.products, 3);
}

/// Twenty eigenvalues near the edge, none of which is far from the next: what restarts are for.
TEST(FindEigenpairs, RestartsWithinItsMemory) {
  oracle::Vector spectrum;
  for (int i = 0; i < 300; ++i) spectrum.push_back(1 - 0.003 * i);
  const at::Tensor a = WithSpectrum(spectrum, 4);
  ExpectSolves(a, {2, 1, kTight, kMany}, RandomRows(5, 300, 4));
}

/// Sums over many numbers are in double, also of float32: an error of theirs would be one of all
/// eigenvalues at once, which residuals don't show.
TEST(FindEigenpairs, InFloat32TheValuesAreThoseOfTheVectors) {
  constexpr int64_t kSize = 300000;
  const at::Tensor diagonal = at::linspace(0, 1, kSize, at::kFloat).pow(4);
  const SymmetricMatrix matrix = [&](const at::Tensor& rows) { return rows.mul(diagonal); };
  Stream stream(77, "start");
  const at::Tensor start = RandomTensor(stream, {3, kSize}, at::kFloat);
  const Eigenpairs found = FindEigenpairs(matrix, start, {2, 0, 1e-4, 25});
  const at::Tensor x = found.vectors.to(at::kDouble);
  const at::Tensor gram = at::mm(x, x.t());
  EXPECT_LE(gram.sub(at::eye(3, gram.options())).abs().max().item<double>(), 1e-6);
  const at::Tensor quotients = x.square().mul(diagonal.to(at::kDouble)).sum(1).div(gram.diagonal());
  EXPECT_LE(quotients.sub(found.values).abs().max().item<double>(), 1e-6);
}

TEST(FindEigenpairs, FromEigenvectorsTakesOneProductEach) {
  Stream stream(73, "spectrum");
  const at::Tensor a = WithSpectrum(RandomVector(stream, 60), 5);
  const EigenSearch search{3, 1, 1e-6, kMany};
  const Eigenpairs first = Counted().Find(a, RandomRows(6, 60, 5), search);
  EXPECT_GT(first.products, 20);
  Counted counted;
  const Eigenpairs again = counted.Find(a, first.vectors, search);
  EXPECT_LE(again.products, 8);  // and what the one more of each end may take
  EXPECT_EQ(again.products, counted.products);
  EXPECT_LE(again.values.sub(first.values).narrow(0, 0, 3).abs().max().item<double>(), 1e-10);
}

/// Without looking out for what overtakes, a product for each that is asked for is all.
TEST(FindEigenpairs, FromEigenvectorsAloneTakesNoProductMore) {
  Stream stream(73, "spectrum");
  const at::Tensor a = WithSpectrum(RandomVector(stream, 60), 5);
  const Eigenpairs first = Counted().Find(a, RandomRows(6, 60, 5), {3, 1, 1e-6, kMany});
  const at::Tensor asked = at::tensor({0, 1, 2, 4}, at::kLong);
  const EigenSearch search{3, 1, 1e-6, kMany, /*looks_out=*/false};
  const Eigenpairs again = Counted().Find(a, first.vectors.index_select(0, asked), search);
  EXPECT_EQ(again.products, 4);
  EXPECT_LE(again.values.sub(first.values.index_select(0, asked)).abs().max().item<double>(),
            1e-10);
}

/// Where the next search begins is nearer to the eigenvectors at both ends, without a product more.
TEST(FindEigenpairs, ItsNextVectorsAreNearer) {
  oracle::Vector spectrum;
  for (int i = 0; i < 100; ++i) spectrum.push_back(i < 3 ? 10 - i : std::cos(i));
  spectrum[50] = -4;
  spectrum[51] = -3;
  const at::Tensor a = WithSpectrum(spectrum, 13);
  for (const double tolerance : {0.2, 0.05}) {
    const Eigenpairs found =
        Counted().Find(a, RandomRows(3, 100, 13), {2, 1, tolerance, kMany, /*looks_out=*/false});
    const at::Tensor products = at::mm(found.next, a);
    const at::Tensor quotients = products.mul(found.next).sum(1).div(found.next.square().sum(1));
    const at::Tensor exact = at::tensor({10.0, 9.0, -4.0}, at::kDouble);
    const at::Tensor before = found.values.sub(exact).abs();
    const at::Tensor after = quotients.sub(exact).abs();
    EXPECT_GT(before.min().item<double>(), 1e-9);
    EXPECT_TRUE(after.lt(before).all().item<bool>()) << before << after;
  }
}

/// The one more that is sought beside the largest takes no products until that is found: they would
/// make every second of the search's powers of A.
TEST(FindEigenpairs, GoesOnWithWhatIsAskedFor) {
  oracle::Vector spectrum;
  for (int i = 0; i < 300; ++i) spectrum.push_back(1 - 0.003 * i);
  const Eigenpairs found =
      Counted().Find(WithSpectrum(spectrum, 11), RandomRows(2, 300, 11), {1, 0, 1e-3, kMany});
  EXPECT_NEAR(found.values[0].item<double>(), 1, 1e-3);
  EXPECT_LE(found.products, 50);
}

/// The vectors of the largest eigenvalues stay eigenvectors, to rounding, and a direction orthogonal
/// to them overtakes: it is found from one row more that leans to it.
TEST(FindEigenpairs, FindsWhatOvertakes) {
  oracle::Vector spectrum;
  for (int i = 0; i < 50; ++i) spectrum.push_back(1 - 0.02 * i);
  const at::Tensor a = at::diag(ToTensor(spectrum, {50}));
  const EigenSearch search{2, 0, 1e-6, kMany};
  const Eigenpairs before = Counted().Find(a, RandomRows(3, 50, 6), search);
  at::Tensor later = a.clone();
  later[30][30] = 3;
  const at::Tensor start = at::cat({before.vectors, RandomRows(1, 50, 7)});
  start[3][30] = 10;
  const Eigenpairs after = Counted().Find(later, start, search);
  EXPECT_NEAR(after.values[0].item<double>(), 3, 1e-9);
  EXPECT_NEAR(after.values[1].item<double>(), 1, 1e-9);
}

TEST(FindEigenpairs, StopsAtItsMostProducts) {
  Stream stream(74, "spectrum");
  const at::Tensor a = WithSpectrum(RandomVector(stream, 80), 8);
  for (const int64_t most : {3, 4, 10, 17}) {
    Counted counted;
    const Eigenpairs found = counted.Find(a, RandomRows(3, 80, 8), {2, 0, 1e-14, most});
    EXPECT_EQ(found.products, most);
    EXPECT_EQ(counted.products, most);
    EXPECT_GT(found.residuals[1].item<double>(), 1e-6);
  }
}

TEST(FindEigenpairs, LeavesTheStartWhereProductsAreNotFinite) {
  const at::Tensor start = RandomRows(3, 10, 9);
  const Eigenpairs found =
      Counted().Find(at::full({10, 10}, NAN, at::kDouble), start, {2, 0, 1e-3, kMany});
  EXPECT_TRUE(SameBits(found.vectors, start));
  EXPECT_TRUE(found.values.isnan().all().item<bool>());
  EXPECT_TRUE(found.residuals.isnan().all().item<bool>());
}

Quadrature QuadratureOf(const at::Tensor& a, const at::Tensor& v, int64_t steps) {
  return LanczosQuadrature([&](const at::Tensor& rows) { return at::mm(rows, a); }, v, steps);
}

/// <v, A^k v> / <v, v> for all k < 2 steps, of a known spectrum.
TEST(LanczosQuadrature, HasTheMomentsOfTheMatrix) {
  constexpr int64_t kSize = 40;
  Stream stream(78, "spectrum");
  const at::Tensor a = WithSpectrum(RandomVector(stream, kSize), 10);
  const double largest = a.norm(2).item<double>();  // at least |A|
  const at::Tensor v = RandomRows(1, kSize, 10)[0];
  for (const int64_t steps : {1, 2, 5, 10}) {
    const auto [nodes, weights] = QuadratureOf(a, v, steps);
    at::Tensor power = v;
    for (int64_t k = 0; k < 2 * steps; ++k) {
      const double expected = power.dot(v).div(v.dot(v)).item<double>();
      EXPECT_NEAR(weights.dot(nodes.pow(k)).item<double>(), expected,
                  1e-13 * std::pow(largest, static_cast<double>(k)))
          << steps << " steps, moment " << k;
      power = at::mv(a, power);
    }
  }
}

/// With as many steps as dimensions, or as eigenvalues that differ, the nodes are the eigenvalues.
TEST(LanczosQuadrature, FindsTheWholeSpectrum) {
  oracle::Vector spectrum(30, 0.5);
  spectrum[4] = -2;
  spectrum[9] = 3;
  const at::Tensor v = RandomRows(1, 30, 11)[0];
  for (const int64_t steps : {3, 7, 40}) {
    const auto [nodes, weights] = QuadratureOf(at::diag(ToTensor(spectrum, {30})), v, steps);
    EXPECT_NEAR(weights.sum().item<double>(), 1, 1e-13);
    const at::Tensor shares = v.square().div(v.dot(v));
    for (const double eigenvalue : {-2.0, 0.5, 3.0}) {
      const at::Tensor here = nodes.sub(eigenvalue).abs().lt(1e-9);
      const at::Tensor there = ToTensor(spectrum, {30}).eq(eigenvalue);
      EXPECT_NEAR(weights.mul(here).sum().item<double>(), shares.mul(there).sum().item<double>(),
                  1e-13)
          << steps << " " << eigenvalue;
    }
  }
}

/// Rounding in float32 brings no outer eigenvalue twice.
TEST(LanczosQuadrature, KeepsItsVectorsOrthogonal) {
  constexpr int64_t kSize = 2000;
  const at::Tensor diagonal = at::linspace(0, 1, kSize, at::kFloat);
  diagonal[kSize - 1].fill_(50);
  diagonal[kSize - 2].fill_(20);
  Stream stream(79, "start");
  const at::Tensor v = RandomTensor(stream, {kSize}, at::kFloat);
  const SymmetricMatrix matrix = [&](const at::Tensor& rows) { return rows.mul(diagonal); };
  const auto [nodes, weights] = LanczosQuadrature(matrix, v, 40);
  EXPECT_EQ(nodes.gt(10).sum().item<int64_t>(), 2);
  EXPECT_NEAR(nodes[39].item<double>(), 50, 1e-4);
  EXPECT_NEAR(nodes[38].item<double>(), 20, 1e-4);
}

TEST(LanczosQuadrature, OfWhatIsNotFiniteIsNaN) {
  const auto [nodes, weights] =
      QuadratureOf(at::full({9, 9}, NAN, at::kDouble), RandomRows(1, 9, 12)[0], 3);
  EXPECT_TRUE(nodes.isnan().all().item<bool>());
  EXPECT_TRUE(weights.isnan().all().item<bool>());
}

}  // namespace
}  // namespace sgdscope
