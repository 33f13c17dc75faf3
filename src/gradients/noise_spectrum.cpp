// C [n, n], <g_i - g, g_j - g>, has the eigenvalues of (n - 1) Sigma that are not 0: where C w =
// lambda w, |w| = 1, the vector sum_i w_i (g_i - g) is an eigenvector of Sigma of length lambda^1/2.

#include "gradients/noise_spectrum.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "gradients/per_example.h"
#include "gradients/pieces.h"

namespace sgdscope {

at::Tensor GramInPieces(const Oracle& oracle, const at::Tensor& indices, const at::Tensor& theta,
                        int64_t size) {
  at::NoGradGuard no_grad;
  const int64_t n = indices.size(0);
  const int64_t at_once = AtOnce(oracle, std::min(n, 2 * size));
  if (at_once == 1 && n > 1) {
    throw Error(ErrorKind::kConfig, "piece_size",
                "1, but products of the gradients of two examples need both of them at once",
                "Raise it or leave it out.");
  }
  const auto of = [&](const at::Tensor& examples) {
    const Gradients gradients = oracle.Evaluate(oracle.Load(examples), theta);
    return PerExample(gradients, TileMemory()).Gram();
  };
  if (at_once == n) return of(indices);
  const at::Tensor gram = at::empty({n, n}, theta.options().dtype(at::kDouble));
  const int64_t piece = at_once / 2;
  for (int64_t i = 0; i < n; i += piece) {
    for (int64_t j = i + piece; j < n; j += piece) {
      const at::Tensor places = at::cat(
          {at::arange(i, i + piece, at::kLong), at::arange(j, std::min(j + piece, n), at::kLong)});
      const at::Tensor there = places.to(gram.device());
      gram.index_put_({there.unsqueeze(1), there}, of(indices.index_select(0, places)));
    }
  }
  return gram;
}

NoiseSpectrum SpectrumOfNoise(const at::Tensor& gram) {
  at::NoGradGuard no_grad;
  const at::Tensor means = gram.mean(0);  // <g_i, g>
  const at::Tensor centered = gram.sub(means).sub(means.unsqueeze(1)).add(means.mean());
  const at::Tensor unknown = gram.isfinite().all().logical_not();
  const auto [ascending, columns] = at::linalg_eigh(centered.masked_fill(unknown, 0));
  const at::Tensor values =
      ascending.flip(0).masked_fill(unknown, std::numeric_limits<double>::quiet_NaN());
  constexpr double kNothing = 1e-12;  // of the largest
  const at::Tensor lengths = values.sqrt().unsqueeze(1);
  const at::Tensor nothing = values.le(values[0].mul(kNothing)).unsqueeze(1);
  return {values.div(static_cast<double>(gram.size(0) - 1)),
          columns.t().flip(0).div(lengths).masked_fill(nothing, 0)};
}

}  // namespace sgdscope
