#include "kernels/kernels.h"

namespace sgdscope::kernels {
namespace {

template <class T>
void Transpose(const T* in, int64_t blocks, int64_t rows, int64_t columns, T* out) {
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t column = 0; column < columns; ++column) {
      const T* from = in + column;
      for (int64_t row = 0; row < rows; ++row) out[row] = from[row * columns];
      out += rows;
    }
    in += rows * columns;
  }
}

}  // namespace

void TransposeEach(const float* in, int64_t blocks, int64_t rows, int64_t columns, float* out) {
  Transpose(in, blocks, rows, columns, out);
}

void TransposeEach(const double* in, int64_t blocks, int64_t rows, int64_t columns, double* out) {
  Transpose(in, blocks, rows, columns, out);
}

}  // namespace sgdscope::kernels
