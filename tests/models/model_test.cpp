#include "models/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "estimators/estimator.h"
#include "gradients/oracle.h"
#include "gradients/per_example.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/experiment_helper.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

// What every registered model must do, on small images.

namespace sgdscope {
namespace {

using oracle::Vector;

/// A registered model, small: as few channels as it can have, with every kind of normalization.
struct Variant {
  std::string name;
  Json fields;
  std::string Text() const {
    if (!fields.contains("norm")) return name;
    std::string text = name;
    return text.append("_").append(fields["norm"].get<std::string>());
  }
};

void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.Text(); }

/// What a model's field `norm` may be.
class NormNames : public FillRequired {
 public:
  void VisitValue(const Field& field, AnyValue& value) override {
    FillRequired::VisitValue(field, value);
    if (field.name == "norm") names = field.allowed;
  }
  std::vector<std::string> names;
};

std::vector<Variant> Variants() {
  std::vector<Variant> variants;
  for (auto& [name, fields] : AllLeaves<Model>()) {
    NormNames norms;
    Registry<Model>::entries().at(name).make()->Fields(norms);
    if (norms.names.empty()) variants.push_back({name, fields});
    for (const std::string& norm : norms.names) {
      fields["norm"] = norm;
      if (norm == "ghost") {
        fields["ghost_batch_size"] = 4;
      } else {
        fields.erase("ghost_batch_size");
      }
      variants.push_back({name, fields});
    }
  }
  return variants;
}

std::unique_ptr<Model> MakeModel(const Variant& variant) {
  auto model = Registry<Model>::entries().at(variant.name).make();
  ReadFields(variant.fields, "model", [&](FieldVisitor& visitor) { model->Fields(visitor); });
  model->Check("model");
  return model;
}

/// Small images that the model takes, not square.
std::vector<int64_t> SmallImages(const Variant& variant) {
  try {
    MakeModel(variant)->Build({2, 6, 5}, 3, "model");
    return {2, 6, 5};
  } catch (const Error&) {
    return {2, 17, 16};
  }
}

/// It with data and random weights.
struct ModelCase {
  explicit ModelCase(const Variant& variant, at::ScalarType dtype = at::kDouble)
      : stream(31, variant.Text()),
        shape(SmallImages(variant)),
        network(MakeModel(variant)->Build(shape, 3, "model")),
        loss(Registry<Loss>::entries().at("cross_entropy").make()),
        split{RandomTensor(stream, {7, shape[0], shape[1], shape[2]}),
              at::arange(7, at::kLong).remainder(3)},
        normalizer("none", split, dtype),
        oracle(network, *loss, split, normalizer),
        batch(oracle.Load(at::arange(7, at::kLong))),
        theta(InitialTheta(network, 31, dtype)
                  .add(RandomTensor(stream, {network.table.size()}, dtype), 0.1)),
        direction(RandomTensor(stream, {network.table.size()}, dtype)) {
    direction.div_(direction.norm());
  }

  double LossAt(const at::Tensor& at) const {
    return oracle.Losses(batch, at).mean().item<double>();
  }
  at::Tensor HessianVectorProduct() const {
    return oracle.HessianVectorProduct(oracle.Evaluate(batch, theta, /*keep_graph=*/true),
                                       direction);
  }
  double SlopeAt(const at::Tensor& at, int64_t k, double step) const {
    const at::Tensor ahead = at.clone(), behind = at.clone();
    ahead[k] += step;
    behind[k] -= step;
    return (LossAt(ahead) - LossAt(behind)) / (2 * step);
  }

  Stream stream;
  std::vector<int64_t> shape;
  Network network;
  std::unique_ptr<Loss> loss;
  Split split;
  Normalizer normalizer;
  Oracle oracle;
  Batch batch;
  at::Tensor theta, direction;
};

class EveryModel : public testing::TestWithParam<Variant> {};

/// Central differences are off by f''' step^2 / 6, about 1e-12, by some eps L / step, about 1e-9,
/// and by kinks that lie within a step.
constexpr double kStep = 1e-6;
constexpr double kDifference = 1e-8;

TEST_P(EveryModel, GradientIsTheSlopeOfTheLoss) {
  ModelCase it(GetParam());
  const at::Tensor gradient = it.oracle.Evaluate(it.batch, it.theta).Mean();
  std::vector<int64_t> places = Permutation(it.stream, it.theta.numel());
  places.resize(std::min<size_t>(places.size(), 100));
  Vector slopes, derivatives;
  for (const int64_t k : places) {
    slopes.push_back(it.SlopeAt(it.theta, k, kStep));
    derivatives.push_back(gradient[k].item<double>());
  }
  ExpectNear(derivatives, slopes, kDifference * (1 + oracle::Norm(slopes)), GetParam().Text());
}

TEST_P(EveryModel, HessianVectorProductIsTheSlopeOfTheGradient) {
  const ModelCase it(GetParam());
  const auto gradient = [&](double s) {
    return ToVector(it.oracle.Evaluate(it.batch, it.theta.add(it.direction, s)).Mean());
  };
  Vector slopes = oracle::Plus(gradient(kStep), -1, gradient(-kStep));
  for (double& slope : slopes) slope /= 2 * kStep;
  const at::Tensor product = it.HessianVectorProduct();
  const double size = oracle::Norm(slopes);
  EXPECT_GT(size, 1e-3);
  // A rounding in a layer is as if its weights were off by eps, which moves the gradient by eps |H|
  // |theta|: in networks of 50 layers the difference feels it.
  const double roundings =
      static_cast<double>(it.network.table.parameters().size()) * Epsilon(at::kDouble);
  const double rounding = roundings * size * it.theta.norm().item<double>() / kStep;
  ExpectNear(ToVector(product), slopes, kDifference * (1 + size) + rounding, GetParam().Text());
}

/// The graph is autograd's; without one, layers that know their way back go it by themselves.
TEST_P(EveryModel, AGraphChangesNoBit) {
  const std::string fields = GetParam().fields.dump();
  const bool known = std::ranges::none_of(
      std::vector<std::string>{"layer_norm", "group_norm", "average_pool"},  // autograd goes back
      [&](const std::string& kind) { return fields.find('"' + kind + '"') != std::string::npos; });
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const ModelCase it(GetParam(), dtype);
    EXPECT_EQ(it.network.root->KnowsWayBack(), known);
    const Gradients plain = it.oracle.Evaluate(it.batch, it.theta);
    const Gradients kept = it.oracle.Evaluate(it.batch, it.theta, /*keep_graph=*/true);
    EXPECT_TRUE(SameBits(plain.losses, kept.losses));
    EXPECT_TRUE(SameBits(plain.logits, kept.logits));
    EXPECT_TRUE(SameBits(plain.logits, it.oracle.Logits(it.batch, it.theta)));
    EXPECT_TRUE(SameBits(plain.Mean(), kept.Mean()));
    ASSERT_EQ(plain.output_gradients.size(), kept.output_gradients.size());
    for (size_t tap = 0; tap < plain.taps.size(); ++tap) {
      const at::Tensor& output = plain.taps[tap].output;
      EXPECT_TRUE(!output.defined() || SameBits(output, kept.taps[tap].output)) << tap;
      EXPECT_TRUE(SameBits(plain.output_gradients[tap], kept.output_gradients[tap])) << tap;
    }
  }
}

TEST_P(EveryModel, LineAgreesWithGradientAndHessian) {
  const ModelCase it(GetParam());
  const double scale = -0.1;
  const LineLosses line = it.oracle.AlongLine(it.batch, it.theta, it.direction, scale, true);
  const at::Tensor gradient = it.oracle.Evaluate(it.batch, it.theta).Mean();
  const at::Tensor product = it.HessianVectorProduct();
  const double slope = scale * gradient.dot(it.direction).item<double>();
  const double curvature = scale * scale * product.dot(it.direction).item<double>();
  // Two ways of a few hundred roundings each.
  EXPECT_NEAR(line.slope.mean().item<double>(), slope, 1e-12 * (1 + std::abs(slope)));
  EXPECT_NEAR(line.curvature.mean().item<double>(), curvature, 1e-12 * (1 + std::abs(curvature)));
  const double moved = it.LossAt(it.theta.add(it.direction, scale));
  EXPECT_NEAR(line.moved.mean().item<double>(), moved, 1e-12 * (1 + moved));
}

/// Several batches in one sweep: each has its own statistics where it is normalized by them.
TEST_P(EveryModel, BatchesOnALineStayApart) {
  const ModelCase it(GetParam());
  Batch all = it.batch;
  all.parts = {4, 3};
  const LineLosses joined = it.oracle.AlongLine(all, it.theta, it.direction, 0.1, true);
  const Gradients first = it.oracle.Evaluate(Part(it.batch, 0, 4), it.theta);
  const LineLosses known = it.oracle.AlongLine(all, it.theta, it.direction, 0.1, true, &first);
  int64_t begin = 0;
  for (const int64_t size : all.parts) {
    const Batch part = Part(it.batch, begin, size);
    const LineLosses alone = it.oracle.AlongLine(part, it.theta, it.direction, 0.1, true);
    const auto expect = [&](const at::Tensor& together, const at::Tensor& single) {
      const Vector expected = ToVector(single);
      ExpectNear(ToVector(together.narrow(0, begin, size)), expected,
                 1e-11 * (1 + oracle::Norm(expected)), GetParam().Text());
    };
    for (const LineLosses& line : {joined, known}) {
      expect(line.value, alone.value);
      expect(line.slope, alone.slope);
      expect(line.curvature, alone.curvature);
      expect(line.moved, alone.moved);
    }
    begin += size;
  }
}

/// Whoever looks through the network before the run finds the layers that record taps, in order.
TEST_P(EveryModel, LayersInsideAreThoseThatForwardPasses) {
  const ModelCase it(GetParam());
  std::vector<const Layer*> found, passed;
  ForEachLayer(*it.network.root, [&](const Layer& layer) {
    if (dynamic_cast<const ParameterLayer*>(&layer) != nullptr) found.push_back(&layer);
  });
  for (const Tap& tap : it.oracle.Evaluate(it.batch, it.theta).taps) passed.push_back(tap.layer);
  EXPECT_EQ(found, passed);
}

/// A single value a channel has no variance, which the network knows before it meets one.
TEST_P(EveryModel, SaysWhichBatchesItNormalizes) {
  int64_t built = 0;
  for (const int64_t extent : {2, 4, 5, 8, 9, 16, 17, 64}) {
    Network network;
    try {
      network = MakeModel(GetParam())->Build({2, extent, extent}, 3, "model");
    } catch (const Error&) {
      continue;  // smaller images than the model takes
    }
    ++built;
    const at::Tensor theta = InitialTheta(network, 1, at::kFloat);
    for (const int64_t n : {1, 2, 5}) {  // ghost batches have 4
      const auto check = [&] { network.CheckNormalizes(n, "where", "hint"); };
      const auto forward = [&] {
        network.root->Forward(at::ones({n, 2, extent, extent}), {theta});
      };
      try {
        check();
      } catch (const Error&) {
        EXPECT_TRUE(network.MixesExamples());
        ExpectError(ErrorKind::kConfig, {"where", "1 example", "hint"}, check);
        ExpectError(ErrorKind::kConfig, {"model.norm"}, forward);
        continue;
      }
      forward();
    }
  }
  EXPECT_GT(built, 0);
}

/// Where examples don't mix: one pass over two batches, and over each alone.
TEST_P(EveryModel, JoinedBatchesHaveTheirOwnGradients) {
  const ModelCase it(GetParam());
  ASSERT_EQ(it.oracle.MixesExamples(), it.network.MixesExamples());
  if (it.network.MixesExamples()) return;
  const Batch first = Part(it.batch, 0, 4), second = Part(it.batch, 4, 3);
  const Gradients both = it.oracle.Evaluate(Joined(first, second), it.theta);
  const auto expect = [](const at::Tensor& actual, const at::Tensor& expected) {
    const Vector values = ToVector(expected);
    ExpectNear(ToVector(actual), values, 1e-12 * (1 + oracle::Norm(values)), GetParam().Text());
  };
  std::vector<at::Tensor> means;
  int64_t begin = 0;
  for (const Batch& batch : {first, second}) {
    const Gradients alone = it.oracle.Evaluate(batch, it.theta);
    const Gradients part = both.OfPart(begin, batch.size());
    expect(part.losses, alone.losses);
    expect(part.Mean(), alone.Mean());
    expect(PerExample(part, {}).SquaredNorms(), PerExample(alone, {}).SquaredNorms());
    const at::Tensor moved = it.theta.add(it.direction, 0.1);
    expect(it.oracle.MeanChange(batch, part, moved), it.oracle.MeanChange(batch, alone, moved));
    means.push_back(alone.Mean());
    begin += batch.size();
  }
  expect(both.Mean(), means[0].add(means[1]));
  const at::Tensor weights = at::tensor({2.5, 2.5, 2.5, 2.5, -1.5, -1.5, -1.5}, at::kDouble);
  expect(both.Weighted(weights), means[0].mul(2.5).sub(means[1], 1.5));
}

/// Where examples don't mix: what is said of single ones without their gradients, against a loop.
TEST_P(EveryModel, SingleExamplesAgreeWithALoop) {
  const ModelCase it(GetParam());
  if (it.network.MixesExamples()) {
    ExpectError(ErrorKind::kConfig, {"gradient", "single examples", "skipinit"},
                [&] { CheckSingleExamples(it.network, "gradient"); });
    return;
  }
  CheckSingleExamples(it.network, "gradient");
  const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta);
  const PerExample examples(gradients, {});
  std::vector<at::Tensor> loop;
  for (int64_t i = 0; i < it.batch.size(); ++i) {
    loop.push_back(it.oracle.Evaluate(Part(it.batch, i, 1), it.theta).Mean());
  }
  const at::Tensor g = at::stack(loop);  // [n, p]
  const auto expect = [&](const at::Tensor& actual, const at::Tensor& expected,
                          const std::string& what) {
    ExpectNear(ToVector(actual), ToVector(expected), 1e-11 * (1 + expected.norm().item<double>()),
               GetParam().Text() + ", " + what);
  };
  expect(examples.SquaredNorms(), g.square().sum(1), "squared norms");
  expect(examples.Dots(it.direction), g.mv(it.direction), "dots");
  expect(examples.Gram(), g.mm(g.t()), "gram");
  const at::Tensor sorted = std::get<0>(g.sort(0));
  for (const int64_t cut : {0, 1, 3}) {
    const at::Tensor clipped = at::min(at::max(g, sorted[cut]), sorted[6 - cut]);
    expect(examples.Reduce({kernels::Reduction::Kind::kClip, cut, 6 - cut}), clipped.mean(0),
           "winsorized");
  }
}

/// C + (lambda / 4) |grad C|^2 on average over micro-batches, each normalized by itself.
double ModifiedLoss(const ModelCase& it, const at::Tensor& theta, double lambda, int64_t micro) {
  double loss = 0;
  const int64_t n = it.batch.size();
  for (int64_t begin = 0; begin < n; begin += micro) {
    const Batch part = Part(it.batch, begin, std::min(micro, n - begin));
    const Gradients gradients = it.oracle.Evaluate(part, theta);
    const double penalty = lambda / 4 * gradients.Mean().square().sum().item<double>();
    loss += static_cast<double>(part.size()) / static_cast<double>(n) *
            (MeanLoss(gradients.losses).item<double>() + penalty);
  }
  return loss;
}

/// implicit_regularization, section 2.3.
TEST_P(EveryModel, PenaltyGivesTheGradientOfTheModifiedLoss) {
  ModelCase it(GetParam());
  constexpr double kLambda = 0.3;
  for (const int64_t micro : {7, 4}) {
    Json fields = {{"lambda", kLambda}};
    if (micro < 7) fields["penalty_batch_size"] = micro;
    const auto estimator = MakeExample<Estimator>("gradient_norm_penalty", fields);
    const Gradients gradients = it.oracle.Evaluate(it.batch, it.theta, estimator->NeedsGraph());
    const at::Tensor g = estimator->Estimate({0, it.batch, gradients, it.theta, it.oracle});
    for (int repeat = 0; repeat < 5; ++repeat) {
      const at::Tensor u = RandomTensor(it.stream, {it.theta.numel()});
      const at::Tensor direction = u.div(u.norm());
      const double ahead = ModifiedLoss(it, it.theta.add(direction, kStep), kLambda, micro);
      const double behind = ModifiedLoss(it, it.theta.add(direction, -kStep), kLambda, micro);
      EXPECT_NEAR(g.dot(direction).item<double>(), (ahead - behind) / (2 * kStep),
                  1e-6 * (1 + g.norm().item<double>()))
          << GetParam().Text() << ", micro-batches of " << micro;
    }
  }
}

/// The same inputs give the same bits, and leave all that they were given as it was.
TEST_P(EveryModel, EvaluatingChangesNothing) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const ModelCase it(GetParam(), dtype);
    const at::Tensor theta = it.theta.clone();
    const at::Tensor inputs = it.batch.inputs.clone();
    const Gradients first = it.oracle.Evaluate(it.batch, it.theta);
    const at::Tensor losses = first.losses.clone();
    const at::Tensor mean = first.Mean().clone();
    EXPECT_EQ(mean.scalar_type(), dtype);
    it.oracle.AlongLine(it.batch, it.theta, it.direction, 0.1, true, &first);
    const Gradients second = it.oracle.Evaluate(it.batch, it.theta);
    EXPECT_TRUE(SameBits(first.losses, losses) && SameBits(second.losses, losses));
    EXPECT_TRUE(SameBits(first.Mean(), mean) && SameBits(second.Mean(), mean));
    EXPECT_TRUE(SameBits(it.theta, theta) && SameBits(it.batch.inputs, inputs));
  }
}

/// Probe separate_updates measures a network, or refuses it before the run, convolutions always; but
/// one block a tensor works with any.
TEST_P(EveryModel, SeparateUpdatesAreMeasuredOrRefused) {
  const Network network = MakeModel(GetParam())->Build(SmallImages(GetParam()), 3, "model");
  const bool convolves = std::ranges::any_of(network.table.parameters(), [](const Parameter& it) {
    return it.shape.size() > 2;  // [out, in, kernel, kernel]
  });
  for (const std::string& block : BlockNames()) {
    Json config = SyntheticConfig();
    config["batch_size"] = 8;  // ghost batches of 4
    config["data"]["train_size"] = 40;
    config["data"]["shape"] = SmallImages(GetParam());
    config["model"] = GetParam().fields;
    config["model"]["name"] = GetParam().name;
    config["probes"] = {{{"name", "separate_updates"}, {"every", 1}, {"block", block}}};
    const auto read = ReadRunConfig(config);
    try {
      const Experiment experiment(*read);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_NE(block, "tensor") << error.what();
      EXPECT_NE(std::string(error.what()).find("probes[0].block"), std::string::npos);
      continue;
    }
    ShortRun run(config);
    EXPECT_TRUE(run.stepper().Step(0).probes[0].isfinite().all().item<bool>()) << block;
    EXPECT_TRUE(!convolves || block == "tensor");
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryModel, testing::ValuesIn(Variants()),
                         [](const auto& info) {
                           return info.param.Text() + "_" + std::to_string(info.index);
                         });

/// Also where the size of the data is still unknown.
TEST(ModelsAndProbes, SeparateUpdatesOfConvolutionsSayWhatToDo) {
  Json config = SyntheticConfig();
  config["data"] = {{"name", "mnist"}, {"path", "/nowhere"}};
  config["model"] = {{"name", "convnet"}, {"channels", {2}}};
  config["probes"] = {{{"name", "separate_updates"}, {"every", 1}}};
  const auto read = ReadRunConfig(config);
  ExpectError(ErrorKind::kConfig,
              {"probes[0].block", "\"weight\"", "fully connected", "conv1.weight", "\"tensor\""},
              [&] { const Experiment experiment(*read); });
}

}  // namespace
}  // namespace sgdscope
