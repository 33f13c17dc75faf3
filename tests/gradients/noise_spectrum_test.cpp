#include "gradients/noise_spectrum.h"

#include <gtest/gtest.h>

#include "gradients/per_example.h"
#include "tests/expect_error.h"
#include "tests/random_mlp.h"

namespace sgdscope {
namespace {

/// Pieces of any size make the matrix that all examples make at once, also where the oracle takes fewer
/// at once than two pieces are.
TEST(GramInPieces, IsThatOfAllExamples) {
  for (uint64_t index = 1; index < 20; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    const auto n = static_cast<int64_t>(random.examples.size());
    const at::Tensor order = at::arange(n - 1, -1, -1, at::kLong);
    const at::Tensor whole =
        PerExample(it.oracle.Evaluate(it.oracle.Load(order), it.theta), TileMemory()).Gram();
    const Normalizer normalizer("none", it.oracle.split(), at::kDouble);
    for (int64_t at_once = 2; at_once <= n + 1; ++at_once) {
      const Oracle oracle(it.network(), it.loss(), it.oracle.split(), normalizer, at_once);
      for (int64_t size = 1; size <= n; ++size) {
        const at::Tensor gram = GramInPieces(oracle, order, it.theta, size);
        EXPECT_LE(gram.sub(whole).abs().max().item<double>(),
                  1e-13 * whole.abs().max().item<double>())
            << random.Text() << ", " << size << " of " << at_once;
      }
    }
  }
}

TEST(GramInPieces, NeedsTwoExamplesAtOnce) {
  const RandomMlp random = MakeRandomMlp(1);
  const OracleUnderTest it(random, at::kDouble);
  const Normalizer normalizer("none", it.oracle.split(), at::kDouble);
  const Oracle oracle(it.network(), it.loss(), it.oracle.split(), normalizer, 1);
  ExpectError(ErrorKind::kConfig, {"piece_size", "1"},
              [&] { GramInPieces(oracle, at::arange(2, at::kLong), it.theta, 2); });
}

}  // namespace
}  // namespace sgdscope
