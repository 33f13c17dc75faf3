#include <gtest/gtest.h>

#include "config/registry.h"
#include "core/error.h"
#include "models/layer_spec.h"
#include "tests/expect_error.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

// Networks as lists of layers.

namespace sgdscope {
namespace {

Network Build(const std::string& fields, const Shape& shape, int64_t classes) {
  const auto model = Registry<Model>::entries().at("layers").make();
  ReadFields(Json::parse(fields), "model", [&](FieldVisitor& visitor) { model->Fields(visitor); });
  model->Check("model");
  return model->Build(shape, classes, "model");
}

Network BuildList(const std::string& list, const Shape& shape, int64_t classes = 3) {
  return Build(R"({"layers": [)" + list + "]}", shape, classes);
}

std::vector<std::string> Names(const Network& network) {
  std::vector<std::string> names;
  for (const Parameter& parameter : network.table.parameters()) names.push_back(parameter.name);
  return names;
}

TEST(LayerLists, SizesFollowFromTheDataAndTheLayersBefore) {
  const Network network = BuildList(
      R"({"name": "conv2d", "channels": 4, "kernel": 5, "stride": 2}, {"name": "relu"},
         {"name": "conv2d", "channels": 6, "padding": 0, "bias": false}, {"name": "max_pool"},
         {"name": "flatten"}, {"name": "linear", "units": 7}, {"name": "tanh"}, {"name": "linear"})",
      {2, 13, 11});
  // 13 x 11 to 7 x 6 by stride 2, to 5 x 4 without padding, to 2 x 2 by the pool.
  std::vector<std::vector<int64_t>> shapes;
  for (const Parameter& parameter : network.table.parameters()) shapes.push_back(parameter.shape);
  EXPECT_EQ(shapes, (std::vector<std::vector<int64_t>>{
                        {4, 2, 5, 5}, {4}, {6, 4, 3, 3}, {7, 24}, {7}, {3, 7}, {3}}));
  EXPECT_EQ(Names(network),
            (std::vector<std::string>{"conv2d1.weight", "conv2d1.bias", "conv2d2.weight",
                                      "linear1.weight", "linear1.bias", "linear2.weight",
                                      "linear2.bias"}));
  const at::Tensor theta = InitialTheta(network, 1, at::kDouble);
  EXPECT_EQ(network.root->Forward(at::ones({5, 2, 13, 11}, at::kDouble), {theta}).sizes(),
            (std::vector<int64_t>{5, 3}));
}

// A network by hand: relu(h W1) added to h, twice, then the classes.
TEST(LayerLists, ResidualsAndRepeatsNest) {
  const Network network = BuildList(
      R"({"name": "repeat", "times": 2, "label": "blocks", "layers": [
           {"name": "residual", "branch": [{"name": "linear", "units": 4, "bias": false},
                                           {"name": "relu"}]}]},
         {"name": "linear", "label": "classes", "bias": false})",
      {4});
  EXPECT_EQ(Names(network),
            (std::vector<std::string>{"blocks.1.residual1.linear1.weight",
                                      "blocks.2.residual1.linear1.weight", "classes.weight"}));
  Stream stream(3, "layers");
  const at::Tensor theta = RandomTensor(stream, {16 + 16 + 12});
  const at::Tensor h = RandomTensor(stream, {5, 4});
  at::Tensor expected = h;
  for (const int64_t block : {0, 1}) {
    expected = expected + at::mm(expected, theta.narrow(0, 16 * block, 16).view({4, 4}).t()).relu();
  }
  expected = at::mm(expected, theta.narrow(0, 32, 12).view({3, 4}).t());
  EXPECT_TRUE(at::allclose(network.root->Forward(h, {theta}), expected, 1e-12, 1e-12));
}

TEST(LayerLists, BranchAndShortcutShareNoName) {
  const Network network = BuildList(
      R"({"name": "residual", "branch": [{"name": "conv2d", "channels": 5, "stride": 2}],
          "shortcut": [{"name": "conv2d", "channels": 5, "kernel": 1, "stride": 2, "bias": false}]},
         {"name": "global_average_pool"}, {"name": "linear"})",
      {2, 7, 6});
  EXPECT_EQ(Names(network), (std::vector<std::string>{
                                "residual1.conv2d1.weight", "residual1.conv2d1.bias",
                                "residual1.conv2d2.weight", "linear1.weight", "linear1.bias"}));
}

TEST(LayerLists, BatchNormTakesListsOfNumbersToo) {
  const Network network = Build(
      R"({"layers": [{"name": "linear", "units": 6}, {"name": "batch_norm", "ghost_batch_size": 4},
                     {"name": "linear"}],
          "statistics_momentum": 0.5})",
      {3}, 2);
  EXPECT_EQ(network.statistics.size(), 12);
  ASSERT_EQ(network.batch_norms.size(), 1u);
  EXPECT_EQ(network.batch_norms[0].ghost_batch_size, 4);
  EXPECT_EQ(network.statistics_momentum, 0.5);
  EXPECT_EQ(network.batch_norms[0].fewest, 2);  // a channel has a single value an example
  Stream stream(4, "layers");
  const at::Tensor h = RandomTensor(stream, {8, 3});
  const at::Tensor theta = InitialTheta(network, 1, at::kDouble);
  const at::Tensor units =
      at::addmm(theta.narrow(0, 18, 6), h, theta.narrow(0, 0, 18).view({6, 3}).t());
  std::vector<at::Tensor> normalized;
  for (const at::Tensor& ghost : units.split(4)) {
    normalized.push_back((ghost - ghost.mean(0)) /
                         (ghost.var(0, /*unbiased=*/false) + 1e-5).sqrt());
  }
  const at::Tensor weight = theta.narrow(0, 36, 12).view({2, 6});
  const at::Tensor expected = at::addmm(theta.narrow(0, 48, 2), at::cat(normalized), weight.t());
  EXPECT_TRUE(at::allclose(network.root->Forward(h, {theta}), expected, 1e-10, 1e-10));
}

/// What one of them cannot do the network cannot, wherever it stands.
TEST(LayerLists, EachBatchNormHasItsOwnGhostBatches) {
  const auto norm = [](const std::string& ghost) {
    return R"({"name": "batch_norm", "ghost_batch_size": )" + ghost + "}";
  };
  const std::string conv = R"(, {"name": "conv2d", "channels": 2}, )";
  const std::string end = R"(, {"name": "flatten"}, {"name": "linear"})";
  const Network network = BuildList(norm("4") + conv + norm("6") + end, {1, 4, 4});
  network.CheckTrainedBatches(12, 24);
  network.CheckPieces(36, "piece_size");
  const std::string second = "model.layers[2].ghost_batch_size";
  ExpectError(ErrorKind::kConfig, {second, "6", "batches of 8"},
              [&] { network.CheckTrainedBatches(8, 8); });
  ExpectError(ErrorKind::kConfig, {"model.layers[0].ghost_batch_size", "4", "batches of 6"},
              [&] { network.CheckTrainedBatches(12, 6); });
  ExpectError(ErrorKind::kConfig, {"piece_size", "8", "ghost batches of 6", second},
              [&] { network.CheckPieces(8, "piece_size"); });
  const Network whole = BuildList(norm("4") + R"(, {"name": "batch_norm"})" + end, {1, 4, 4});
  ExpectError(ErrorKind::kConfig, {"piece_size", "as a whole", "model.layers[1].ghost_batch_size"},
              [&] { whole.CheckPieces(8, "piece_size"); });
  // The second one sees one pixel of each image.
  const Network small =
      BuildList(norm("4") + R"(, {"name": "max_pool"}, )" + norm("2") + end, {1, 2, 2});
  small.CheckNormalizes(6, "batch_size", "hint");
  ExpectError(ErrorKind::kConfig, {"batch_size", "1 example", "batch of 5"},
              [&] { small.CheckNormalizes(5, "batch_size", "hint"); });
}

TEST(LayerLists, NormsOfSingleExamplesAndMeansOfWindows) {
  const Network network = BuildList(
      R"({"name": "layer_norm"}, {"name": "conv2d", "channels": 6}, {"name": "group_norm", "groups": 3},
         {"name": "gelu"}, {"name": "average_pool", "size": 3, "stride": 2}, {"name": "flatten"},
         {"name": "group_norm", "groups": 4, "label": "list"}, {"name": "layer_norm"}, {"name": "linear"})",
      {2, 7, 6});
  EXPECT_EQ(network.root->Describe(),
            "layer norm of 2 x 7 x 6 numbers\n"
            "conv 2 -> 6, 3 x 3, stride 1, padding 1\n"
            "group norm of 6 channels in 3 groups\n"
            "gelu\n"
            "average pool 3 x 3, stride 2\n"
            "flatten\n"
            "group norm of 36 channels in 4 groups\n"
            "layer norm of 36 numbers\n"
            "linear 36 -> 3");
  std::vector<std::vector<int64_t>> shapes;
  for (const Parameter& parameter : network.table.parameters()) shapes.push_back(parameter.shape);
  EXPECT_EQ(shapes, (std::vector<std::vector<int64_t>>{{2, 7, 6},
                                                       {2, 7, 6},
                                                       {6, 2, 3, 3},
                                                       {6},
                                                       {6},
                                                       {6},
                                                       {36},
                                                       {36},
                                                       {36},
                                                       {36},
                                                       {3, 36},
                                                       {3}}));
  EXPECT_EQ(Names(network)[0], "layer_norm1.gamma");
  EXPECT_EQ(Names(network)[5], "group_norm1.beta");
  EXPECT_EQ(Names(network)[6], "list.gamma");
  EXPECT_FALSE(network.MixesExamples());
  const at::Tensor theta = InitialTheta(network, 1, at::kDouble);
  EXPECT_EQ(network.root->Forward(at::ones({5, 2, 7, 6}, at::kDouble), {theta}).sizes(),
            (std::vector<int64_t>{5, 3}));
}

// What a model says about itself as a list is what it is built from, by another model's reader.
TEST(LayerLists, AModelAsAListIsTheSameNetwork) {
  for (const bool ghost : {false, true}) {
    const auto built_in = Registry<Model>::entries().at("wide_resnet").make();
    Json fields = {{"depth", 10}, {"width", 2}, {"channels", 3}, {"norm", "batch"}};
    if (ghost) fields.update({{"norm", "ghost"}, {"ghost_batch_size", 2}});
    ReadFields(fields, "model", [&](FieldVisitor& visitor) { built_in->Fields(visitor); });
    const Shape shape = {2, 9, 8};
    const Network expected = built_in->Build(shape, 3, "model");
    Json list = built_in->AsLayers(shape, 3, "model");
    EXPECT_EQ(list["name"], "layers");
    list.erase("name");
    const Network network = Build(list.dump(), shape, 3);
    EXPECT_EQ(Names(network), Names(expected));
    EXPECT_EQ(network.init, expected.init);
    EXPECT_EQ(network.root->Describe(), expected.root->Describe());
    const at::Tensor theta = InitialTheta(network, 5, at::kFloat);
    EXPECT_TRUE(SameBits(theta, InitialTheta(expected, 5, at::kFloat)));
    const at::Tensor images = at::arange(4 * 2 * 9 * 8, at::kFloat).sin().view({4, 2, 9, 8});
    EXPECT_TRUE(
        SameBits(network.root->Forward(images, {theta}), expected.root->Forward(images, {theta})));
    EXPECT_EQ(network.batch_norms.size(), expected.batch_norms.size());
    EXPECT_EQ(network.batch_norms.back().ghost_batch_size, ghost ? 2 : 0);
  }
}

TEST(LayerLists, WhatDoesNotFitIsRefusedWhereItStands) {
  const struct {
    std::string list;
    Shape shape;
    std::vector<std::string> parts;
  } cases[] = {
      {R"({"name": "linear"})", {1, 4, 4}, {"model.layers[0]", "linear", "[1, 4, 4]", "flatten"}},
      {R"({"name": "flatten"}, {"name": "conv2d", "channels": 2})",
       {1, 4, 4},
       {"model.layers[1]", "conv2d", "[16]", "in front of flatten"}},
      {R"({"name": "max_pool", "size": 5})", {1, 4, 4}, {"model.layers[0]", "5 pixels", "4"}},
      {R"({"name": "linear", "units": 5})", {4}, {"model.layers", "[5]", "3 classes"}},
      {R"({"name": "average_pool", "size": 5})", {1, 4, 4}, {"model.layers[0]", "5 pixels", "4"}},
      {R"({"name": "average_pool"})", {4}, {"model.layers[0]", "average_pool", "[4]", "flatten"}},
      {R"({"name": "conv2d", "channels": 4}, {"name": "group_norm", "groups": 3})",
       {1, 4, 4},
       {"model.layers[1].groups", "3 groups", "4 channels", "[4, 4, 4]", "divisor of 4"}},
      {R"({"name": "group_norm", "groups": 4})",
       {4},
       {"model.layers[0]", "group_norm", "single numbers", "[4]", "fewer groups"}},
      {R"({"name": "group_norm"})", {4}, {"model.layers[0].groups"}},
      {R"({"name": "linear", "units": 1}, {"name": "layer_norm"})",
       {4},
       {"model.layers[1]", "layer_norm", "single numbers", "[1]", "leave it out"}},
      {R"({"name": "batch_norm", "ghost_batch_size": 1})",
       {4},
       {"model.layers[0].ghost_batch_size", "1"}},
      {R"({"name": "conv2d", "channels": 3})", {1, 4, 4}, {"model.layers", "[3, 4, 4]", "linear"}},
      {R"({"name": "relu"})", {3}, {"model.layers", "parameters", "linear"}},
      {R"({"name": "residual", "branch": [{"name": "linear", "units": 5}]}, {"name": "linear"})",
       {4},
       {"model.layers[0]", "[5]", "[4]", "shortcut"}},
      {R"({"name": "linear", "label": "a"}, {"name": "linear", "label": "a"})",
       {4},
       {"model.layers[1].label", "'a'", "another label"}},
      {R"({"name": "residual", "branch": [{"name": "relu"}, {"name": "global_average_pool"}]})",
       {4},
       {"model.layers[0].branch[1]", "global_average_pool", "[4]"}},
      {R"({"name": "repeat", "times": 2, "layers": [{"name": "max_pool", "size": 3}]})",
       {1, 4, 4},
       {"model.layers[0].layers[0]", "3 pixels"}},
      {R"({"name": "liner"})", {4}, {"model.layers[0].name", "liner", "linear"}},
      {R"({"name": "linear", "unit": 4})", {4}, {"model.layers[0].unit", "units"}},
      {R"({"name": "conv2d"})", {1, 4, 4}, {"model.layers[0].channels"}},
  };
  for (const auto& wrong : cases) {
    ExpectError(ErrorKind::kConfig, wrong.parts, [&] { BuildList(wrong.list, wrong.shape); });
  }
}

}  // namespace
}  // namespace sgdscope
