// Convolutional network for images: (convolution, activation, max pool) for each number of
// channels, flatten, then (linear, activation) for each hidden width, then linear. Convolutions
// keep the image's size; pooling divides it, rounded down. theta: layer by layer, weight [out, in,
// kernel, kernel] or [out, in] row-major, then bias [out].

#include <algorithm>

#include "config/registry.h"
#include "core/error.h"
#include "models/images.h"
#include "nn/activation.h"

namespace sgdscope {
namespace {

class ConvNet : public Model {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "channels",
                   .help = "output channels of each convolution",
                   .unit = "channels",
                   .required = true,
                   .min = 1,
                   .max = 1e5},
                  channels_);
    visitor.Visit({.name = "kernel",
                   .help = "height and width of the convolutions' kernels: an odd number",
                   .unit = "pixels",
                   .min = 1,
                   .max = 99},
                  kernel_);
    visitor.Visit({.name = "pool",
                   .help = "height, width and stride of the max pool after each convolution; 1: "
                           "no pooling",
                   .unit = "pixels",
                   .min = 1,
                   .max = 1e4},
                  pool_);
    visitor.Visit({.name = "hidden",
                   .help = "width of each fully connected layer before the last",
                   .unit = "units",
                   .min = 1,
                   .max = 1e7},
                  hidden_);
    visitor.Visit({.name = "activation",
                   .help = "nonlinearity after each convolution and each hidden layer",
                   .allowed = ActivationNames()},
                  activation_);
    visitor.Visit({.name = "bias", .help = "whether the layers have biases"}, bias_);
    visitor.Visit({.name = "init", .help = "how the weights start", .allowed = InitNames()}, init_);
  }

  void Check(const std::string& path) const override {
    if (kernel_ % 2 == 1) return;
    throw Error(ErrorKind::kConfig, path + ".kernel",
                "found " + std::to_string(kernel_) + ", expected an odd number",
                "Only odd kernels keep the image's size with the same padding on all sides.");
  }

  Json Listed(const std::vector<int64_t>& shape, int64_t, const std::string& path) override {
    CheckShape(shape, path);
    Json layers = Json::array();
    for (size_t i = 0; i < channels_.size(); ++i) {
      layers.push_back({{"name", "conv2d"},
                        {"label", "conv" + std::to_string(i + 1)},
                        {"channels", channels_[i]},
                        {"kernel", kernel_},
                        {"bias", bias_}});
      layers.push_back({{"name", activation_}});
      if (pool_ > 1) layers.push_back({{"name", "max_pool"}, {"size", pool_}});
    }
    AppendFullyConnected({hidden_, activation_, bias_}, layers);
    return {{"layers", layers}, {"init", init_}};
  }

 private:
  void CheckShape(const std::vector<int64_t>& shape, const std::string& path) const {
    CheckImages("convnet", shape, 1, path);
    int64_t smaller = std::min(shape[1], shape[2]);
    for (size_t i = 0; i < channels_.size(); ++i) {
      if (smaller < pool_) {
        throw Error(ErrorKind::kConfig, path + ".pool",
                    "found " + std::to_string(pool_) + ", but after " + std::to_string(i) +
                        " poolings the image is only " + std::to_string(smaller) +
                        " pixels high or wide",
                    "Pool less, give fewer channels (there is a pooling after each convolution), "
                    "or use \"pool\": 1.");
      }
      smaller /= pool_;
    }
  }

  std::vector<int64_t> channels_;
  int64_t kernel_ = 3;
  int64_t pool_ = 2;
  std::vector<int64_t> hidden_;
  std::string activation_ = "relu";
  bool bias_ = true;
  std::string init_ = "torch_default";
};

const Registration<Model, ConvNet> kRegistration(
    "convnet", "convolutions with max pooling, then fully connected layers; for images");

}  // namespace
}  // namespace sgdscope
