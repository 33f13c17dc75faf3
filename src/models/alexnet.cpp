// AlexNet (Krizhevsky, Sutskever and Hinton 2012, in the single-column form with 64, 192, 384, 256
// and 256 channels) for small images, without normalization and dropout. What the image's size
// forces is changed, nothing else: the first convolution is 3 x 3 with stride 2 in place of 11 x 11
// with stride 4, the max pools are 2 x 2 in place of 3 x 3 (both with stride 2). An image of 32 x
// 32 pixels comes out of the last pool as 2 x 2 with 256 channels. theta: layer by layer, weight,
// then bias.

#include "config/registry.h"
#include "models/images.h"

namespace sgdscope {
namespace {

struct Stage {
  int64_t channels;  // for each of the first convolution's 64
  int64_t kernel;
  int64_t stride;
  bool pool;  // whether a max pool follows
};

class AlexNet : public Model {
 public:
  void Fields(FieldVisitor& visitor) override {
    VisitChannels(visitor, channels_);
    visitor.Visit({.name = "init", .help = "how the weights start", .allowed = InitNames()}, init_);
  }

  Json Listed(const std::vector<int64_t>& shape, int64_t, const std::string& path) override {
    constexpr int64_t kStrides = 16;  // of the first convolution and the three pools
    CheckImages(name_, shape, kStrides, path);
    Json layers = Json::array();
    int64_t index = 1;
    // Times 64: 64, 192, 384, 256, 256.
    for (const Stage& c : {Stage{1, 3, 2, true}, Stage{3, 5, 1, true}, Stage{6, 3, 1, false},
                           Stage{4, 3, 1, false}, Stage{4, 3, 1, true}}) {
      layers.push_back({{"name", "conv2d"},
                        {"label", "conv" + std::to_string(index++)},
                        {"channels", c.channels * channels_},
                        {"kernel", c.kernel},
                        {"stride", c.stride}});
      layers.push_back({{"name", "relu"}});
      if (c.pool) layers.push_back({{"name", "max_pool"}});
    }
    std::vector<int64_t> hidden;
    for (const int64_t width : hidden_) hidden.push_back(width * channels_);
    AppendFullyConnected({hidden}, layers);
    return {{"layers", layers}, {"init", init_}};
  }

 protected:
  /// hidden: widths of the fully connected layers before the last, for each of the first
  /// convolution's channels.
  AlexNet(std::string name, std::vector<int64_t> hidden)
      : name_(std::move(name)), hidden_(std::move(hidden)) {}

 private:
  std::string name_;
  std::vector<int64_t> hidden_;
  int64_t channels_ = 64;
  std::string init_ = "torch_default";
};

class FullAlexNet : public AlexNet {
 public:
  FullAlexNet() : AlexNet("alexnet", {64, 64}) {}  // times 64: 4096, 4096
};

class SmallAlexNet : public AlexNet {
 public:
  SmallAlexNet() : AlexNet("alexnet_small", {4}) {}  // times 64: 256
};

const Registration<Model, FullAlexNet> kAlexNet(
    "alexnet", "AlexNet for small images: five convolutions, three fully connected layers",
    {.base = R"({"channels": 2})"});
const Registration<Model, SmallAlexNet> kAlexNetSmall(
    "alexnet_small",
    "AlexNet's five convolutions, then one hidden layer of 256 (inherent_noise, appendix A.1)",
    {.base = R"({"channels": 2})"});

}  // namespace
}  // namespace sgdscope
