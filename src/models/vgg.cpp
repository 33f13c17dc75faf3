// The VGG networks (Simonyan and Zisserman 2015) for small images, with normalization
// (noise_enhancement, section 3): stacks of (3 x 3 convolution with stride 1, norm, relu), each
// stack followed by a 2 x 2 max pool; then flatten, (linear, relu) for each hidden width, linear.
// Only convolutions are normalized.
//   C1  depths 3, 3, 3      channels 64, 128, 256
//   C2  depths 3, 3, 3, 2   channels 64, 128, 256, 512   hidden 1024
// theta: layer by layer, weight, then bias; of a norm gamma, then beta.

#include <algorithm>

#include "config/registry.h"
#include "core/error.h"
#include "models/images.h"

namespace sgdscope {
namespace {

class Vgg final : public Model {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "depths",
                   .help = "convolutions of each stack",
                   .paper = "noise_enhancement section 3",
                   .required = true,
                   .min = 1,
                   .max = 1e3},
                  depths_);
    visitor.Visit({.name = "channels",
                   .help = "output channels of each stack's convolutions",
                   .unit = "channels",
                   .paper = "noise_enhancement section 3",
                   .required = true,
                   .min = 1,
                   .max = 1e5},
                  channels_);
    visitor.Visit({.name = "hidden",
                   .help = "width of each fully connected layer before the last",
                   .unit = "units",
                   .min = 1,
                   .max = 1e7},
                  hidden_);
    norm_.Fields(visitor);
    visitor.Visit({.name = "init", .help = "how the weights start", .allowed = InitNames()}, init_);
  }

  void Check(const std::string& path) const override {
    norm_.Check(path);
    if (depths_.size() == channels_.size() && !depths_.empty()) return;
    throw Error(ErrorKind::kConfig, path + ".depths",
                "found " + std::to_string(depths_.size()) + " depths and " +
                    std::to_string(channels_.size()) + " numbers of channels",
                "Give one of each for every stack, and at least one stack: \"depths\": [3, 3], "
                "\"channels\": [64, 128].");
  }

  Json Listed(const std::vector<int64_t>& shape, int64_t, const std::string& path) override {
    constexpr size_t kMostStacks = 30;  // far more than any image has room for
    CheckImages("vgg", shape, int64_t{1} << std::min(depths_.size(), kMostStacks), path);
    Json layers = Json::array();
    for (size_t stack = 0; stack < depths_.size(); ++stack) {
      for (int64_t layer = 0; layer < depths_[stack]; ++layer) {
        const std::string label =
            "stack" + std::to_string(stack + 1) + ".conv" + std::to_string(layer + 1);
        norm_.AppendConvolution(label, {channels_[stack], 3, 1}, layers);
        norm_.Append(label + ".norm", layers);
        layers.push_back({{"name", "relu"}});
      }
      layers.push_back({{"name", "max_pool"}});
    }
    AppendFullyConnected({hidden_}, layers);
    return norm_.AsModel(layers, init_);
  }

 private:
  std::vector<int64_t> depths_;
  std::vector<int64_t> channels_;
  std::vector<int64_t> hidden_;
  Normalization norm_{/*residual=*/false};
  std::string init_ = "xavier_uniform";
};

const Registration<Model, Vgg> kRegistration(
    "vgg", "stacks of 3 x 3 convolutions with a max pool after each, then fully connected layers");

}  // namespace
}  // namespace sgdscope
