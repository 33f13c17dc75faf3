#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/csv.h"
#include "data/distinct.h"
#include "tests/expect_error.h"
#include "tests/oracles.h"
#include "tests/probes/lone_probe.h"
#include "tests/random_mlp.h"

// The probe coherence against sums of single gradients, one after the other.

namespace sgdscope {
namespace {

using oracle::Vector;
using Named = std::map<std::string, double>;
using Designations = std::vector<bool>;  // by example: whether it is corrupt

at::Tensor ToTensor(const Designations& corrupt) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(corrupt.size())}, at::kBool);
  for (size_t i = 0; i < corrupt.size(); ++i) tensor.data_ptr<bool>()[i] = corrupt[i];
  return tensor;
}

Designations RandomDesignations(Stream& stream, size_t size) {
  Designations corrupt(size);
  for (size_t i = 0; i < size; ++i) corrupt[i] = stream.Uniform() < 0.4;
  return corrupt;
}

/// "" for the real world, then the null worlds.
std::vector<std::pair<std::string, Designations>> Worlds(const Designations& corrupt, int64_t nulls,
                                                         uint64_t seed) {
  std::vector<std::pair<std::string, Designations>> worlds = {{"", corrupt}};
  for (int64_t k = 1; k <= nulls; ++k) {
    Stream stream(seed, "coherence_null", static_cast<uint64_t>(k));
    Designations permuted;
    for (const int64_t i : Permutation(stream, static_cast<int64_t>(corrupt.size()))) {
      permuted.push_back(corrupt[static_cast<size_t>(i)]);
    }
    worlds.emplace_back("null" + std::to_string(k) + ".", permuted);
  }
  return worlds;
}

/// <g, g^p>, <g, g^c> with their counts, by the definition, on the examples `batch`.
struct Parts {
  double whole = 0;  // <g, g>
  double p = 0;
  double c = 0;
  double pristine = 0;
  double corrupt = 0;
  double error;  // of each product in the program

  /// `only`: the places in theta over which products go; empty: all.
  Parts(const RandomMlp& random, const std::vector<int64_t>& batch, const Designations& is_corrupt,
        double epsilon, const std::set<size_t>& only = {}) {
    Vector g(random.mlp.size());
    Vector g_p = g;
    Vector g_c = g;
    double largest = 0;
    for (const int64_t index : batch) {
      const auto i = static_cast<size_t>(index);
      Vector row = oracle::Gradient(random.mlp, random.theta, random.examples[i]);
      for (size_t place = 0; place < row.size(); ++place) {
        if (!only.empty() && !only.contains(place)) row[place] = 0;
      }
      largest = std::max(largest, oracle::Dot(row, row));
      g = oracle::Plus(g, 1, row);
      (is_corrupt[i] ? g_c : g_p) = oracle::Plus(is_corrupt[i] ? g_c : g_p, 1, row);
      ++(is_corrupt[i] ? corrupt : pristine);
    }
    whole = oracle::Dot(g, g);
    p = oracle::Dot(g, g_p);
    c = oracle::Dot(g, g_c);
    // n products <g_i, g>, each of n products as in per_example_test.cpp; twice for g's own error.
    const auto n = static_cast<double>(batch.size());
    error = 2 * 16 * random.Sums() * epsilon * n * n * n * largest;
  }
};

void ExpectFractions(Named& values, const std::string& prefix, const Parts& parts) {
  if (parts.whole <= parts.error) return;  // nothing is left of <g, g>
  for (const auto& [name, part] :
       std::map<std::string, double>{{"f_p", parts.p}, {"f_c", parts.c}}) {
    const double f = part / parts.whole;
    EXPECT_NEAR(values.at(prefix + name), f,
                parts.error * (1 + std::abs(f)) / (parts.whole - parts.error))
        << prefix + name;
  }
}

/// i_p and i_c, step by step.
struct Sums {
  double p = 0;
  double c = 0;
  double error = 0;

  void Add(const Parts& parts) {
    if (parts.pristine > 0) p += parts.p / parts.pristine;
    if (parts.corrupt > 0) c += parts.c / parts.corrupt;
    error += parts.error;
  }
};

TEST(Coherence, AgainstSumsOfSingleGradients) {
  constexpr int64_t kNulls = 2;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < 2 * kCombinations; ++index) {
      const RandomMlp random = MakeRandomMlp(index);
      SCOPED_TRACE(random.Text() + ", " + at::toString(dtype));
      Stream stream(80, "coherence", index);
      const auto size = static_cast<int64_t>(random.examples.size());
      const Designations corrupt = RandomDesignations(stream, random.examples.size());
      const auto worlds = Worlds(corrupt, kNulls, index);
      const OracleUnderTest it(random, dtype, ToTensor(corrupt));
      LoneProbe probe("coherence", {{"nulls", kNulls}, {"whole_set", true}}, it, index);
      std::map<std::string, Sums> sums;
      for (int64_t step = 0; step < 4; ++step) {
        std::vector<int64_t> batch = Permutation(stream, size);
        const std::vector<int64_t> everyone = batch;
        batch.resize(1 + stream.Below(static_cast<uint64_t>(size)));
        Named values = probe.Measure(step, at::tensor(batch, at::kLong));
        EXPECT_EQ(values.size(), 6 * (1 + kNulls));
        for (const auto& [world, designations] : worlds) {
          const Parts parts(random, batch, designations, Epsilon(dtype));
          sums[world].Add(parts);
          ExpectFractions(values, world, parts);
          EXPECT_NEAR(values.at(world + "i_p"), sums[world].p, sums[world].error) << world;
          EXPECT_NEAR(values.at(world + "i_c"), sums[world].c, sums[world].error) << world;
          ExpectFractions(values, "whole." + world,
                          Parts(random, everyone, designations, Epsilon(dtype)));
        }
      }
    }
  }
}

std::vector<int64_t> ToVector(const at::Tensor& indices) {
  const int64_t* index = indices.data_ptr<int64_t>();
  return {index, index + indices.size(0)};
}

TEST(Coherence, TheSampleIsOfFewExamplesAndFewWeightsOfEachLayer) {
  constexpr int64_t kNulls = 2;
  constexpr int64_t kWeights = 3;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (uint64_t index = 0; index < kCombinations; ++index) {
      const RandomMlp random = MakeRandomMlp(index);
      SCOPED_TRACE(random.Text() + ", " + at::toString(dtype));
      Stream stream(81, "coherence", index);
      const auto size = static_cast<int64_t>(random.examples.size());
      const int64_t few = (size + 1) / 2;
      const Designations corrupt = RandomDesignations(stream, random.examples.size());
      const OracleUnderTest it(random, dtype, ToTensor(corrupt));
      LoneProbe probe("coherence",
                      {{"nulls", kNulls}, {"sample_examples", few}, {"sample_weights", kWeights}},
                      it, index);
      Stream of_examples(index, "coherence_sample", 0);
      const std::vector<int64_t> examples = ToVector(DrawDistinct(of_examples, few, size));
      std::set<size_t> weights;
      uint64_t layer = 0;
      for (const Parameter& parameter : it.oracle.table().parameters()) {
        if (parameter.is_bias) continue;
        Stream of_weights(index, "coherence_sample", ++layer);
        const int64_t count = std::min(kWeights, parameter.size);
        for (const int64_t place : ToVector(DrawDistinct(of_weights, count, parameter.size))) {
          weights.insert(static_cast<size_t>(parameter.offset + place));
        }
      }
      for (int64_t step = 0; step < 2; ++step) {
        Named values = probe.Measure(step, at::tensor({size - 1}));  // the batch does not matter
        EXPECT_EQ(values.size(), 6 * (1 + kNulls));
        for (const auto& [world, designations] : Worlds(corrupt, kNulls, index)) {
          ExpectFractions(values, "sample." + world,
                          Parts(random, examples, designations, Epsilon(dtype), weights));
        }
      }
    }
  }
}

/// A linear model at theta = 0 whose examples all have the gradient -2.
RandomMlp EqualGradients(size_t size) {
  RandomMlp linear;
  linear.mlp.widths = {1, 1};
  linear.mlp.bias = false;
  linear.mlp.loss = "mean_squared_error";
  linear.theta = {0};
  linear.examples.assign(size, {{1}, 0});
  return linear;
}

// With equal gradients f_c is the share of the corrupt examples, so it shows who is one.
TEST(Coherence, NullWorldsArePermutationsThatStay) {
  constexpr int64_t kSize = 40;
  constexpr int64_t kCorrupt = 13;
  Designations corrupt(kSize);
  std::fill_n(corrupt.begin(), kCorrupt, true);
  const OracleUnderTest it(EqualGradients(kSize), at::kFloat, ToTensor(corrupt));
  LoneProbe probe("coherence", {{"nulls", 4}, {"cumulative", "none"}}, it);
  std::set<std::vector<double>> distinct;
  for (const std::string world : {"", "null1.", "null2.", "null3.", "null4."}) {
    std::vector<double> designations;
    for (int64_t i = 0; i < kSize; ++i) {
      designations.push_back(probe.Measure(i, at::tensor({i})).at(world + "f_c"));
      EXPECT_TRUE(designations.back() == 0 || designations.back() == 1) << world << i;
      const Named again = probe.Measure(kSize + i, at::tensor({i}));
      EXPECT_EQ(again.at(world + "f_c"), designations.back()) << world << i;
    }
    EXPECT_EQ(std::count(designations.begin(), designations.end(), 1.0), kCorrupt) << world;
    distinct.insert(designations);
  }
  EXPECT_EQ(distinct.size(), 5);
  EXPECT_EQ(std::count(distinct.begin(), distinct.end(),
                       std::vector<double>(corrupt.begin(), corrupt.end())),
            1);
}

TEST(Coherence, EqualGradientsContributeEqually) {
  Designations corrupt(10);
  std::fill_n(corrupt.begin(), 3, true);
  const OracleUnderTest it(EqualGradients(10), at::kDouble, ToTensor(corrupt));
  LoneProbe probe("coherence", {{"nulls", 0}}, it);
  // <g, g_i> = 4 n; batches without corrupt or pristine examples add nothing for them.
  const std::vector<std::vector<int64_t>> batches = {{0, 5, 6, 7}, {8, 9}, {1, 2, 0}};
  const std::vector<std::vector<double>> expected = {// f_p, f_c, i_p, i_c
                                                     {0.75, 0.25, 16, 16},
                                                     {1, 0, 16 + 8, 16},
                                                     {0, 1, 24, 16 + 12}};
  for (size_t step = 0; step < batches.size(); ++step) {
    const Named values =
        probe.Measure(static_cast<int64_t>(step), at::tensor(batches[step], at::kLong));
    EXPECT_EQ(values.size(), 4);
    size_t i = 0;
    for (const std::string name : {"f_p", "f_c", "i_p", "i_c"}) {
      EXPECT_DOUBLE_EQ(values.at(name), expected[step][i++]) << name << " at step " << step;
    }
  }
}

Json NoisyConfig(const Json& probe, const Json& changes = Json::object()) {
  Json config = SyntheticConfig(changes);
  config["data"]["label_noise"] = {{"fraction", 0.5}};
  config["probes"] = Json::array({probe});
  return config;
}

/// The probe's values at each step of a run; none where it did not measure.
std::vector<Named> ValuesOf(const Json& probe, const Json& changes = Json::object()) {
  ShortRun run(NoisyConfig(probe, changes));
  std::vector<Named> values;
  for (int64_t step = 0; step < 30; ++step) {
    const at::Tensor measured = run.stepper().Step(step).probes[0];
    values.push_back(measured.defined() ? ByName(run.probe(0), measured) : Named());
  }
  return values;
}

TEST(Coherence, FractionsAddUpToOneInEveryWorld) {
  for (const Named& values : ValuesOf({{"name", "coherence"}, {"whole_set", true}})) {
    for (const std::string batch : {"", "whole."}) {
      for (const std::string world : {"", "null1.", "null2.", "null3."}) {
        const double f_p = values.at(batch + world + "f_p");
        const double f_c = values.at(batch + world + "f_c");
        // Sums of up to 45 numbers in two orders.
        const double rounding = 45 * Epsilon(at::kDouble) * (std::abs(f_p) + std::abs(f_c));
        EXPECT_NEAR(f_p + f_c, 1, rounding) << batch + world;
      }
    }
  }
}

TEST(Coherence, SumsRunOverAllStepsOverLoggedOnesOrNotAtAll) {
  const auto with = [](int64_t every, const std::string& cumulative) {
    return ValuesOf({{"name", "coherence"}, {"every", every}, {"cumulative", cumulative}});
  };
  const auto each = with(1, "all");
  const auto thinned = with(4, "all");
  const auto logged = with(4, "logged");
  const auto none = with(4, "none");
  for (const std::string name : {"i_p", "i_c", "null2.i_p", "null2.i_c"}) {
    double sum = 0;
    double terms = 0;
    for (size_t step = 0; step < each.size(); ++step) {
      EXPECT_EQ(thinned[step].at(name), each[step].at(name)) << name << " at step " << step;
      EXPECT_EQ(logged[step].empty(), step % 4 != 0);
      EXPECT_EQ(none[step].empty(), step % 4 != 0);
      if (step % 4 != 0) continue;
      const double before = step == 0 ? 0 : each[step - 1].at(name);
      sum += each[step].at(name) - before;
      terms += std::abs(each[step].at(name)) + std::abs(before);
      EXPECT_NEAR(logged[step].at(name), sum, 2 * Epsilon(at::kDouble) * terms)
          << name << " at step " << step;
      EXPECT_FALSE(none[step].contains(name));
      EXPECT_EQ(none[step].at("null2.f_p"), each[step].at("null2.f_p"));
    }
  }
}

// 230 examples make two chunks and a part of one; in the other run they are one batch.
TEST(Coherence, TheWholeSetIsAllChunksAtTheLoggedSteps) {
  Json config = NoisyConfig({{"name", "coherence"}, {"every", 2}, {"whole_set", true}},
                            {{"dtype", "float64"}});
  config["data"]["train_size"] = 230;
  ShortRun chunked(config);
  config["sampler"] = {{"name", "full"}};
  config.erase("batch_size");
  ShortRun full(config);
  const Named expected = ByName(full.probe(0), full.stepper().Step(0).probes[0]);
  for (int64_t step = 0; step < 3; ++step) {
    const Named values = ByName(chunked.probe(0), chunked.stepper().Step(step).probes[0]);
    for (const std::string name : {"f_p", "f_c", "null3.f_p", "null3.f_c"}) {
      EXPECT_EQ(IsNotMeasured(values.at("whole." + name)), step == 1) << name;
      if (step > 0) continue;
      // Far from cancelling: both fractions are between 0 and 1.
      const double f = expected.at(name);
      EXPECT_NEAR(values.at("whole." + name), f, 230 * Epsilon(at::kDouble)) << name;
      EXPECT_TRUE(f > 0 && f < 1) << name;
    }
  }
}

TEST(Coherence, TheSampleIsOfTheTrainingSet) {
  const int64_t examples = SyntheticConfig()["data"]["train_size"];
  const Json config = NoisyConfig({{"name", "coherence"}, {"sample_examples", examples + 1}});
  ExpectError(ErrorKind::kConfig,
              {"probes[0].sample_examples", std::to_string(examples + 1), std::to_string(examples)},
              [&] {
                const auto read = ReadRunConfig(config);
                const Experiment experiment(*read);
              });
}

TEST(Coherence, NeedsLabelNoise) {
  Json config = NoisyConfig({{"name", "coherence"}});
  config["data"].erase("label_noise");
  ExpectError(ErrorKind::kConfig, {"probes[0]", "label noise", "\"label_noise\": {\"fraction\""},
              [&] {
                const auto read = ReadRunConfig(config);
                const Experiment experiment(*read);  // before any data is read
              });
  // Without any corrupt example the pristine ones do it all.
  config["data"]["label_noise"] = {{"fraction", 0}};
  ShortRun run(config);
  const Named values = ByName(run.probe(0), run.stepper().Step(0).probes[0]);
  EXPECT_EQ(values.at("f_p"), 1);
  EXPECT_EQ(values.at("null3.i_c"), 0);
}

}  // namespace
}  // namespace sgdscope
