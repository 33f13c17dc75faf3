#include <gtest/gtest.h>

#include "config/json.h"
#include "config/registry.h"
#include "core/error.h"
#include "models/model.h"
#include "tests/expect_error.h"

// AlexNet, ResNet-18, Wide-ResNet-50-2, Wide-ResNet and VGG: sizes, layout and refusals. What every
// model must do is in model_test.cpp.

namespace sgdscope {
namespace {

Network Build(const std::string& name, const std::string& fields,
              const std::vector<int64_t>& shape = {3, 32, 32}, int64_t classes = 10) {
  const auto model = Registry<Model>::entries().at(name).make();
  ReadFields(ParseConfig(fields, "test"), "model",
             [&](FieldVisitor& visitor) { model->Fields(visitor); });
  model->Check("model");
  return model->Build(shape, classes, "model");
}

int64_t Count(const std::string& name, const std::string& fields) {
  return Build(name, fields).table.size();
}

/// A layer's weights and biases.
constexpr int64_t Conv(int64_t in, int64_t out, int64_t kernel, bool bias) {
  return in * out * kernel * kernel + (bias ? out : 0);
}
constexpr int64_t Linear(int64_t in, int64_t out) { return in * out + out; }

/// Against the figures of torchvision's models for 224 x 224 pixels and 1000 classes, after taking
/// away the layers that differ and adding ours.
TEST(ImageModels, HaveThePublishedNumbersOfParameters) {
  EXPECT_EQ(Count("resnet18", "{}"), 11'689'512 - Conv(3, 64, 7, false) - Linear(512, 1000) +
                                         Conv(3, 64, 3, false) + Linear(512, 10));
  EXPECT_EQ(Count("wide_resnet50_2", "{}"), 68'883'240 - Conv(3, 64, 7, false) -
                                                Linear(2048, 1000) + Conv(3, 64, 3, false) +
                                                Linear(2048, 10));
  EXPECT_EQ(Count("alexnet", "{}"), 61'100'840 - Conv(3, 64, 11, true) - Linear(256 * 6 * 6, 4096) -
                                        Linear(4096, 1000) + Conv(3, 64, 3, true) +
                                        Linear(256 * 2 * 2, 4096) + Linear(4096, 10));
  const int64_t convolutions = Conv(3, 64, 3, true) + Conv(64, 192, 5, true) +
                               Conv(192, 384, 3, true) + Conv(384, 256, 3, true) +
                               Conv(256, 256, 3, true);
  EXPECT_EQ(Count("alexnet_small", "{}"), convolutions + Linear(1024, 256) + Linear(256, 10));
  // Published as 36.5 and 2.7 million.
  EXPECT_EQ(Count("wide_resnet", R"({"depth": 28, "width": 10})"), 36'479'194);
  EXPECT_EQ(Count("wide_resnet", R"({"depth": 16, "width": 4})"), 2'748'890);
}

/// A stack of VGG with its norms and no biases.
constexpr int64_t Stack(int64_t depth, int64_t in, int64_t out) {
  return Conv(in, out, 3, false) + (depth - 1) * Conv(out, out, 3, false) + depth * 2 * out;
}

/// noise_enhancement, section 3.
TEST(ImageModels, VggHasTheParametersOfC1AndC2) {
  const std::string norm = R"("norm": "ghost", "ghost_batch_size": 100)";
  const int64_t c1 = Stack(3, 3, 64) + Stack(3, 64, 128) + Stack(3, 128, 256);
  EXPECT_EQ(Count("vgg", R"({"depths": [3, 3, 3], "channels": [64, 128, 256], )" + norm + "}"),
            c1 + Linear(256 * 4 * 4, 10));
  const Network c2 = Build("vgg",
                           R"({"depths": [3, 3, 3, 2], "channels": [64, 128, 256, 512],
                               "hidden": [1024], )" +
                               norm + "}",
                           {3, 32, 32}, 100);
  EXPECT_EQ(c2.table.size(),
            c1 + Stack(2, 256, 512) + Linear(512 * 2 * 2, 1024) + Linear(1024, 100));
  EXPECT_EQ(c2.init, "xavier_uniform");
  EXPECT_EQ(c2.batch_norms.size(), 11u);
  for (const BatchNormalization& it : c2.batch_norms) EXPECT_EQ(it.ghost_batch_size, 100);
  EXPECT_EQ(c2.statistics.size(), 2 * (3 * 64 + 3 * 128 + 3 * 256 + 2 * 512));
  const std::string plain = R"({"depths": [2, 1], "channels": [3, 4], "norm": "none"})";
  EXPECT_EQ(Build("vgg", plain, {1, 5, 7}, 6).table.size(),
            Conv(1, 3, 3, true) + Conv(3, 3, 3, true) + Conv(3, 4, 3, true) + Linear(4, 6));
}

TEST(ImageModels, SkipInitTradesNormsForBiasesAndGains) {
  const int64_t first = Conv(3, 16, 3, true) + 2 * Conv(16, 16, 3, true) + 1;
  const int64_t second = Conv(16, 32, 3, true) + Conv(32, 32, 3, true) + Conv(16, 32, 1, true) + 1;
  const int64_t third = Conv(32, 64, 3, true) + Conv(64, 64, 3, true) + Conv(32, 64, 1, true) + 1;
  EXPECT_EQ(Count("wide_resnet", R"({"depth": 10, "width": 1, "norm": "skipinit"})"),
            first + second + third + Linear(64, 10));
  const Network network = Build("resnet18", R"({"norm": "skipinit"})");
  EXPECT_FALSE(network.MixesExamples());
  int64_t gains = 0;
  for (const Parameter& parameter : network.table.parameters()) {
    gains += parameter.name.ends_with(".alpha") ? 1 : 0;
  }
  EXPECT_EQ(gains, 8);
  EXPECT_EQ(Build("resnet18", "{}").statistics.size(),
            2 * (64 + 4 * 64 + 4 * 128 + 128 + 4 * 256 + 256 + 4 * 512 + 512));
}

TEST(ImageModels, ListTheirLayers) {
  const std::string fields = R"({"depth": 10, "width": 2, "channels": 1, "norm": "skipinit"})";
  const std::string text = Build("wide_resnet", fields, {1, 8, 8}, 3).root->Describe();
  const std::string expected =
      "conv 1 -> 1, 3 x 3, stride 1, padding 1\n"
      "relu\n"
      "residual\n"
      "  branch\n"
      "    conv 1 -> 2, 3 x 3, stride 1, padding 1\n"
      "    relu\n"
      "    conv 2 -> 2, 3 x 3, stride 1, padding 1\n"
      "    scale by one gain\n"
      "  shortcut\n"
      "    conv 1 -> 2, 1 x 1, stride 1, padding 0\n"
      "relu\n"
      "residual\n"
      "  branch\n"
      "    conv 2 -> 4, 3 x 3, stride 2, padding 1\n";
  EXPECT_EQ(text.substr(0, expected.size()), expected);
}

TEST(ImageModels, VggNormalizesConvolutionsOnly) {
  const std::string fields = R"({"depths": [2, 1], "channels": [3, 4], "hidden": [5],
                                 "norm": "ghost", "ghost_batch_size": 6})";
  EXPECT_EQ(Build("vgg", fields, {1, 5, 8}, 2).root->Describe(),
            "conv 1 -> 3, 3 x 3, stride 1, padding 1 (no bias)\n"
            "batch norm of 3 channels, ghost batches of 6\n"
            "relu\n"
            "conv 3 -> 3, 3 x 3, stride 1, padding 1 (no bias)\n"
            "batch norm of 3 channels, ghost batches of 6\n"
            "relu\n"
            "max pool 2 x 2, stride 2\n"
            "conv 3 -> 4, 3 x 3, stride 1, padding 1 (no bias)\n"
            "batch norm of 4 channels, ghost batches of 6\n"
            "relu\n"
            "max pool 2 x 2, stride 2\n"
            "flatten\n"
            "linear 8 -> 5\n"
            "relu\n"
            "linear 5 -> 2");
}

TEST(ImageModels, RefuseWhatTheyCannotBe) {
  const auto refused = [](const std::string& name, const std::string& fields,
                          const std::vector<std::string>& parts,
                          const std::vector<int64_t>& shape = {3, 32, 32}) {
    ExpectError(ErrorKind::kConfig, parts, [&] { Build(name, fields, shape); });
  };
  refused("wide_resnet", R"({"depth": 12, "width": 1})",
          {"model.depth", "found 12", "6k + 4", "10 and 16"});
  refused("wide_resnet", R"({"depth": 4, "width": 1})", {"model.depth", "4"});
  refused("wide_resnet", R"({"depth": 10, "width": 0})", {"model.width", "0"});
  refused("wide_resnet", R"({"depth": 10, "width": 1})", {"model: ", "3 x 32", "by 4"}, {3, 3, 32});
  refused("resnet18", "{}", {"model: ", "7 x 8", "resnet18", "by 8"}, {1, 7, 8});
  refused("alexnet_small", "{}", {"model: ", "15 x 15", "alexnet_small", "by 16"}, {1, 15, 15});
  refused("alexnet", "{}", {"model: ", "1 dimensions"}, {784});
  refused("resnet18", R"({"norm": "ghost"})", {"model.ghost_batch_size", "missing"});
  refused("resnet18", R"({"ghost_batch_size": 4})", {"model.ghost_batch_size", "\"batch\""});
  refused("resnet18", R"({"norm": "ghost", "ghost_batch_size": 1})",
          {"model.ghost_batch_size", "1"});
  refused("vgg", "{}", {"model", "depths"});
  refused("vgg", R"({"depths": [3, 3], "channels": [4]})",
          {"model.depths", "2 depths", "1 numbers of channels"});
  refused("vgg", R"({"depths": [], "channels": []})", {"model.depths", "0 depths"});
  refused("vgg", R"({"depths": [0], "channels": [4]})", {"model.depths[0]", "0"});
  refused("vgg", R"({"depths": [1], "channels": [4], "norm": "skipinit"})",
          {"model.norm", "skipinit", "none"});
  refused("vgg", R"({"depths": [1], "channels": [4], "norm": "ghost"})",
          {"model.ghost_batch_size", "missing"});
  refused("vgg", R"({"depths": [1, 1], "channels": [4, 4]})", {"model: ", "vgg", "by 4"},
          {1, 3, 9});
  // The smallest images that fit.
  EXPECT_GT(Build("vgg", R"({"depths": [1, 1], "channels": [2, 2]})", {1, 4, 7}).table.size(), 0);
  EXPECT_GT(Build("wide_resnet", R"({"depth": 10, "width": 1})", {1, 4, 4}).table.size(), 0);
  EXPECT_GT(Build("resnet18", R"({"channels": 1})", {1, 8, 8}).table.size(), 0);
  EXPECT_GT(Build("alexnet", R"({"channels": 1})", {1, 16, 16}).table.size(), 0);
}

}  // namespace
}  // namespace sgdscope
