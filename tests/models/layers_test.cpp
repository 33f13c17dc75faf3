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
      R"({"layers": [{"name": "linear", "units": 6}, {"name": "batch_norm"}, {"name": "linear"}],
          "ghost_batch_size": 4, "statistics_momentum": 0.5})",
      {3}, 2);
  EXPECT_EQ(network.statistics.size(), 12);
  EXPECT_EQ(network.ghost_batch_size, 4);
  EXPECT_EQ(network.statistics_momentum, 0.5);
  EXPECT_EQ(network.fewest_normalized, 2);  // a channel has a single value an example
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

// What a model says about itself as a list is what it is built from, by another model's reader.
TEST(LayerLists, AModelAsAListIsTheSameNetwork) {
  const auto built_in = Registry<Model>::entries().at("wide_resnet").make();
  const Json fields = {{"depth", 10}, {"width", 2}, {"channels", 3}, {"norm", "batch"}};
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
