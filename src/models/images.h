#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/json.h"
#include "models/model.h"

// What the networks for images share.

namespace sgdscope {

/// Throws an Error of kind kConfig at `path` unless `shape` is [channels, height, width] with at
/// least `smallest` pixels of height and width. `model`: its name.
void CheckImages(const std::string& model, const std::vector<int64_t>& shape, int64_t smallest,
                 const std::string& path);

/// Field `channels`: output channels of a network's first convolution.
void VisitChannels(FieldVisitor& visitor, int64_t& channels);

/// "group1.block2", both counted from 0.
std::string BlockName(int64_t group, int64_t block);

/// A convolution that keeps the image's size but for the stride.
struct Convolution {
  int64_t channels;  // of its output
  int64_t kernel;    // odd
  int64_t stride;
};

/// The end of a network for images.
struct FullyConnected {
  std::vector<int64_t> hidden;
  std::string activation = "relu";
  bool bias = true;
};

/// Appends flatten, (linear, activation) for each hidden width, linear to a list of layers.
void AppendFullyConnected(const FullyConnected& end, Json& layers);
/// Appends the mean of each channel, and a fully connected layer.
void AppendClasses(Json& layers);

/// Field `statistics_momentum`.
void VisitStatisticsMomentum(FieldVisitor& visitor, double& momentum);

/// How a network keeps its activations in range: fields `norm`, `ghost_batch_size` and
/// `statistics_momentum`, and the layers that follow from them.
class Normalization {
 public:
  /// `residual`: whether the network is one, which is then without normalization by SkipInit.
  explicit Normalization(bool residual) : residual_(residual) {}

  void Fields(FieldVisitor& visitor);
  /// Throws an Error of kind kConfig where they don't fit together. `path`: of the model.
  void Check(const std::string& path) const;

  /// The fields of a model `layers` with this normalization.
  Json AsModel(const Json& layers, const std::string& init) const;
  /// Appends a convolution, with a bias only where there is no normalization.
  void AppendConvolution(const std::string& label, const Convolution& convolution,
                         Json& layers) const;
  /// Appends batch norm, if there is any.
  void Append(const std::string& label, Json& layers) const;
  /// Appends the gain that ends a residual branch under skipinit; else nothing.
  void EndBranch(Json& branch) const;

 private:
  /// What `norm` is where there is no normalization.
  std::string Without() const { return residual_ ? "skipinit" : "none"; }

  bool residual_;
  std::string norm_ = "batch";
  std::optional<int64_t> ghost_batch_size_;
  double statistics_momentum_ = 0.1;
};

}  // namespace sgdscope
