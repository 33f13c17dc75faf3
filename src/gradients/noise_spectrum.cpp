// C [n, n], <g_i - g, g_j - g>, has the eigenvalues of (n - 1) Sigma that are not 0: where C w =
// lambda w, |w| = 1, the vector sum_i w_i (g_i - g) is an eigenvector of Sigma of length lambda^1/2.

#include "gradients/noise_spectrum.h"

#include <limits>

namespace sgdscope {

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
