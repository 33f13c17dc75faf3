// Residual networks (He et al. 2016) in their form for small images: the first convolution is 3 x 3
// with stride 1 in place of 7 x 7 with stride 2, and no max pool follows. Four groups of blocks,
// with c, 2c, 4c and 8c channels (c = 64); all but the first halve the image. A block is
//   relu(shortcut(h) + branch(h)),
// where the shortcut is a 1 x 1 convolution where the shape changes, else nothing.
//   resnet18          2, 2, 2, 2 blocks; branch: 3 x 3, 3 x 3
//   wide_resnet50_2   3, 4, 6, 3 blocks; branch: 1 x 1 to twice the channels, 3 x 3 (with the
//                     stride), 1 x 1 to four times the channels (Zagoruyko and Komodakis 2016)
// Then the mean of each channel, and a fully connected layer.

#include "config/registry.h"
#include "models/images.h"

namespace sgdscope {
namespace {

class ResNet : public Model {
 public:
  void Fields(FieldVisitor& visitor) override {
    VisitChannels(visitor, channels_);
    norm_.Fields(visitor);
    visitor.Visit({.name = "init", .help = "how the weights start", .allowed = InitNames()}, init_);
  }

  void Check(const std::string& path) const override { norm_.Check(path); }

  Json Listed(const std::vector<int64_t>& shape, int64_t, const std::string& path) override {
    CheckImages(kind_.name, shape, int64_t{1} << (kind_.blocks.size() - 1), path);
    Json layers = Json::array();
    AppendNormed("conv", {channels_, 3, 1}, layers);
    layers.push_back({{"name", "relu"}});
    int64_t in = channels_;
    for (size_t group = 0; group < kind_.blocks.size(); ++group) {
      const int64_t inner = channels_ << group;
      for (int64_t block = 0; block < kind_.blocks[group]; ++block) {
        const int64_t stride = group > 0 && block == 0 ? 2 : 1;
        const std::string label = BlockName(static_cast<int64_t>(group), block);
        AppendBlock(label, in != inner * kind_.expansion, inner, stride, layers);
        in = inner * kind_.expansion;
      }
    }
    AppendClasses(layers);
    return norm_.AsModel(layers, init_);
  }

 protected:
  struct Kind {
    std::string name;
    std::vector<int64_t> blocks;  // of each group
    int64_t bottleneck;           // inner channels of a bottleneck block for each of the group's;
                                  // 0: two 3 x 3 convolutions instead
    int64_t expansion;            // output channels for each of the group's
  };

  explicit ResNet(Kind kind) : kind_(std::move(kind)) {}

 private:
  void AppendNormed(const std::string& label, const Convolution& c, Json& layers) const {
    norm_.AppendConvolution(label, c, layers);
    norm_.Append(label + ".norm", layers);
  }

  std::vector<Convolution> Branch(int64_t inner, int64_t stride) const {
    if (kind_.bottleneck == 0) return {{inner, 3, stride}, {inner, 3, 1}};
    const int64_t middle = inner * kind_.bottleneck;
    return {{middle, 1, 1}, {middle, 3, stride}, {inner * kind_.expansion, 1, 1}};
  }

  /// `widens`: whether the block's output has another number of channels than its input.
  void AppendBlock(const std::string& label, bool widens, int64_t inner, int64_t stride,
                   Json& layers) const {
    Json branch = Json::array();
    int64_t index = 1;
    for (const Convolution& convolution : Branch(inner, stride)) {
      if (index > 1) branch.push_back({{"name", "relu"}});
      AppendNormed("conv" + std::to_string(index++), convolution, branch);
    }
    norm_.EndBranch(branch);
    Json shortcut = Json::array();
    if (widens || stride != 1) {
      AppendNormed("shortcut", {inner * kind_.expansion, 1, stride}, shortcut);
    }
    layers.push_back(
        {{"name", "residual"}, {"label", label}, {"branch", branch}, {"shortcut", shortcut}});
    layers.push_back({{"name", "relu"}});
  }

  Kind kind_;
  int64_t channels_ = 64;
  Normalization norm_{/*residual=*/true};
  std::string init_ = "he_normal";
};

class ResNet18 : public ResNet {
 public:
  ResNet18() : ResNet({"resnet18", {2, 2, 2, 2}, 0, 1}) {}
};

class WideResNet50Two : public ResNet {
 public:
  WideResNet50Two() : ResNet({"wide_resnet50_2", {3, 4, 6, 3}, 2, 4}) {}
};

const Registration<Model, ResNet18> kResNet18("resnet18", "ResNet-18 for small images",
                                              {.base = R"({"channels": 2})"});
const Registration<Model, WideResNet50Two> kWideResNet50Two(
    "wide_resnet50_2", "ResNet-50 of twice the inner width, for small images",
    {.base = R"({"channels": 2})"});

}  // namespace
}  // namespace sgdscope
