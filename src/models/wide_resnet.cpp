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

  Json Listed(const std::vector<int64_t>& shape, int64_t, const std::string& path) override {
    CheckImages("wide_resnet", shape, int64_t{1} << (kGroups - 1), path);
    Json layers = Json::array();
    norm_.AppendConvolution("conv", {channels_, 3, 1}, layers);
    int64_t in = channels_;
    for (int64_t group = 0; group < kGroups; ++group) {
      const int64_t out = channels_ * width_ << group;
      for (int64_t block = 0; block < (depth_ - 4) / (2 * kGroups); ++block) {
        const int64_t stride = group > 0 && block == 0 ? 2 : 1;
        AppendBlock(BlockName(group, block), in != out, {out, 3, stride}, layers);
        in = out;
      }
    }
    AppendActivation("norm", layers);
    AppendClasses(layers);
    return norm_.AsModel(layers, init_);
  }

 private:
  void AppendActivation(const std::string& label, Json& layers) const {
    norm_.Append(label, layers);
    layers.push_back({{"name", "relu"}});
  }

  /// `widens`: whether the block's output has another number of channels than its input.
  void AppendBlock(const std::string& label, bool widens, const Convolution& first,
                   Json& layers) const {
    const bool changes = widens || first.stride != 1;
    Json branch = Json::array();
    // Where the shape changes, branch and shortcut share the activation in front of them.
    if (changes) {
      AppendActivation(label + ".norm1", layers);
    } else {
      AppendActivation("norm1", branch);
    }
    norm_.AppendConvolution("conv1", first, branch);
    AppendActivation("norm2", branch);
    norm_.AppendConvolution("conv2", {first.channels, 3, 1}, branch);
    norm_.EndBranch(branch);
    Json shortcut = Json::array();
    if (changes) {
      norm_.AppendConvolution("shortcut", {first.channels, 1, first.stride}, shortcut);
    }
    layers.push_back(
        {{"name", "residual"}, {"label", label}, {"branch", branch}, {"shortcut", shortcut}});
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
