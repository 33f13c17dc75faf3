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
#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/pool2d.h"
#include "nn/residual.h"

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

  Network Build(const std::vector<int64_t>& shape, int64_t classes,
                const std::string& path) const override {
    CheckImages(kind_.name, shape, int64_t{1} << (kind_.blocks.size() - 1), path);
    Network network;
    network.init = init_;
    norm_.Settle(network, HalvedPixels(shape, std::ssize(kind_.blocks) - 1));
    auto sequence = std::make_unique<Sequence>();
    AppendNormed("conv", {shape[0], channels_, 3, 1}, network, *sequence);
    sequence->Append(MakeActivation("relu"));
    int64_t in = channels_;
    for (size_t group = 0; group < kind_.blocks.size(); ++group) {
      const int64_t inner = channels_ << group;
      for (int64_t block = 0; block < kind_.blocks[group]; ++block) {
        const int64_t stride = group > 0 && block == 0 ? 2 : 1;
        const std::string name = BlockName(static_cast<int64_t>(group), block);
        AppendBlock(name, in, inner, stride, network, *sequence);
        in = inner * kind_.expansion;
      }
    }
    sequence->Append(MakeGlobalAveragePool());
    sequence->Append(MakeLinear(network.table, "linear", in, classes, /*bias=*/true));
    network.root = std::move(sequence);
    return network;
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
  void AppendNormed(const std::string& name, const Convolution& c, Network& network,
                    Sequence& sequence) const {
    norm_.AppendConvolution(name, c, network, sequence);
    norm_.Append(name + ".norm", c.out, network, sequence);
  }

  std::vector<Convolution> Branch(int64_t in, int64_t inner, int64_t stride) const {
    if (kind_.bottleneck == 0) return {{in, inner, 3, stride}, {inner, inner, 3, 1}};
    const int64_t middle = inner * kind_.bottleneck;
    return {
        {in, middle, 1, 1}, {middle, middle, 3, stride}, {middle, inner * kind_.expansion, 1, 1}};
  }

  void AppendBlock(const std::string& name, int64_t in, int64_t inner, int64_t stride,
                   Network& network, Sequence& sequence) const {
    const int64_t out = inner * kind_.expansion;
    auto branch = std::make_unique<Sequence>();
    int64_t index = 1;
    for (const Convolution& convolution : Branch(in, inner, stride)) {
      if (index > 1) branch->Append(MakeActivation("relu"));
      AppendNormed(name + ".conv" + std::to_string(index++), convolution, network, *branch);
    }
    norm_.EndBranch(name, network, *branch);
    std::unique_ptr<Sequence> shortcut;
    if (in != out || stride != 1) {
      shortcut = std::make_unique<Sequence>();
      AppendNormed(name + ".shortcut", {in, out, 1, stride}, network, *shortcut);
    }
    sequence.Append(MakeResidual(std::move(branch), std::move(shortcut)));
    sequence.Append(MakeActivation("relu"));
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
