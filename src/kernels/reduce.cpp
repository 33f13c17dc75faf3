// Sums over the examples of a batch that are robust against outliers, coordinate by coordinate.

#include <vector>

#include "kernels/kernels.h"

namespace sgdscope::kernels {
namespace {

template <class T>
void Columns(const T* values, int64_t n, int64_t m, const Reduction& how, T* out) {
  std::vector<double> column(n);
  for (int64_t j = 0; j < m; ++j) {
    for (int64_t i = 0; i < n; ++i) column[i] = values[i * m + j];
    out[j] = static_cast<T>(reference::Reduce(column, how));
  }
}

}  // namespace

void ReduceColumns(const float* values, int64_t n, int64_t m, const Reduction& how, float* out) {
  Columns(values, n, m, how, out);
}

void ReduceColumns(const double* values, int64_t n, int64_t m, const Reduction& how, double* out) {
  Columns(values, n, m, how, out);
}

}  // namespace sgdscope::kernels
