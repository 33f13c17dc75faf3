#include "data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "config/json.h"
#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "tests/data/prepared.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"

namespace sgdscope {
namespace {

Choice<Sampler> Make(const std::string& name, int64_t examples, int64_t batch_size,
                     const Json& fields = Json::object(), uint64_t seed = 1) {
  Choice<Sampler> sampler(name);
  ReadFields(fields, "sampler", [&](FieldVisitor& visitor) { sampler->Fields(visitor); });
  sampler->Prepare(seed, examples, batch_size, "sampler");
  return sampler;
}

std::vector<int64_t> Indices(Sampler& sampler, int64_t step) {
  const at::Tensor batch = sampler.At(step);
  EXPECT_EQ(batch.scalar_type(), at::kLong);
  EXPECT_TRUE(batch.is_cpu() && batch.is_contiguous() && batch.dim() == 1);
  return {batch.data_ptr<int64_t>(), batch.data_ptr<int64_t>() + batch.numel()};
}

TEST(Samplers, EveryNameHasHelpAndKeepsTheContract) {
  ASSERT_GE(Registry<Sampler>::entries().size(), 3u);
  for (const auto& [name, entry] : Registry<Sampler>::entries()) {
    SCOPED_TRACE(name);
    EXPECT_FALSE(entry.help.empty());
    const auto sampler = MakeExample<Sampler>(name);
    const auto again = MakeExample<Sampler>(name);
    const int64_t n = PrepareForBatches(*sampler, 1, 60, 10);
    EXPECT_EQ(PrepareForBatches(*again, 1, 60, 10), n);
    EXPECT_EQ(sampler->batch_size(), n);
    EXPECT_EQ(sampler->smallest_batch(), n);
    EXPECT_EQ(sampler->EpochAt(0), 0);
    EXPECT_EQ(sampler->EpochAt(7 * sampler->steps_per_epoch()), 7);
    std::map<int64_t, std::vector<int64_t>> forward;
    for (int64_t step = 0; step < 100; ++step) {
      forward[step] = Indices(*sampler, step);
      EXPECT_EQ(static_cast<int64_t>(forward[step].size()), n);
      for (const int64_t index : forward[step]) EXPECT_TRUE(index >= 0 && index < 60) << index;
    }
    // A pure function of the step: backwards, and by another object.
    for (int64_t step = 99; step >= 0; --step) {
      EXPECT_EQ(Indices(*sampler, step), forward[step]) << step;
      EXPECT_EQ(Indices(*again, (step * 37) % 100), forward[(step * 37) % 100]);
    }
    EXPECT_EQ(sampler->SameEveryStep(), forward[0] == forward[1]);
  }
}

TEST(Samplers, ABatchIsTheCallersToChange) {
  for (const auto& [name, entry] : Registry<Sampler>::entries()) {
    const auto sampler = MakeExample<Sampler>(name);
    PrepareForBatches(*sampler, 1, 6, 3);
    const std::vector<int64_t> before = Indices(*sampler, 0);
    sampler->At(0).fill_(-1);
    EXPECT_EQ(Indices(*sampler, 0), before) << name;
  }
}

TEST(Shuffle, EachExampleOnceAnEpochInANewOrder) {
  const Choice<Sampler> sampler = Make("shuffle", 12, 4);
  ASSERT_EQ(sampler->steps_per_epoch(), 3);
  std::vector<std::vector<int64_t>> epochs;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    std::vector<int64_t> order;
    for (int64_t step = 0; step < 3; ++step) {
      for (const int64_t index : Indices(*sampler, 3 * epoch + step)) order.push_back(index);
    }
    Stream stream(1, "order", static_cast<uint64_t>(epoch));
    EXPECT_EQ(order, Permutation(stream, 12));
    epochs.push_back(order);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(Indices(*Make("shuffle", 12, 4, Json::object(), 2), 0), Indices(*sampler, 0));
}

TEST(Shuffle, KeptLastBatchIsShort) {
  const Choice<Sampler> sampler = Make("shuffle", 10, 4, {{"drop_last", false}});
  EXPECT_EQ(sampler->steps_per_epoch(), 3);
  EXPECT_EQ(sampler->batch_size(), 4);
  EXPECT_EQ(sampler->smallest_batch(), 2);
  std::vector<int> seen(10, 0);
  for (int64_t step = 0; step < 3; ++step) {
    const std::vector<int64_t> batch = Indices(*sampler, 3 + step);
    EXPECT_EQ(batch.size(), step < 2 ? 4u : 2u);
    for (const int64_t index : batch) ++seen[index];
  }
  EXPECT_EQ(seen, std::vector<int>(10, 1));
  EXPECT_DOUBLE_EQ(sampler->EpochAt(2), 0.8);
  EXPECT_EQ(sampler->EpochAt(3), 1);
  EXPECT_DOUBLE_EQ(sampler->EpochAt(4), 1.4);
}

TEST(Shuffle, DroppedLastBatchLeavesWholeBatches) {
  const Choice<Sampler> sampler = Make("shuffle", 10, 4, {{"drop_last", true}});
  EXPECT_EQ(sampler->steps_per_epoch(), 2);
  EXPECT_EQ(sampler->smallest_batch(), 4);
  std::vector<int> seen(10, 0);
  for (int64_t step = 0; step < 400; ++step) {
    ASSERT_EQ(Indices(*sampler, step).size(), 4u);
    for (const int64_t index : Indices(*sampler, step)) ++seen[index];
  }
  // Others are left out in every epoch: none of the ten is always missing.
  for (const int count : seen) EXPECT_GT(count, 100);
  EXPECT_EQ(sampler->EpochAt(1), 0.5);
  EXPECT_EQ(sampler->EpochAt(14), 7);
}

TEST(Shuffle, DropLastMustBeGivenWhereItMatters) {
  ExpectError(ErrorKind::kConfig, {"sampler.drop_last", "10", "4", "true", "false", "2"},
              [] { Make("shuffle", 10, 4); });
  EXPECT_EQ(Make("shuffle", 12, 4)->steps_per_epoch(), 3);
  EXPECT_EQ(Make("shuffle", 12, 4, {{"drop_last", true}})->steps_per_epoch(), 3);
  EXPECT_EQ(Make("shuffle", 12, 4, {{"drop_last", false}})->steps_per_epoch(), 3);
}

TEST(Shuffle, BatchSizeMustFit) {
  ExpectError(ErrorKind::kConfig, {"sampler", "batch_size", "1 to 10", "found 11"},
              [] { Make("shuffle", 10, 11); });
  ExpectError(ErrorKind::kConfig, {"sampler", "batch_size", "found none"},
              [] { Make("shuffle", 10, 0); });
}

TEST(Shuffle, IsTheSameAfterPreparingAnew) {
  const Choice<Sampler> sampler = Make("shuffle", 100, 10);
  Indices(*sampler, 0);
  sampler->Prepare(5, 50, 10, "sampler");
  EXPECT_EQ(Indices(*sampler, 0), Indices(*Make("shuffle", 50, 10, Json::object(), 5), 0));
}

// Probes look back over many epochs, more than are kept.
TEST(Shuffle, FarLooksBack) {
  const Choice<Sampler> sampler = Make("shuffle", 20, 10);
  for (int64_t step = 0; step < 200; ++step) {
    for (const int64_t lag : {0, 1, 7, 50, 120}) {
      if (lag > step) continue;
      Stream stream(1, "order", static_cast<uint64_t>((step - lag) / 2));
      const std::vector<int64_t> order = Permutation(stream, 20);
      const auto begin = order.begin() + (step - lag) % 2 * 10;
      ASSERT_EQ(Indices(*sampler, step - lag), std::vector<int64_t>(begin, begin + 10));
    }
  }
}

// ---- What shuffle, forward_reverse and fixed_batches have in common

const std::vector<std::string> kEpochSamplers = {"shuffle", "forward_reverse", "fixed_batches"};

/// The batches of an epoch in the order of their visits.
std::vector<std::vector<int64_t>> EpochOf(const Choice<Sampler>& sampler, int64_t epoch) {
  std::vector<std::vector<int64_t>> batches;
  for (int64_t place = 0; place < sampler->steps_per_epoch(); ++place) {
    batches.push_back(Indices(*sampler, epoch * sampler->steps_per_epoch() + place));
  }
  return batches;
}

TEST(EpochSamplers, VisitEachExampleOnceAnEpochAndCountThem) {
  for (const std::string& name : kEpochSamplers) {
    for (const int64_t batch_size : {1, 3, 4, 7, 13}) {
      SCOPED_TRACE(name + " " + std::to_string(batch_size));
      const Choice<Sampler> sampler = Make(name, 13, batch_size, {{"drop_last", false}});
      int64_t used = 0;
      for (int64_t epoch = 0; epoch < 12; ++epoch) {
        std::vector<int> seen(13, 0);
        int64_t step = epoch * sampler->steps_per_epoch();
        for (const auto& batch : EpochOf(sampler, epoch)) {
          EXPECT_EQ(sampler->EpochAt(step++), static_cast<double>(used) / 13);
          used += static_cast<int64_t>(batch.size());
          for (const int64_t index : batch) ++seen[static_cast<size_t>(index)];
        }
        EXPECT_EQ(seen, std::vector<int>(13, 1));
      }
    }
  }
}

TEST(EpochSamplers, DropLastLeavesWholeBatches) {
  for (const std::string& name : kEpochSamplers) {
    const Choice<Sampler> sampler = Make(name, 13, 4, {{"drop_last", true}});
    EXPECT_EQ(sampler->steps_per_epoch(), 3) << name;
    for (int64_t step = 0; step < 30; ++step) {
      EXPECT_EQ(Indices(*sampler, step).size(), 4u) << name;
      EXPECT_EQ(sampler->EpochAt(step), static_cast<double>(step) / 3) << name;
    }
    ExpectError(ErrorKind::kConfig, {"sampler.drop_last", "13", "4", "true", "false", "1"},
                [&] { Make(name, 13, 4); });
  }
}

TEST(ForwardReverse, EverySecondEpochIsTheOneBeforeItInReverse) {
  for (const bool drop_last : {false, true}) {
    const Json fields = {{"drop_last", drop_last}};
    const Choice<Sampler> sampler = Make("forward_reverse", 14, 4, fields);
    const Choice<Sampler> shuffle = Make("shuffle", 14, 4, fields);
    for (int64_t epoch = 0; epoch < 20; epoch += 2) {
      const auto forward = EpochOf(sampler, epoch);
      auto reverse = EpochOf(sampler, epoch + 1);
      std::ranges::reverse(reverse);
      EXPECT_EQ(reverse, forward) << epoch;
      EXPECT_EQ(forward, EpochOf(shuffle, epoch)) << epoch;
    }
    EXPECT_NE(EpochOf(sampler, 0), EpochOf(sampler, 2));
  }
}

TEST(FixedBatches, AreTheSameInEveryEpochInANewOrder) {
  for (const bool drop_last : {false, true}) {
    const Choice<Sampler> sampler = Make("fixed_batches", 22, 4, {{"drop_last", drop_last}});
    const auto first = EpochOf(sampler, 0);
    const std::set<std::vector<int64_t>> batches(first.begin(), first.end());
    std::set<std::vector<std::vector<int64_t>>> orders;
    for (int64_t epoch = 0; epoch < 20; ++epoch) {
      const auto visited = EpochOf(sampler, epoch);
      EXPECT_EQ(std::set(visited.begin(), visited.end()), batches) << epoch;
      orders.insert(visited);
    }
    EXPECT_GT(orders.size(), 15u);  // of 120 or 720 possible ones
    EXPECT_NE(EpochOf(Make("fixed_batches", 22, 4, {{"drop_last", drop_last}}, 2), 0), first);
  }
}

// Each of three batches comes first, second and third equally often.
TEST(FixedBatches, OrdersAreUniform) {
  const Choice<Sampler> sampler = Make("fixed_batches", 3, 1);
  std::vector<double> counts(9, 0);
  for (int64_t epoch = 0; epoch < 3000; ++epoch) {
    const auto visited = EpochOf(sampler, epoch);
    for (size_t place = 0; place < 3; ++place) {
      ++counts[place * 3 + static_cast<size_t>(visited[place][0])];
    }
  }
  // Binomial with n = 3000, p = 1/3: standard deviation 25.8; 4.5 of them for nine counts.
  for (const double count : counts) EXPECT_NEAR(count, 1000, 116);
}

TEST(FixedBatches, ASingleBatchIsTheSameAtEveryStep) {
  EXPECT_TRUE(Make("fixed_batches", 6, 6)->SameEveryStep());
  EXPECT_FALSE(Make("fixed_batches", 6, 3)->SameEveryStep());
}

TEST(Replacement, DrawsFromTheWholeSetAtEveryStep) {
  const Choice<Sampler> sampler = Make("replacement", 50, 20);
  EXPECT_EQ(sampler->steps_per_epoch(), 3);
  EXPECT_DOUBLE_EQ(sampler->EpochAt(1), 0.4);
  EXPECT_EQ(sampler->EpochAt(5), 2);
  std::vector<double> counts(50, 0);
  for (int64_t step = 0; step < 1000; ++step) {
    const std::vector<int64_t> batch = Indices(*sampler, step);
    ASSERT_EQ(batch.size(), 20u);
    for (const int64_t index : batch) ++counts[index];
  }
  // 20,000 draws, 400 an example. Chi-square with 49 degrees of freedom: mean 49, standard
  // deviation 9.9; a value outside 20 ... 90 has a probability below 1e-3.
  double chi_square = 0;
  for (const double count : counts) chi_square += (count - 400) * (count - 400) / 400;
  EXPECT_GT(chi_square, 20);
  EXPECT_LT(chi_square, 90);
}

TEST(Replacement, BatchSize) {
  ExpectError(ErrorKind::kConfig, {"sampler", "batch_size"}, [] { Make("replacement", 10, 0); });
  EXPECT_EQ(Indices(*Make("replacement", 3, 8), 0).size(), 8u);
  EXPECT_EQ(Make("replacement", 3, 8)->steps_per_epoch(), 1);
}

TEST(Full, IsTheWholeSetInOrder) {
  const Choice<Sampler> sampler = Make("full", 4, 0);
  EXPECT_EQ(Indices(*sampler, 9), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(sampler->batch_size(), 4);
  EXPECT_EQ(sampler->steps_per_epoch(), 1);
  EXPECT_EQ(sampler->EpochAt(3), 3);
  EXPECT_TRUE(sampler->SameEveryStep());
  EXPECT_EQ(Make("full", 4, 4)->batch_size(), 4);
  ExpectError(ErrorKind::kConfig, {"sampler", "batch_size", "4", "2"}, [] { Make("full", 4, 2); });
}

}  // namespace
}  // namespace sgdscope
