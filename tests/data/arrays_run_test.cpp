#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/data/array_files.h"
#include "tests/experiment_helper.h"
#include "tests/temp_folder.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

/// What a run computes depends on the numbers, not on the type that they are stored in.
TEST(ArraysInARun, TrainLikeTheSameNumbersInDouble) {
  const TempFolder folder;
  std::vector<float> floats(40 * 2 * 6 * 5);
  for (size_t i = 0; i < floats.size(); ++i) floats[i] = std::sin(static_cast<float>(i));
  const std::vector<double> doubles(floats.begin(), floats.end());
  std::vector<int64_t> labels(40);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i % 3);
  WriteBytes(folder / "floats.npy", Npy("'<f4'", {40, 2, 6, 5}, BytesOf(floats)));
  WriteBytes(folder / "doubles.npy", Npy("'<f8'", {40, 2, 6, 5}, BytesOf(doubles)));
  WriteBytes(folder / "y.npy", Npy("'<i8'", {40}, BytesOf(labels)));
  for (const std::string normalize : {"none", "dataset"}) {
    std::vector<at::Tensor> thetas;
    for (const std::string inputs : {"floats.npy", "doubles.npy"}) {
      const Json data = {{"name", "arrays"},
                         {"path", folder.path().string()},
                         {"train_files", {inputs, "y.npy"}},
                         {"split", {{"share", 0.25}}},
                         {"normalize", normalize},
                         {"augment", {{"pad", 2}}}};
      ShortRun run(SyntheticConfig({{"data", data}, {"dtype", "float64"}}));
      for (int64_t step = 0; step < 12; ++step) run.stepper().Step(step);
      thetas.push_back(run.stepper().theta());
      EXPECT_EQ(run.experiment().train().size(), 30);
    }
    EXPECT_TRUE(SameBits(thetas[0], thetas[1])) << normalize;
  }
}

}  // namespace
}  // namespace sgdscope
