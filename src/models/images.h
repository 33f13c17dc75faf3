#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/fields.h"
#include "models/model.h"
#include "nn/sequence.h"

// What the networks for images share.

namespace sgdscope {

/// Throws an Error of kind kConfig at `path` unless `shape` is [channels, height, width] with at
/// least `smallest` pixels of height and width. `model`: its name.
void CheckImages(const std::string& model, const std::vector<int64_t>& shape, int64_t smallest,
                 const std::string& path);

/// Pixels of images of `shape` that are halved so many times, rounded up.
int64_t HalvedPixels(const std::vector<int64_t>& shape, int64_t times);

/// Field `channels`: output channels of a network's first convolution.
void VisitChannels(FieldVisitor& visitor, int64_t& channels);

/// "group1.block2", both counted from 0.
std::string BlockName(int64_t group, int64_t block);

/// A convolution that keeps the image's size but for the stride.
struct Convolution {
  int64_t in;
  int64_t out;
  int64_t kernel;  // odd
  int64_t stride;
};

/// The end of a network for images: flatten, (linear, activation) for each hidden width, linear.
struct FullyConnected {
  std::vector<int64_t> widths;  // inputs, hidden layers, classes
  std::string activation = "relu";
  bool bias = true;
};

/// Its layers are "linear1", "linear2", ...
void AppendFullyConnected(const FullyConnected& end, Network& network, Sequence& sequence);

/// How a network keeps its activations in range: fields `norm`, `ghost_batch_size` and
/// `statistics_momentum`, and the layers that follow from them.
class Normalization {
 public:
  /// `residual`: whether the network is one, which is then without normalization by SkipInit.
  explicit Normalization(bool residual) : residual_(residual) {}

  void Fields(FieldVisitor& visitor);
  /// Throws an Error of kind kConfig where they don't fit together. `path`: of the model.
  void Check(const std::string& path) const;

  /// Tells the network what follows for its batches and its running statistics. `pixels`: of the
  /// smallest images that are normalized.
  void Settle(Network& network, int64_t pixels) const;
  /// A convolution under `name`, with a bias only where there is no normalization.
  void AppendConvolution(const std::string& name, const Convolution& convolution, Network& network,
                         Sequence& sequence) const;
  /// Batch norm under `name`, if there is any.
  void Append(const std::string& name, int64_t channels, Network& network,
              Sequence& sequence) const;
  /// The gain that ends a residual branch under skipinit; else nothing.
  void EndBranch(const std::string& name, Network& network, Sequence& branch) const;

 private:
  /// What `norm` is where there is no normalization.
  std::string Without() const { return residual_ ? "skipinit" : "none"; }

  bool residual_;
  std::string norm_ = "batch";
  std::optional<int64_t> ghost_batch_size_;
  double statistics_momentum_ = 0.1;
};

}  // namespace sgdscope
