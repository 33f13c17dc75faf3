#include <gtest/gtest.h>

#include <vector>

#include "kernels/kernels.h"

namespace sgdscope {
namespace {

template <class T>
void ExpectTransposed() {
  for (const int64_t blocks : {0, 1, 3}) {
    for (const int64_t rows : {1, 2, 9, 17}) {
      for (const int64_t columns : {1, 4, 25}) {
        std::vector<T> in(static_cast<size_t>(blocks * rows * columns));
        for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<T>(i);
        std::vector<T> out(in.size(), -1);
        kernels::TransposeEach(in.data(), blocks, rows, columns, out.data());
        for (int64_t b = 0; b < blocks; ++b) {
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < columns; ++c) {
              EXPECT_EQ(out[static_cast<size_t>((b * columns + c) * rows + r)],
                        in[static_cast<size_t>((b * rows + r) * columns + c)])
                  << blocks << " of " << rows << " x " << columns;
            }
          }
        }
      }
    }
  }
}

TEST(TransposeKernel, TransposesEachMatrix) {
  ExpectTransposed<float>();
  ExpectTransposed<double>();
}

}  // namespace
}  // namespace sgdscope
