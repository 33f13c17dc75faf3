// The kinds of layers that the model `layers` knows.

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/layer_spec.h"
#include "nn/activation.h"
#include "nn/average_pool2d.h"
#include "nn/batch_norm.h"
#include "nn/conv2d.h"
#include "nn/flatten.h"
#include "nn/group_norm.h"
#include "nn/linear.h"
#include "nn/pool2d.h"
#include "nn/residual.h"
#include "nn/scale.h"

namespace sgdscope {
namespace {

int64_t NumbersOf(const Shape& shape) {
  int64_t numbers = 1;
  for (const int64_t extent : shape) numbers *= extent;
  return numbers;
}

void ExpectFeatures(const std::string& kind, const Shape& in, const Site& site) {
  if (in.size() == 1) return;
  throw Error(ErrorKind::kConfig, site.path,
              kind + " takes a list of numbers, but its input is " + ShapeText(in),
              "Put {\"name\": \"flatten\"} in front of it, or, after convolutions, {\"name\": "
              "\"global_average_pool\"}.");
}

void ExpectImages(const std::string& kind, const Shape& in, const Site& site) {
  if (in.size() == 3) return;
  throw Error(ErrorKind::kConfig, site.path,
              kind + " takes images [channels, height, width], but its input is " + ShapeText(in),
              "Put it in front of flatten, global_average_pool and linear, and use data of images "
              "(for synthetic: \"shape\": [1, 28, 28]).");
}

/// Keeps the names of layers with parameters apart.
void Claim(const Site& site) {
  if (site.construction.names.insert(site.name).second) return;
  throw Error(ErrorKind::kConfig, site.path + ".label",
              "'" + site.name + "' is the name of an earlier layer",
              "Give one of the two another label.");
}

/// How many places of a window of `size` there are along `extent` pixels and `padding` at each end.
int64_t Places(int64_t extent, int64_t size, int64_t stride, int64_t padding, const Site& site) {
  const int64_t padded = extent + 2 * padding;
  if (padded >= size) return (padded - size) / stride + 1;
  throw Error(ErrorKind::kConfig, site.path,
              "a window of " + std::to_string(size) + " pixels does not fit into " +
                  std::to_string(padded) + " (with the padding)",
              "Use larger images, smaller windows, or fewer strides and pools in front of it.");
}

Field Pixels(const std::string& name, const std::string& help) {
  return {.name = name, .help = help, .unit = "pixels", .min = 1, .max = 1e4};
}

class Linear : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    ExpectFeatures("linear", in, site);
    Claim(site);
    const int64_t out = units_.value_or(site.construction.classes);
    site.sequence.Append(MakeLinear(site.construction.network.table, site.name, in[0], out, bias_));
    return {out};
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "units",
                   .help = "outputs; absent: one for each class of the data",
                   .unit = "units",
                   .min = 1,
                   .max = 1e7},
                  units_);
    visitor.Visit({.name = "bias", .help = "whether it has biases"}, bias_);
  }
  bool Named() const override { return true; }

 private:
  std::optional<int64_t> units_;
  bool bias_ = true;
};

class Conv2d : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    ExpectImages("conv2d", in, site);
    Claim(site);
    const int64_t padding = padding_.value_or((kernel_ - 1) / 2);
    const int64_t height = Places(in[1], kernel_, stride_, padding, site);
    const int64_t width = Places(in[2], kernel_, stride_, padding, site);
    site.sequence.Append(MakeConv2d(site.construction.network.table, site.name, in[0], channels_,
                                    kernel_, stride_, padding, bias_));
    return {channels_, height, width};
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "channels",
                   .help = "output channels",
                   .unit = "channels",
                   .required = true,
                   .min = 1,
                   .max = 1e5},
                  channels_);
    visitor.Visit(Pixels("kernel", "height and width of the kernel"), kernel_);
    visitor.Visit(Pixels("stride", "distance of neighbouring windows"), stride_);
    visitor.Visit({.name = "padding",
                   .help = "zeros around the image; absent: (kernel - 1) / 2, rounded down, with "
                           "which an odd kernel and stride 1 keep the image's size",
                   .unit = "pixels",
                   .min = 0,
                   .max = 1e4},
                  padding_);
    visitor.Visit({.name = "bias", .help = "whether it has biases"}, bias_);
  }
  bool Named() const override { return true; }

 private:
  int64_t channels_ = 0;
  int64_t kernel_ = 3;
  int64_t stride_ = 1;
  std::optional<int64_t> padding_;
  bool bias_ = true;
};

class BatchNorm : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    Claim(site);
    Network& network = site.construction.network;
    const int64_t ghost = ghost_batch_size_.value_or(0);
    network.batch_norms.push_back({ghost, NumbersOf(in) == in[0] ? 2 : 1, site.path});
    site.sequence.Append(MakeBatchNorm(network.table, network.statistics, site.name, in[0], ghost));
    return in;
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "ghost_batch_size",
                   .help = "examples that are normalized together; must divide every batch that "
                           "is trained on. Of other batches (a probe's, a penalty's) the last may "
                           "be fewer; absent: the whole batch",
                   .unit = "examples",
                   .paper = "Hoffer et al. 2017",
                   .min = 2,
                   .max = 1e9},
                  ghost_batch_size_);
  }
  bool Named() const override { return true; }

 private:
  std::optional<int64_t> ghost_batch_size_;
};

/// A single number, less the mean of itself alone, would always be 0.
void ExpectSeveral(const std::string& kind, int64_t numbers, const Shape& in, const Site& site) {
  if (numbers > 1) return;
  throw Error(ErrorKind::kConfig, site.path,
              kind + " would normalize single numbers by themselves: its input is " + ShapeText(in),
              "Put it where there are more numbers, choose fewer groups, or leave it out.");
}

class LayerNorm : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    ExpectSeveral("layer_norm", NumbersOf(in), in, site);
    Claim(site);
    site.sequence.Append(MakeLayerNorm(site.construction.network.table, site.name, in));
    return in;
  }

 protected:
  bool Named() const override { return true; }
};

class GroupNorm : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    if (in[0] % groups_ != 0) {
      throw Error(ErrorKind::kConfig, site.path + ".groups",
                  std::to_string(groups_) + " groups don't divide the " + std::to_string(in[0]) +
                      " channels of the input " + ShapeText(in),
                  "Choose a divisor of " + std::to_string(in[0]) + ".");
    }
    ExpectSeveral("group_norm", NumbersOf(in) / groups_, in, site);
    Claim(site);
    site.sequence.Append(MakeGroupNorm(site.construction.network.table, site.name, in[0], groups_));
    return in;
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "groups",
                   .help = "groups of channels that follow one another; must divide the channels",
                   .required = true,
                   .min = 1,
                   .max = 1e5},
                  groups_);
  }
  bool Named() const override { return true; }

 private:
  int64_t groups_ = 1;
};

class Scale : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    Claim(site);
    site.sequence.Append(MakeScale(site.construction.network.table, site.name));
    return in;
  }

 protected:
  bool Named() const override { return true; }
};

class Activation : public LayerSpec {
 public:
  explicit Activation(std::string name) : name_(std::move(name)) {}
  Shape Append(const Shape& in, const Site& site) const override {
    site.sequence.Append(MakeActivation(name_));
    return in;
  }

 private:
  std::string name_;
};

class Relu : public Activation {
 public:
  Relu() : Activation("relu") {}
};

class Tanh : public Activation {
 public:
  Tanh() : Activation("tanh") {}
};

class Gelu : public Activation {
 public:
  Gelu() : Activation("gelu") {}
};

class GeluTanh : public Activation {
 public:
  GeluTanh() : Activation("gelu_tanh") {}
};

class Identity : public Activation {
 public:
  Identity() : Activation("identity") {}
};

/// Windows of images.
class Pool : public LayerSpec {
 public:
  using Make = std::unique_ptr<Layer> (*)(int64_t size, int64_t stride);
  Pool(std::string name, Make make) : name_(std::move(name)), make_(make) {}
  Shape Append(const Shape& in, const Site& site) const override {
    ExpectImages(name_, in, site);
    const int64_t stride = stride_.value_or(size_);
    const int64_t height = Places(in[1], size_, stride, 0, site);
    const int64_t width = Places(in[2], size_, stride, 0, site);
    site.sequence.Append(make_(size_, stride));
    return {in[0], height, width};
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit(Pixels("size", "height and width of the windows"), size_);
    visitor.Visit(Pixels("stride", "distance of neighbouring windows; absent: their size"),
                  stride_);
  }

 private:
  std::string name_;
  Make make_;
  int64_t size_ = 2;
  std::optional<int64_t> stride_;
};

class MaxPool : public Pool {
 public:
  MaxPool() : Pool("max_pool", MakeMaxPool2d) {}
};

class AveragePool : public Pool {
 public:
  AveragePool() : Pool("average_pool", MakeAveragePool2d) {}
};

class GlobalAveragePool : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    ExpectImages("global_average_pool", in, site);
    site.sequence.Append(MakeGlobalAveragePool());
    return {in[0]};
  }
};

class Flatten : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    site.sequence.Append(MakeFlatten());
    return {NumbersOf(in)};
  }
};

class Residual : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    Count count;  // so that branch and shortcut don't share names
    auto branch = std::make_unique<Sequence>();
    const Shape out = AppendLayers(
        branch_, in, {site.path + ".branch", site.name, site.construction, *branch}, count);
    auto shortcut = std::make_unique<Sequence>();
    const Shape skipped = AppendLayers(
        shortcut_, in, {site.path + ".shortcut", site.name, site.construction, *shortcut}, count);
    if (out != skipped) {
      throw Error(ErrorKind::kConfig, site.path,
                  "the branch makes " + ShapeText(out) + " of " + ShapeText(in) +
                      ", but the shortcut " + ShapeText(skipped),
                  "Both are added up: give the branch the shape of its input, or a shortcut that "
                  "does to the shape what the branch does, such as {\"name\": \"conv2d\", "
                  "\"kernel\": 1} with the same channels and strides.");
    }
    if (shortcut_.choices().empty()) shortcut = nullptr;
    site.sequence.Append(MakeResidual(std::move(branch), std::move(shortcut)));
    return out;
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.ChooseList({.name = "branch", .help = "layers that are added to it", .required = true},
                       branch_);
    visitor.ChooseList({.name = "shortcut", .help = "layers of the shortcut; []: the input itself"},
                       shortcut_);
  }
  bool Named() const override { return true; }

 private:
  LayerList branch_;
  LayerList shortcut_;
};

class Repeat : public LayerSpec {
 public:
  Shape Append(const Shape& in, const Site& site) const override {
    Shape shape = in;
    for (int64_t i = 1; i <= times_; ++i) {
      Count count;
      shape = AppendLayers(layers_, shape,
                           {site.path + ".layers", site.name + "." + std::to_string(i),
                            site.construction, site.sequence},
                           count);
    }
    return shape;
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "times", .help = "how many times", .required = true, .min = 1, .max = 1e3},
        times_);
    visitor.ChooseList({.name = "layers",
                        .help = "layers that follow one another so many times, each time with "
                                "parameters of their own",
                        .required = true},
                       layers_);
  }
  bool Named() const override { return true; }

 private:
  int64_t times_ = 1;
  LayerList layers_;
};

const Registration<LayerSpec, Linear> kLinear("linear", "fully connected: W h + b");
const Registration<LayerSpec, Conv2d> kConv2d("conv2d", "convolution of images");
const Registration<LayerSpec, BatchNorm> kBatchNorm(
    "batch_norm", "batch normalization of each channel, or of each number of a list");
const Registration<LayerSpec, LayerNorm> kLayerNorm(
    "layer_norm",
    "normalization of each example by all of its numbers, with a gain and a bias each");
const Registration<LayerSpec, GroupNorm> kGroupNorm(
    "group_norm",
    "normalization of each example by groups of its channels, or of a list's numbers");
const Registration<LayerSpec, Scale> kScale(
    "scale", "one learnable gain that starts at 0, for the end of a residual branch (SkipInit)");
const Registration<LayerSpec, Relu> kRelu("relu", "max(h, 0)");
const Registration<LayerSpec, Tanh> kTanh("tanh", "tanh(h)");
const Registration<LayerSpec, Gelu> kGelu("gelu", "h Phi(h), with the normal distribution Phi");
const Registration<LayerSpec, GeluTanh> kGeluTanh("gelu_tanh", "gelu's approximation by tanh");
const Registration<LayerSpec, Identity> kIdentity("identity", "h");
const Registration<LayerSpec, MaxPool> kMaxPool("max_pool", "the maximum of each window");
const Registration<LayerSpec, AveragePool> kAveragePool("average_pool", "the mean of each window");
const Registration<LayerSpec, GlobalAveragePool> kGlobalAveragePool("global_average_pool",
                                                                    "the mean of each channel");
const Registration<LayerSpec, Flatten> kFlatten("flatten", "an example's numbers as one list");
const Registration<LayerSpec, Residual> kResidual("residual", "shortcut(h) + branch(h)");
const Registration<LayerSpec, Repeat> kRepeat("repeat", "the same layers several times over");

}  // namespace
}  // namespace sgdscope
