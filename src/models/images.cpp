#include "models/images.h"

#include <algorithm>

#include "core/error.h"

namespace sgdscope {
namespace {

constexpr const char* kBatch = "batch";
constexpr const char* kGhost = "ghost";

}  // namespace

void CheckImages(const std::string& model, const std::vector<int64_t>& shape, int64_t smallest,
                 const std::string& path) {
  if (shape.size() != 3) {
    throw Error(ErrorKind::kConfig, path,
                model + " needs images [channels, height, width], but the data's examples have " +
                    std::to_string(shape.size()) + " dimensions",
                "Use the model mlp, or data of images (for synthetic: \"shape\": [1, 28, 28]).");
  }
  if (std::min(shape[1], shape[2]) >= smallest) return;
  throw Error(ErrorKind::kConfig, path,
              "the data's images are " + std::to_string(shape[1]) + " x " +
                  std::to_string(shape[2]) + " pixels, but " + model + " divides both by " +
                  std::to_string(smallest),
              "Use larger images, or a network with fewer strides (convnet with \"pool\": 1).");
}

void VisitChannels(FieldVisitor& visitor, int64_t& channels) {
  visitor.Visit({.name = "channels",
                 .help = "output channels of the first convolution; all other widths are in "
                         "proportion",
                 .unit = "channels",
                 .min = 1,
                 .max = 1e4},
                channels);
}

std::string BlockName(int64_t group, int64_t block) {
  return "group" + std::to_string(group + 1) + ".block" + std::to_string(block + 1);
}

void AppendFullyConnected(const FullyConnected& end, Json& layers) {
  layers.push_back({{"name", "flatten"}});
  for (const int64_t units : end.hidden) {
    layers.push_back({{"name", "linear"}, {"units", units}, {"bias", end.bias}});
    layers.push_back({{"name", end.activation}});
  }
  layers.push_back({{"name", "linear"}, {"bias", end.bias}});
}

void AppendClasses(Json& layers) {
  layers.push_back({{"name", "global_average_pool"}});
  layers.push_back({{"name", "linear"}, {"label", "linear"}});
}

void VisitStatisticsMomentum(FieldVisitor& visitor, double& momentum) {
  visitor.Visit({.name = "statistics_momentum",
                 .help = "weight of a batch in the running mean and variance, which only "
                         "evaluations use: they move once a step, or once for each ghost batch of "
                         "it, by what is seen at the weights before the step (also where the "
                         "update moves several times on the batch)",
                 .min = 0,
                 .max = 1,
                 .above_min = true},
                momentum);
}

void Normalization::Fields(FieldVisitor& visitor) {
  visitor.Visit(
      {.name = "norm",
       .help = std::string("batch: batch normalization; ghost: the same of ghost_batch_size "
                           "examples at a time; ")
                   .append(residual_ ? "skipinit: none, but a gain that starts at 0 at the end of "
                                       "each residual branch, and biases"
                                     : "none: biases in its place"),
       .paper = std::string(residual_ ? "De and Smith 2020 for skipinit, " : "")
                    .append("Hoffer et al. 2017 for ghost"),
       .allowed = {kBatch, kGhost, Without()}},
      norm_);
  visitor.Visit({.name = "ghost_batch_size",
                 .help = "for norm ghost: examples that are normalized together; must divide every "
                         "batch that is trained on. Of other batches (a probe's, a penalty's) the "
                         "last may be fewer",
                 .unit = "examples",
                 .min = 2,
                 .max = 1e9},
                ghost_batch_size_);
  VisitStatisticsMomentum(visitor, statistics_momentum_);
}

void Normalization::Check(const std::string& path) const {
  if ((norm_ == kGhost) == ghost_batch_size_.has_value()) return;
  throw Error(ErrorKind::kConfig, path + ".ghost_batch_size",
              norm_ == kGhost ? "missing, and \"norm\" is \"ghost\""
                              : "given, but \"norm\" is \"" + norm_ + "\"",
              "It is the number of examples that \"norm\": \"ghost\" normalizes together.");
}

Json Normalization::AsModel(const Json& layers, const std::string& init) const {
  return {{"layers", layers}, {"statistics_momentum", statistics_momentum_}, {"init", init}};
}

void Normalization::AppendConvolution(const std::string& label, const Convolution& c,
                                      Json& layers) const {
  layers.push_back({{"name", "conv2d"},
                    {"label", label},
                    {"channels", c.channels},
                    {"kernel", c.kernel},
                    {"stride", c.stride},
                    {"bias", norm_ == Without()}});
}

void Normalization::Append(const std::string& label, Json& layers) const {
  if (norm_ == Without()) return;
  layers.push_back({{"name", "batch_norm"}, {"label", label}});
  if (ghost_batch_size_) layers.back()["ghost_batch_size"] = *ghost_batch_size_;
}

void Normalization::EndBranch(Json& branch) const {
  if (norm_ == Without()) branch.push_back({{"name", "scale"}});
}

}  // namespace sgdscope
