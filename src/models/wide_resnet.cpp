// Wide residual network (Zagoruyko and Komodakis 2016) of depth 6k + 4 and widening factor w: a 3 x
// 3 convolution to c = 16 channels, three groups of k blocks with cw, 2cw and 4cw channels, of
// which the second and third halve the image, then norm, relu, the mean of each channel and a fully
// connected layer. A block is
//   shortcut(h) + conv3x3(relu(norm(conv3x3(relu(norm(h)))))),
// where the shortcut is h itself, or, where the shape changes, a 1 x 1 convolution of
// relu(norm(h)). With skipinit (De and Smith 2020) there is no norm; each branch ends with a gain
// that starts at 0, and the convolutions have biases.

#include "config/registry.h"
#include "core/error.h"
#include "models/images.h"
#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/pool2d.h"
#include "nn/residual.h"

namespace sgdscope {
namespace {

constexpr int64_t kGroups = 3;

class WideResNet : public Model {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "depth",
                   .help = "6k + 4 for k blocks a group: 10, 16, 22, 28, ...",
                   .unit = "layers",
                   .paper = "implicit_regularization, section 2.3",
                   .required = true,
                   .min = 10,
                   .max = 1e4},
                  depth_);
    visitor.Visit({.name = "width",
                   .help = "widening factor of the groups' channels",
                   .paper = "implicit_regularization, section 2.3",
                   .required = true,
                   .min = 1,
                   .max = 1e3},
                  width_);
    VisitChannels(visitor, channels_);
    norm_.Fields(visitor);
    visitor.Visit({.name = "init", .help = "how the weights start", .allowed = InitNames()}, init_);
  }

  void Check(const std::string& path) const override {
    norm_.Check(path);
    if ((depth_ - 4) % (2 * kGroups) == 0) return;
    const int64_t below = depth_ - (depth_ - 4) % (2 * kGroups);
    throw Error(ErrorKind::kConfig, path + ".depth",
                "found " + std::to_string(depth_) + ", expected 6k + 4",
                "The nearest are " + std::to_string(below) + " and " +
                    std::to_string(below + 2 * kGroups) + ".");
  }

  Network Build(const std::vector<int64_t>& shape, int64_t classes,
                const std::string& path) const override {
    CheckImages("wide_resnet", shape, int64_t{1} << (kGroups - 1), path);
    Network network;
    network.init = init_;
    norm_.Settle(network, HalvedPixels(shape, kGroups - 1));
    auto sequence = std::make_unique<Sequence>();
    norm_.AppendConvolution("conv", {shape[0], channels_, 3, 1}, network, *sequence);
    int64_t in = channels_;
    for (int64_t group = 0; group < kGroups; ++group) {
      const int64_t out = channels_ * width_ << group;
      for (int64_t block = 0; block < (depth_ - 4) / (2 * kGroups); ++block) {
        const int64_t stride = group > 0 && block == 0 ? 2 : 1;
        const std::string name = BlockName(group, block);
        AppendBlock(name, in, out, stride, network, *sequence);
        in = out;
      }
    }
    AppendActivation("norm", in, network, *sequence);
    sequence->Append(MakeGlobalAveragePool());
    sequence->Append(MakeLinear(network.table, "linear", in, classes, /*bias=*/true));
    network.root = std::move(sequence);
    return network;
  }

 private:
  void AppendActivation(const std::string& name, int64_t channels, Network& network,
                        Sequence& sequence) const {
    norm_.Append(name, channels, network, sequence);
    sequence.Append(MakeActivation("relu"));
  }

  void AppendBlock(const std::string& name, int64_t in, int64_t out, int64_t stride,
                   Network& network, Sequence& sequence) const {
    const bool changes = in != out || stride != 1;
    auto branch = std::make_unique<Sequence>();
    // Where the shape changes, branch and shortcut share the activation in front of them.
    AppendActivation(name + ".norm1", in, network, changes ? sequence : *branch);
    norm_.AppendConvolution(name + ".conv1", {in, out, 3, stride}, network, *branch);
    AppendActivation(name + ".norm2", out, network, *branch);
    norm_.AppendConvolution(name + ".conv2", {out, out, 3, 1}, network, *branch);
    norm_.EndBranch(name, network, *branch);
    std::unique_ptr<Sequence> shortcut;
    if (changes) {
      shortcut = std::make_unique<Sequence>();
      norm_.AppendConvolution(name + ".shortcut", {in, out, 1, stride}, network, *shortcut);
    }
    sequence.Append(MakeResidual(std::move(branch), std::move(shortcut)));
  }

  int64_t depth_ = 0;
  int64_t width_ = 0;
  int64_t channels_ = 16;
  Normalization norm_{/*residual=*/true};
  std::string init_ = "he_normal";
};

const Registration<Model, WideResNet> kRegistration("wide_resnet",
                                                    "wide residual network for small images",
                                                    {.base = R"({"channels": 2})"});

}  // namespace
}  // namespace sgdscope
