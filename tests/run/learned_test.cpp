#include "run/learned.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/files.h"
#include "core/rng.h"
#include "run/checkpoint.h"
#include "tests/run/small_run.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

Split Labelled(const std::vector<int64_t>& labels) {
  const at::Tensor tensor = at::tensor(labels, at::kLong);
  return {at::empty({tensor.size(0), 0}, at::kByte), tensor};
}

at::Tensor Right(const std::vector<int64_t>& right) { return at::tensor(right, at::kLong).ne(0); }

std::vector<std::string> RowsOf(const Learned& learned) {
  const TempFolder folder;
  learned.Write(folder / "learned.csv");
  return Lines(ReadFile(folder / "learned.csv"));
}

TEST(Learned, RemembersTheFirstAndTheLastStepAtWhichAnExampleWasRight) {
  constexpr int64_t kExamples = 30;
  const Split split = Labelled(std::vector<int64_t>(kExamples, 4));
  Learned learned(split);
  std::vector<std::string> first(kExamples);
  std::vector<std::string> last(kExamples);
  Stream stream(1, "test");
  for (const int64_t step : {0, 1, 5, 20, 300}) {
    const at::Tensor right = at::zeros({kExamples}, at::kBool);
    for (size_t i = 0; i < kExamples; ++i) {
      if (stream.Below(3) > 0) continue;
      right[static_cast<int64_t>(i)].fill_(true);
      if (first[i].empty()) first[i] = std::to_string(step);
      last[i] = std::to_string(step);
    }
    learned.Add(step, right);
  }
  const auto rows = RowsOf(learned);
  ASSERT_EQ(rows.size(), 1 + kExamples);
  EXPECT_EQ(rows[0], "example,label,first_right,last_right");
  int never = 0;
  for (size_t i = 0; i < kExamples; ++i) {
    EXPECT_EQ(rows[1 + i], std::to_string(i) + ",4," + first[i] + "," + last[i]);
    if (first[i].empty()) ++never;
  }
  EXPECT_GT(never, 0) << "the empty cell is not tested";
}

TEST(Learned, ShowsOriginalLabelsWhereThereIsLabelNoise) {
  Split split = Labelled({2, 0, 1});
  split.original_labels = at::tensor({2, 1, 0}, at::kLong);
  split.corrupt = split.labels.ne(split.original_labels);
  Learned learned(split);
  learned.Add(7, Right({1, 1, 0}));
  EXPECT_EQ(RowsOf(learned),
            (std::vector<std::string>{"example,label,original_label,corrupt,first_right,last_right",
                                      "0,2,2,0,7,7", "1,0,1,1,7,7", "2,1,0,1,,"}));
}

TEST(Learned, ItsStateIsAllThatARestartNeeds) {
  const Split split = Labelled({0, 1, 2});
  Learned learned(split);
  learned.Add(0, Right({1, 0, 0}));
  learned.Add(1, Right({0, 1, 0}));
  Learned resumed(split);
  RestoreState(learned.State(), resumed.State(), "checkpoint");
  for (Learned* one : {&learned, &resumed}) one->Add(2, Right({1, 0, 1}));
  EXPECT_EQ(RowsOf(resumed), RowsOf(learned));
  EXPECT_EQ(RowsOf(resumed), (std::vector<std::string>{"example,label,first_right,last_right",
                                                       "0,0,0,2", "1,1,1,1", "2,2,2,2"}));
}

}  // namespace
}  // namespace sgdscope
