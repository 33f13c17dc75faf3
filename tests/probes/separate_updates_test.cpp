#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "data/sampler.h"
#include "nn/activation.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/pool2d.h"
#include "nn/residual.h"
#include "nn/sequence.h"
#include "probes/probe.h"
#include "probes/unit_variants.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/random_mlp.h"

// The probe separate_updates against the definition: one full forward pass for each block.

namespace sgdscope {
namespace {

using oracle::Vector;

/// Cuts theta into blocks by the documented order alone: layer by layer, weight, then bias.
std::vector<std::vector<size_t>> BlocksOf(const oracle::Mlp& mlp, const std::string& kind) {
  std::vector<std::vector<size_t>> blocks;
  size_t offset = 0;
  for (size_t l = 0; l < mlp.layers(); ++l) {
    const size_t in = mlp.widths[l];
    const size_t out = mlp.widths[l + 1];
    const size_t end = offset + out * (in + (mlp.bias ? 1 : 0));
    for (size_t place = offset; place < end; ++place) {
      const bool is_bias = place >= offset + out * in;
      const size_t unit = is_bias ? place - offset - out * in : (place - offset) / in;
      const bool starts = kind == "weight" ||
                          (kind == "unit" && !is_bias && (place - offset) % in == 0) ||
                          (kind == "tensor" && (place == offset || place == offset + out * in));
      if (starts) blocks.emplace_back();
      const bool joins = kind == "unit" && is_bias;
      (joins ? blocks[blocks.size() - out + unit] : blocks.back()).push_back(place);
    }
    offset = end;
  }
  return blocks;
}

/// Equation 5, by the definition.
double Separate(const RandomMlp& random, const Vector& delta, const std::string& kind) {
  const double loss = oracle::MeanLoss(random.mlp, random.theta, random.examples);
  double sum = 0;
  for (const auto& block : BlocksOf(random.mlp, kind)) {
    Vector moved = random.theta;
    for (const size_t place : block) moved[place] += delta[place];
    sum += loss - oracle::MeanLoss(random.mlp, moved, random.examples);
  }
  return sum;
}

std::unique_ptr<Sampler> FullSampler(const RandomMlp& random) {
  auto sampler = MakeExample<Sampler>("full");
  sampler->Prepare(1, static_cast<int64_t>(random.examples.size()), 0, "sampler");
  return sampler;
}

/// What the probe measures at step 0 on all examples; theta moves by scale * direction.
std::map<std::string, double> Measure(const OracleUnderTest& it, const RandomMlp& random,
                                      const Vector& direction, double scale, const Json& fields,
                                      uint64_t seed = 1) {
  const auto sampler = FullSampler(random);
  const auto probe = MakeExample<Probe>("separate_updates", fields);
  probe->Prepare({.path = "probes[0]",
                  .run_folder = "unused",
                  .seed = seed,
                  .steps = 10,
                  .examples = it.oracle.size(),
                  .test_size = it.oracle.size(),
                  .sampler = *sampler,
                  .network = it.network()});
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  const Update update{ToTensor(direction, {static_cast<int64_t>(direction.size())}), scale};
  at::NoGradGuard no_grad;
  return ByName(*probe, probe->Measure({.step = 0,
                                        .batch = it.batch,
                                        .gradients = gradients,
                                        .theta = it.theta,
                                        .g = gradients.Mean(),
                                        .update = update,
                                        .oracle = it.oracle,
                                        .test = it.oracle,
                                        .sampler = *sampler,
                                        .estimate = {},
                                        .extras = {}}));
}

std::map<std::string, double> Measure(const RandomMlp& random, const Vector& direction,
                                      double scale, const Json& fields, uint64_t seed = 1) {
  return Measure(OracleUnderTest(random, at::kDouble), random, direction, scale, fields, seed);
}

TEST(SeparateUpdates, ExactIsTheSumOverAllBlocks) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    Stream stream(70, "direction", index);
    const Vector direction = RandomVector(stream, random.mlp.size());
    // Half of the cases move far enough to cross kinks of relu.
    const double scale = index % 2 == 0 ? -0.01 : -0.3;
    const Vector delta = oracle::Plus(Vector(direction.size()), scale, direction);
    const double delta_loss =
        oracle::MeanLoss(random.mlp, random.theta, random.examples) -
        oracle::MeanLoss(random.mlp, oracle::Plus(random.theta, 1, delta), random.examples);
    const double dot =
        -oracle::Dot(oracle::MeanGradient(random.mlp, random.theta, random.examples), delta);
    for (const std::string kind : {"weight", "unit", "tensor"}) {
      const std::string what = random.Text() + ", " + kind;
      auto values = Measure(random, direction, scale, {{"block", kind}});
      const double separate = Separate(random, delta, kind);
      // 1e-9 is asked for; what cancels in the p differences of losses is of the order p eps.
      const double bound = 1e-9 * (std::abs(separate) + std::abs(delta_loss) + std::abs(dot));
      EXPECT_NEAR(values["updating.separate"], separate, bound) << what;
      EXPECT_EQ(values["updating.separate_se"], 0) << what;
      EXPECT_NEAR(values["updating.delta_loss"], delta_loss, bound) << what;
      EXPECT_NEAR(values["updating.penalty"], delta_loss - separate, bound) << what;
      EXPECT_NEAR(values["updating.dot"], dot, bound) << what;
      EXPECT_NEAR(values["updating.taylor_penalty"], delta_loss - dot, bound) << what;
    }
  }
}

/// Logits 100 to 10,000 apart, and moves that cross them: what softmax rounds to 0 counts.
TEST(SeparateUpdates, LogitsThatLieFarApart) {
  for (uint64_t index = 0; index < 16; ++index) {
    Stream stream(72, "far apart", index);
    RandomMlp random;
    random.mlp.widths = index % 2 == 0 ? std::vector<size_t>{3, 4} : std::vector<size_t>{3, 5, 4};
    random.theta = RandomVector(stream, random.mlp.size());
    const double scale = std::pow(10.0, 2 + static_cast<double>(index % 4) / 2);
    const size_t last = random.mlp.size() - 4 * (random.mlp.widths[random.mlp.layers() - 1] + 1);
    for (size_t i = last; i < random.theta.size(); ++i) random.theta[i] *= scale;
    Vector direction = RandomVector(stream, random.mlp.size());
    for (size_t i = last; i < direction.size(); ++i) direction[i] *= scale;
    for (int i = 0; i < 6; ++i) {
      random.examples.push_back({RandomVector(stream, 3), static_cast<size_t>(stream.Below(4))});
    }
    for (const std::string kind : {"weight", "unit"}) {
      auto values = Measure(random, direction, 1, {{"block", kind}});
      const double separate = Separate(random, direction, kind);
      // What cancels in each of the p differences is of the order of the logits.
      const double bound =
          Epsilon(at::kDouble) * 100 * scale * static_cast<double>(random.mlp.size());
      EXPECT_NEAR(values["updating.separate"], separate, bound) << index << ", " << kind;
    }
  }
}

/// A two-layer network of many weights and a batch of 30.
RandomMlp Wide(uint64_t index) {
  Stream stream(71, "wide", index);
  RandomMlp random;
  random.mlp.widths = {20, 25, 5};
  random.theta = RandomVector(stream, random.mlp.size());
  for (double& value : random.theta) value *= 0.3;
  for (int i = 0; i < 30; ++i) {
    random.examples.push_back({RandomVector(stream, 20), static_cast<size_t>(stream.Below(5))});
  }
  return random;
}

/// A normal deviate exceeds 3 in 0.27 % of cases: 99 of 100 leaves room for chance.
TEST(SeparateUpdates, SampledLiesWithinThreeStandardErrors) {
  const RandomMlp random = Wide(0);
  const Vector gradient = oracle::MeanGradient(random.mlp, random.theta, random.examples);
  for (const std::string kind : {"weight", "unit"}) {
    const double exact =
        Separate(random, oracle::Plus(Vector(gradient.size()), -0.5, gradient), kind);
    int within = 0;
    double squares = 0;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      auto values = Measure(random, gradient, -0.5,
                            {{"block", kind}, {"exact_up_to", 0}, {"samples", 200}}, seed);
      const double error = values["updating.separate"] - exact;
      const double deviation = error / values["updating.separate_se"];
      EXPECT_GT(values["updating.separate_se"], 0);
      // Sharp enough to see the penalty: first orders are not sampled.
      EXPECT_LT(values["updating.separate_se"], 0.05 * std::abs(values["updating.taylor_penalty"]));
      within += std::abs(deviation) <= 3 ? 1 : 0;
      squares += deviation * deviation;
    }
    EXPECT_GE(within, 99) << kind;
    // The standard error is one: the mean square of 100 deviations is 1 +- 0.14.
    EXPECT_NEAR(squares / 100, 1, 0.5) << kind;
  }
}

TEST(SeparateUpdates, NothingMovedIsNothingGained) {
  const RandomMlp random = Wide(1);
  for (const int64_t exact_up_to : {0, 100000}) {
    auto values = Measure(random, Vector(random.mlp.size()), -0.1, {{"exact_up_to", exact_up_to}});
    EXPECT_EQ(values["updating.separate"], 0);
    EXPECT_EQ(values["updating.separate_se"], 0);
    EXPECT_EQ(values["updating.penalty"], 0);
  }
}

TEST(SeparateUpdates, AMoveThatIsNotANumberIsNotHidden) {
  const RandomMlp random = Wide(1);
  Vector direction(random.mlp.size(), 1);
  direction[7] = std::numeric_limits<double>::quiet_NaN();
  for (const int64_t exact_up_to : {0, 100000}) {
    auto values = Measure(random, direction, -0.1, {{"exact_up_to", exact_up_to}});
    EXPECT_TRUE(std::isnan(values["updating.separate"])) << exact_up_to;
    EXPECT_EQ(std::isnan(values["updating.separate_se"]), exact_up_to == 0);
  }
}

/// With a squared loss on a linear model, L is quadratic: separate = dot - 1/2 sum_i H_ii
/// delta_i^2, and one block that holds all parameters has no penalty.
TEST(SeparateUpdates, QuadraticLossByHand) {
  RandomMlp random;
  random.mlp.widths = {2, 1};
  random.mlp.bias = false;
  random.mlp.loss = "mean_squared_error";
  random.theta = {0.5, -1};
  random.examples = {{{2, 3}, 0}};  // z = -2, L = (z - 1)^2 = 9, grad = 2 (z - 1) x = (-12, -18)
  auto values = Measure(random, {1, 1}, 0.1, {{"block", "weight"}});  // H_ii = 2 x_i^2 = 8, 18
  EXPECT_NEAR(values["updating.dot"], 3, 1e-14);
  EXPECT_NEAR(values["updating.separate"], 3 - 0.005 * (8 + 18), 1e-14);
  EXPECT_NEAR(values["updating.penalty"], -0.01 * 2 * 2 * 3, 1e-14);  // -H_12 delta_1 delta_2
  for (const std::string whole : {"unit", "tensor"}) {
    EXPECT_NEAR(Measure(random, {1, 1}, 0.1, {{"block", whole}})["updating.penalty"], 0, 1e-14);
  }
}

/// The layers' own view of their units is the table's.
TEST(UnitVariants, RowsAreTheTablesUnitBlocks) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    const Gradients evaluated = it.oracle.Evaluate(it.batch, it.theta);
    const UnitVariants variants(it.oracle, it.batch, it.theta, evaluated);
    std::vector<Vector> rows, blocks;
    for (size_t tap = 0; tap < evaluated.taps.size(); ++tap) {
      const at::Tensor places = variants.Rows(tap, at::arange(it.theta.size(0), at::kLong));
      for (const at::Tensor& row : places.unbind(0)) rows.push_back(ToVector(row));
    }
    for (const at::Tensor& block : it.oracle.table().Blocks("unit")) {
      blocks.push_back(ToVector(block));
    }
    EXPECT_EQ(rows, blocks) << random.Text();
  }
}

/// A unit's output moves by delta * input when one of its parameters moves by delta.
TEST(UnitVariants, InputsAreTheDerivativesOfAUnitByItsParameters) {
  for (uint64_t index = 0; index < kCombinations; ++index) {
    const RandomMlp random = MakeRandomMlp(index);
    const OracleUnderTest it(random, at::kDouble);
    const Gradients evaluated = it.oracle.Evaluate(it.batch, it.theta);
    const UnitVariants variants(it.oracle, it.batch, it.theta, evaluated);
    for (size_t tap = 0; tap < evaluated.taps.size(); ++tap) {
      const at::Tensor inputs = variants.Inputs(tap);
      const at::Tensor places = variants.Rows(tap, at::arange(it.theta.size(0), at::kLong));
      ASSERT_EQ(inputs.sizes(), at::IntArrayRef({it.batch.size(), places.size(1)}));
      for (int64_t k = 0; k < places.size(1); ++k) {
        at::Tensor moved = it.theta.clone();
        moved[places[0][k].item<int64_t>()] += 1;
        const Tap after = it.oracle.Evaluate(it.batch, moved).taps[tap];
        const at::Tensor change = after.output.sub(evaluated.taps[tap].output).detach();
        ExpectNear(ToVector(change.select(1, 0)), ToVector(inputs.select(1, k)), 1e-12,
                   random.Text() + ", unit 0");
      }
    }
  }
}

/// A network of the widths 6, 5, 4, 3 with biases; `between` comes after the first two layers, `end`
/// after the last.
template <class Make>
Network Chain(const Make& between, std::unique_ptr<Layer> end = nullptr) {
  Network network;
  auto root = std::make_unique<Sequence>();
  root->Append(MakeFlatten());
  root->Append(MakeLinear(network.table, "linear1", 6, 5, true));
  root->Append(between());
  root->Append(MakeLinear(network.table, "linear2", 5, 4, true));
  root->Append(between());
  root->Append(MakeLinear(network.table, "linear3", 4, 3, true));
  if (end) root->Append(std::move(end));
  network.root = std::move(root);
  return network;
}

/// Any elementwise layers, in sequences of their own or not, behind a layer without parameters.
TEST(SeparateUpdates, ElementwiseLayersCarryTheDifference) {
  RandomMlp random;
  random.mlp = {{6, 5, 4, 3}, "tanh", true, "cross_entropy"};
  Stream stream(73, "elementwise");
  random.theta = RandomVector(stream, random.mlp.size());
  for (size_t i = 0; i < 4; ++i) random.examples.push_back({RandomVector(stream, 6), i % 3});
  const Vector direction = RandomVector(stream, random.mlp.size());
  const auto between = [] {
    auto sequence = std::make_unique<Sequence>();
    sequence->Append(MakeFlatten());
    sequence->Append(MakeActivation("tanh"));
    sequence->Append(MakeActivation("identity"));
    return sequence;
  };
  const OracleUnderTest it(Chain(between), random, at::kDouble);
  for (const std::string kind : {"weight", "unit", "tensor"}) {
    const Json fields = {{"block", kind}};
    MakeExample<Probe>("separate_updates", fields)->CheckNetwork(it.network(), "probes[0]");
    EXPECT_EQ(Measure(it, random, direction, 0.1, fields), Measure(random, direction, 0.1, fields));
  }
}

/// What does not carry a unit's difference on is refused before the run, wherever it stands.
TEST(SeparateUpdates, OtherLayersInTheWayAreRefused) {
  const auto tanh = [] { return MakeActivation("tanh"); };
  const auto refused = [](const Network& network, const std::string& layer) {
    for (const std::string kind : {"weight", "unit"}) {
      const auto probe = MakeExample<Probe>("separate_updates", {{"block", kind}});
      ExpectError(ErrorKind::kConfig,
                  {"probes[3].block", "\"" + kind + "\"", "fully connected", layer, "\"tensor\""},
                  [&] { probe->CheckNetwork(network, "probes[3]"); });
    }
    MakeExample<Probe>("separate_updates", {{"block", "tensor"}})->CheckNetwork(network, "path");
  };
  refused(Chain([] { return MakeResidual(MakeActivation("tanh"), nullptr); }), "residual");
  refused(Chain([] { return MakeGlobalAveragePool(); }), "global average pool");
  refused(Chain(tanh, MakeActivation("relu")), "relu");
  Network branched = Chain(tanh);
  auto root = std::make_unique<Sequence>();
  root->Append(MakeResidual(MakeLinear(branched.table, "branch", 6, 6, true), nullptr));
  root->Append(std::move(branched.root));
  branched.root = std::move(root);
  refused(branched, "residual");
  Network none;
  none.root = MakeFlatten();
  refused(none, "flatten");
}

TEST(SeparateUpdates, EarlierBatchesAreMeasuredWhereTheyExist) {
  Json config = SyntheticConfig({{"dtype", "float64"}});
  config["probes"] = {{{"name", "separate_updates"},
                       {"every", 1},
                       {"batches", {"updating", "recent"}},
                       {"recent_lag", 2}},
                      {{"name", "taylor"}, {"recent_lag", 2}, {"batches", {"updating", "recent"}}}};
  ShortRun run(config);
  for (int64_t step = 0; step < 6; ++step) {
    const auto measured = run.stepper().Step(step).probes;
    auto separate = ByName(run.probe(0), measured[0]);
    auto taylor = ByName(run.probe(1), measured[1]);
    EXPECT_EQ(std::isnan(separate["recent.separate"]), step < 2) << step;
    for (const std::string batch : {"updating", "recent"}) {
      if (batch == "recent" && step < 2) continue;
      EXPECT_NEAR(separate[batch + ".dot"], taylor[batch + ".dot"], 1e-14) << step;
      EXPECT_NEAR(separate[batch + ".taylor_penalty"], taylor[batch + ".penalty"], 1e-14) << step;
    }
  }
}

}  // namespace
}  // namespace sgdscope
