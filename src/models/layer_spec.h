#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "config/fields.h"
#include "config/registry.h"
#include "models/model.h"
#include "nn/sequence.h"

namespace sgdscope {

/// The numbers of an example between two layers: [features] or [channels, height, width], or the
/// shape of the data's examples.
using Shape = std::vector<int64_t>;

/// "[1, 28, 28]".
std::string ShapeText(const Shape& shape);

/// The network that a list of layers is being built into.
struct Construction {
  Network network;
  int64_t classes;              // outputs of the network
  std::set<std::string> names;  // of all layers with parameters
};

/// How many layers of each kind a list has had, for those that are named by kind and number.
using Count = std::map<std::string, int64_t>;

/// Where a layer of a list is built.
struct Site {
  std::string path;  // of the layer in the config
  std::string name;  // of its parameters
  Construction& construction;
  Sequence& sequence;  // to which it is appended
};

/// A kind of layer in the list of the model `layers`; leaves register by their name in the config.
class LayerSpec : public Configurable {
 public:
  void Fields(FieldVisitor& visitor) final;
  /// The name of the layer's parameters, under that of the layers around it; empty: kind and number.
  const std::string& label() const { return label_; }

  /// Appends the layer, for examples of shape `in`, and returns the shape of its output. Error
  /// kConfig at site.path where it doesn't take them.
  virtual Shape Append(const Shape& in, const Site& site) const = 0;

 protected:
  virtual void OwnFields(FieldVisitor& visitor) { (void)visitor; }
  /// Whether the layer, or one that it is made of, may have parameters, and so a label.
  virtual bool Named() const { return false; }

 private:
  std::string label_;
};

using LayerList = ChoiceList<LayerSpec>;

/// Appends the layers of a list to `around.sequence`, one after another, and returns the shape of
/// the last one's output. `around`: where the list stands, with the name of the layers around it;
/// `count`: of the layers that were there before under that name.
Shape AppendLayers(const LayerList& list, const Shape& in, const Site& around, Count& count);

}  // namespace sgdscope
