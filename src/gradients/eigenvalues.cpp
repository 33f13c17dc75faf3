// Extreme eigenpairs of a symmetric matrix A by a block Krylov method that starts from any vectors:
// the Rayleigh-Ritz pairs of a growing orthonormal basis Q, which is extended by the residuals of
// those pairs asked for that have not converged (generalized Davidson without a preconditioner;
// from random rows its space is that of block Lanczos). Where the basis has grown to its limit it is
// restarted with the outermost Ritz vectors of the ends asked for (Wu and Simon 2000, thick restart).
//
// And Gauss quadrature by Lanczos' method (Golub and Meurant 1994), all vectors of which are kept
// and made orthogonal to each other: without that, rounding brings the outer nodes back again.

#include "gradients/eigenvalues.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "nn/reduce.h"

namespace sgdscope {
namespace {

/// <a_i, v> [m] of rows [m, p] and v [p], in double.
at::Tensor Dots(const at::Tensor& rows, const at::Tensor& v) {
  if (rows.scalar_type() == at::kDouble) return at::mv(rows, v);
  std::vector<at::Tensor> dots;
  for (const at::Tensor& row : rows.unbind(0)) dots.push_back(Dot(row, v));
  return at::stack(dots);
}

/// <a_i, b_j> [m, k] of rows [m, p] and [k, p], in double.
at::Tensor AllDots(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() == at::kDouble) return at::mm(a, b.t());
  std::vector<at::Tensor> columns;
  for (const at::Tensor& row : b.unbind(0)) columns.push_back(Dots(a, row));
  return at::stack(columns, 1);
}

/// Orthonormal rows and their products with A.
struct Basis {
  at::Tensor rows;       // [m, p]
  at::Tensor products;   // [m, p]
  at::Tensor projected;  // <row_i, A row_j> [m, m], in double

  int64_t size() const { return rows.size(0); }

  /// Rows that are combinations of these: coefficients [k, m], in double.
  Basis Combined(const at::Tensor& coefficients) const {
    const at::Tensor c = coefficients.to(rows.scalar_type());
    return {at::mm(c, rows), at::mm(c, products),
            at::mm(at::mm(coefficients, projected), coefficients.t())};
  }

  /// With further rows, orthonormal to these.
  Basis With(const at::Tensor& more, const at::Tensor& their_products) const {
    const at::Tensor beside = AllDots(rows, their_products);
    const at::Tensor own = AllDots(more, their_products);
    return {at::cat({rows, more}), at::cat({products, their_products}),
            at::cat({at::cat({projected, beside}, 1), at::cat({beside.t(), own}, 1)})};
  }
};

/// `rows` without what lies in the span of the orthonormal `known` (may have no rows) or of each
/// other, orthonormal: those of which nothing is left are dropped.
at::Tensor Orthonormal(const at::Tensor& rows, const at::Tensor& known) {
  constexpr double kNothing = 1e-6;  // of a row's norm
  at::Tensor all = known;
  for (const at::Tensor& row : rows.unbind(0)) {
    const auto norm = [](const at::Tensor& v) { return v.norm(2, at::kDouble).item<double>(); };
    at::Tensor v = row.div(norm(row));
    const auto project = [&] {
      if (all.size(0) > 0) v = v.sub(at::mv(all.t(), Dots(all, v).to(v.scalar_type())));
    };
    project();
    if (!(norm(v) > kNothing)) continue;
    project();  // twice is enough
    all = at::cat({all, v.div(norm(v)).unsqueeze(0)});
  }
  return all.narrow(0, known.size(0), all.size(0) - known.size(0));
}

/// Places of the outermost of m ascending eigenvalues: `top` from the last on, `bottom` from the
/// first on.
at::Tensor Outermost(int64_t m, int64_t top, int64_t bottom, at::Device device) {
  return at::cat({at::arange(m - 1, m - 1 - top, -1, at::kLong), at::arange(bottom, at::kLong)})
      .to(device);
}

class Search {
 public:
  Search(const SymmetricMatrix& matrix, const EigenSearch& asked, int64_t p)
      : matrix_(matrix), asked_(asked), p_(p) {
    const int64_t rows = asked.Rows(p);
    const int64_t more = rows - asked.largest - asked.smallest;
    top_ = asked.largest + std::min<int64_t>(more, 1);
    bottom_ = rows - top_;
    limit_ = 3 * rows + 8;
  }

  Eigenpairs From(const at::Tensor& start) {
    const at::Tensor first = Orthonormal(start, start.narrow(0, 0, 0));
    if (first.size(0) < top_ + bottom_) return Undefined(start);
    const at::Tensor of_first = Multiplied(first);
    Basis basis{first, of_first, AllDots(first, of_first)};
    while (true) {
      if (!basis.projected.isfinite().all().item<bool>()) return Undefined(start);
      const auto [values, vectors] =
          at::linalg_eigh(basis.projected.add(basis.projected.t()).div(2));
      const at::Tensor ritz = vectors.t();  // [m, m], a row each
      const at::Tensor places = Outermost(basis.size(), top_, bottom_, start.device());
      const at::Tensor found = values.index_select(0, places);
      const Basis pairs = basis.Combined(ritz.index_select(0, places));
      const at::Tensor residual = pairs.products.sub(
          pairs.rows.mul(found.to(start.scalar_type()).unsqueeze(1)));  // [rows, p]
      const at::Tensor norms = residual.norm(2, {1}, false, at::kDouble);
      const at::Tensor open = Open(found, norms, values.abs().max());
      const int64_t room = std::min(asked_.max_products - products_, p_ - basis.size());
      const at::Tensor chosen = open.narrow(0, 0, std::clamp<int64_t>(room, 0, open.size(0)));
      if (basis.size() + chosen.size(0) > limit_) {
        const int64_t spare = (limit_ - top_ - bottom_) / 2;
        const int64_t below = bottom_ == 0 ? 0 : spare / 2;
        const at::Tensor kept =
            Outermost(basis.size(), top_ + spare - below, bottom_ + below, start.device());
        basis = basis.Combined(ritz.index_select(0, kept));
      }
      const at::Tensor added = Orthonormal(residual.index_select(0, chosen), basis.rows);
      if (added.size(0) == 0) {
        return {pairs.rows, found, norms, products_,
                pairs.rows.add(Ascent(residual, values.abs().max()))};
      }
      basis = basis.With(added, Multiplied(added));
    }
  }

 private:
  at::Tensor Multiplied(const at::Tensor& rows) {
    products_ += rows.size(0);
    return matrix_(rows);
  }

  /// Steps [rows, p] along the residuals [rows, p], which are the gradients of the quotients: a component
  /// of eigenvalue l beside a pair's own of lambda is multiplied by 1 +- (l - lambda) / scale, which
  /// makes it no larger for any l within +-scale that does not lie further out.
  at::Tensor Ascent(const at::Tensor& residual, const at::Tensor& scale) const {
    const at::Tensor inverse = scale.reciprocal().masked_fill(scale.eq(0), 0);
    const at::Tensor signs =
        at::cat({at::ones({top_}, inverse.options()), at::full({bottom_}, -1, inverse.options())});
    return residual.mul(signs.mul(inverse).to(residual.scalar_type()).unsqueeze(1));
  }

  /// Places of the pairs to go on with, the largest residuals first: those asked for that have not
  /// converged; where all have, the one more of each end, unless it is known to lie inside. None
  /// where all is done.
  at::Tensor Open(const at::Tensor& values, const at::Tensor& norms, const at::Tensor& scale) {
    at::Tensor asked = norms.gt(scale.mul(asked_.tolerance));
    at::Tensor all = asked;
    const auto settle = [&](int64_t last, double sign) {  // of an end: the place of its one more
      const at::Tensor gap = values[last - 1].sub(values[last]).mul(sign);
      const at::Tensor unsettled = gap.lt(norms[last].add(norms[last - 1]));
      all = all.index_put({at::tensor(last, at::kLong)}, all[last].logical_and(unsettled));
      asked = asked.index_put({at::tensor(last, at::kLong)}, at::zeros({}, asked.options()));
    };
    if (top_ > asked_.largest) settle(top_ - 1, 1);
    if (bottom_ > asked_.smallest) settle(top_ + bottom_ - 1, -1);
    const at::Tensor open = at::where(asked.any(), asked, all);
    const at::Tensor order = norms.argsort(0, /*descending=*/true);
    return order.masked_select(open.index_select(0, order));
  }

  Eigenpairs Undefined(const at::Tensor& start) const {
    const int64_t rows = top_ + bottom_;
    const at::Tensor nothing = at::full({rows}, std::numeric_limits<double>::quiet_NaN(),
                                        start.options().dtype(at::kDouble));
    const at::Tensor vectors = start.narrow(0, 0, rows);
    return {vectors, nothing, nothing, products_, vectors};
  }

  const SymmetricMatrix& matrix_;
  const EigenSearch& asked_;
  int64_t p_;
  int64_t top_;     // pairs sought at the upper end
  int64_t bottom_;  // at the lower one
  int64_t limit_;   // of the basis
  int64_t products_ = 0;
};

}  // namespace

int64_t EigenSearch::Rows(int64_t p) const {
  const int64_t more = looks_out ? 1 : 0;
  return std::min(p, largest + more + (smallest > 0 ? smallest + more : 0));
}

Eigenpairs FindEigenpairs(const SymmetricMatrix& matrix, const at::Tensor& start,
                          const EigenSearch& search) {
  at::NoGradGuard no_grad;
  return Search(matrix, search, start.size(1)).From(start);
}

Quadrature LanczosQuadrature(const SymmetricMatrix& matrix, const at::Tensor& v, int64_t steps) {
  constexpr double kNothing = 100;  // eps of a product's norm: what rounding leaves
  at::NoGradGuard no_grad;
  const double eps = v.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon()
                                                    : std::numeric_limits<float>::epsilon();
  const auto norm = [](const at::Tensor& of) { return of.norm(2, at::kDouble); };
  const at::Tensor basis = at::empty({steps, v.size(0)}, v.options());
  const at::Tensor projected = at::zeros({steps, steps}, v.options().dtype(at::kDouble));
  basis[0].copy_(v.div(norm(v)));
  for (int64_t k = 0; k < steps; ++k) {
    const at::Tensor known = basis.narrow(0, 0, k + 1);
    at::Tensor rest = matrix(basis.narrow(0, k, 1))[0];
    const at::Tensor most = norm(rest).mul(kNothing * eps);
    const at::Tensor dots = Dots(known, rest);
    projected[k][k].copy_(dots[k]);
    if (k + 1 == steps) break;
    rest = rest.sub(at::mv(known.t(), dots.to(v.scalar_type())));
    rest = rest.sub(at::mv(known.t(), Dots(known, rest).to(v.scalar_type())));  // twice is enough
    const at::Tensor length = norm(rest);
    const at::Tensor ended = length.le(most);
    projected[k][k + 1].copy_(length.masked_fill(ended, 0));
    projected[k + 1][k].copy_(projected[k][k + 1]);
    basis[k + 1].copy_(rest.div(length).masked_fill(ended, 0));
  }
  if (!projected.isfinite().all().item<bool>()) {
    const at::Tensor undefined =
        at::full({steps}, std::numeric_limits<double>::quiet_NaN(), projected.options());
    return {undefined, undefined};
  }
  const auto [nodes, vectors] = at::linalg_eigh(projected);
  return {nodes, vectors[0].square()};
}

}  // namespace sgdscope
