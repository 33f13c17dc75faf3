#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/json.h"
#include "core/torch.h"
#include "nn/layer.h"
#include "nn/parameter_table.h"

namespace sgdscope {

/// How a layer of batch normalization takes the batches.
struct BatchNormalization {
  int64_t ghost_batch_size;  // examples that are normalized together; 0: the whole batch
  int64_t fewest;            // that can be: 2 where a channel has a single value an example
  std::string path;          // of the object in the config that has its ghost_batch_size
};

/// A built model: its layers and the layout of theta.
struct Network {
  std::unique_ptr<Layer> root;  // [n, ...shape] to logits [n, classes]
  ParameterTable table;
  std::string init;  // one of InitNames()
  /// Layout of what batch normalization keeps for evaluation, running means and variances; empty
  /// where there is none.
  ParameterTable statistics;
  double statistics_momentum = 0;               // the weight of a new batch in them
  std::vector<BatchNormalization> batch_norms;  // of all such layers

  /// Whether an example's logits depend on the others of its batch, so that gradients of single
  /// examples are undefined.
  bool MixesExamples() const { return statistics.size() > 0; }

  /// Throws an Error of kind kConfig at a field of the model where it cannot be trained on batches of
  /// batch_size examples, or on the last one of an epoch, of last_size.
  void CheckTrainedBatches(int64_t batch_size, int64_t last_size) const;

  /// Throws an Error of kind kConfig at `path` where batches can't be evaluated in pieces of `size`
  /// examples: what is normalized together can't be cut.
  void CheckPieces(int64_t size, const std::string& path) const;

  /// Throws an Error of kind kConfig where it cannot normalize a batch of `size` examples by the
  /// batch's own statistics. `path`: what makes such batches; hint: how to make others there.
  void CheckNormalizes(int64_t size, const std::string& path, const std::string& hint) const;
};

/// A family of networks; leaves register by the name in the config.
class Model : public Configurable {
 public:
  /// Builds the network for examples of `shape` and `classes` outputs. Error kConfig at `path` where
  /// the fields don't fit them.
  virtual Network Build(const std::vector<int64_t>& shape, int64_t classes,
                        const std::string& path);
  /// The same network as a model `layers`, every default written out; with the same errors.
  Json AsLayers(const std::vector<int64_t>& shape, int64_t classes, const std::string& path);

 protected:
  /// The fields of that model, of which defaults may be left out.
  virtual Json Listed(const std::vector<int64_t>& shape, int64_t classes,
                      const std::string& path) = 0;
};

/// How weights start; biases start at 0 except for torch_default. Parameters with a `start` of
/// their own start there.
///   xavier_uniform  uniform within +-sqrt(6 / (fan_in + fan_out))
///   xavier_normal   normal, variance 2 / (fan_in + fan_out)
///   he_normal       normal, variance 2 / fan_in
///   lecun_normal    normal, variance 1 / fan_in
///   torch_default   uniform within +-1/sqrt(fan_in), weights and biases
std::vector<std::string> InitNames();

/// theta [p] at step 0, on the CPU: each parameter is drawn from its own Stream(seed, "init", k),
/// in double, then rounded to `dtype`; so it does not depend on the device.
at::Tensor InitialTheta(const Network& network, uint64_t seed, at::ScalarType dtype);

/// The running statistics at step 0 (Network::statistics), on the CPU.
at::Tensor InitialStatistics(const Network& network, at::ScalarType dtype);

}  // namespace sgdscope
