// A network as a list of its layers, each with what it needs; the sizes of their inputs follow from
// the data and the layers before. Every other model is written as such a list (Model::AsLayers).

#include <utility>

#include "config/json.h"
#include "core/error.h"
#include "models/images.h"
#include "models/layer_spec.h"

namespace sgdscope {

std::string ShapeText(const Shape& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

void LayerSpec::Fields(FieldVisitor& visitor) {
  OwnFields(visitor);
  if (!Named()) return;
  visitor.Visit({.name = "label",
                 .help = "name of the layer's parameters, in front of which the labels of the "
                         "layers around it stand; empty: its kind and number, such as linear2"},
                label_);
}

namespace {

std::string Joined(const std::string& outer, const std::string& inner) {
  return outer.empty() ? inner : outer + "." + inner;
}

constexpr const char* kName = "layers";

class Layers : public Model {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.ChooseList(
        {.name = "layers",
         .help = "the layers, from the examples to one output for each class or target",
         .required = true},
        layers_);
    VisitStatisticsMomentum(visitor, statistics_momentum_);
    visitor.Visit({.name = "init", .help = "how the weights start", .allowed = InitNames()}, init_);
  }

  Json Listed(const Shape&, int64_t, const std::string&) override {
    return WriteFields([this](FieldVisitor& visitor) { Fields(visitor); });
  }

  Network Build(const Shape& shape, int64_t classes, const std::string& path) override {
    Construction construction{{}, classes, {}};
    construction.network.init = init_;
    construction.network.statistics_momentum = statistics_momentum_;
    auto sequence = std::make_unique<Sequence>();
    Count count;
    const std::string list = path + ".layers";
    const Shape out = AppendLayers(layers_, shape, {list, "", construction, *sequence}, count);
    if (out != Shape{classes}) {
      throw Error(ErrorKind::kConfig, list,
                  "the last layer's output is " + ShapeText(out) + ", but the data have " +
                      std::to_string(classes) + " classes or targets",
                  "End with {\"name\": \"linear\"}, which has one output for each of them; after "
                  "images with {\"name\": \"global_average_pool\"} or {\"name\": \"flatten\"} "
                  "in front of it.");
    }
    if (construction.network.table.size() == 0) {
      throw Error(ErrorKind::kConfig, list, "no layer has parameters that could be trained",
                  "Add {\"name\": \"linear\"}.");
    }
    construction.network.root = std::move(sequence);
    return std::move(construction.network);
  }

 private:
  LayerList layers_;
  double statistics_momentum_ = 0.1;
  std::string init_ = "torch_default";
};

std::unique_ptr<Layers> Read(const Json& fields, const std::string& path) {
  auto layers = std::make_unique<Layers>();
  ReadFields(fields, path, [&](FieldVisitor& visitor) { layers->Fields(visitor); });
  return layers;
}

const Registration<Model, Layers> kRegistration(
    kName, "a network of your own, as a list of layers (sgdscope list layers)",
    {.base = R"({"layers": [{"name": "flatten"}, {"name": "linear", "units": 4},
                            {"name": "tanh"}, {"name": "linear"}]})",
     .variants = {
         R"({"layers": [{"name": "flatten"}, {"name": "linear", "units": 5}, {"name": "gelu"},
                        {"name": "linear", "units": 4}, {"name": "gelu_tanh"}, {"name": "linear"}]})",
         R"({"layers": [
                      {"name": "conv2d", "channels": 3, "stride": 2, "padding": 2}, {"name": "relu"},
                      {"name": "repeat", "times": 2, "layers": [
                        {"name": "residual",
                         "branch": [{"name": "conv2d", "channels": 4}, {"name": "tanh"}, {"name": "scale"}],
                         "shortcut": [{"name": "conv2d", "channels": 4, "kernel": 1, "bias": false}]}]},
                      {"name": "max_pool", "size": 2, "stride": 1}, {"name": "flatten"}, {"name": "linear"}]})",
         R"({"layers": [{"name": "conv2d", "channels": 3}, {"name": "batch_norm"}, {"name": "identity"},
                                 {"name": "global_average_pool"}, {"name": "linear", "bias": false}]})",
         R"({"layers": [
                      {"name": "conv2d", "channels": 4}, {"name": "batch_norm", "ghost_batch_size": 4}, {"name": "gelu"},
                      {"name": "average_pool"}, {"name": "conv2d", "channels": 3, "kernel": 1},
                      {"name": "batch_norm", "ghost_batch_size": 2}, {"name": "flatten"}, {"name": "linear"}]})",
         R"({"layers": [
                      {"name": "layer_norm"}, {"name": "conv2d", "channels": 6}, {"name": "group_norm", "groups": 2},
                      {"name": "gelu"}, {"name": "average_pool", "size": 3, "stride": 2}, {"name": "flatten"},
                      {"name": "linear", "units": 4}, {"name": "layer_norm"}, {"name": "gelu_tanh"}, {"name": "linear"}]})"}});

}  // namespace

Shape AppendLayers(const LayerList& list, const Shape& in, const Site& around, Count& count) {
  Shape shape = in;
  for (size_t i = 0; i < list.choices().size(); ++i) {
    const Choice<LayerSpec>& choice = *list.choices()[i];
    const std::string& kind = choice.selected();
    const int64_t number = ++count[kind];
    const std::string own =
        choice->label().empty() ? kind + std::to_string(number) : choice->label();
    shape = choice->Append(shape, {around.path + "[" + std::to_string(i) + "]",
                                   Joined(around.name, own), around.construction, around.sequence});
  }
  return shape;
}

Network Model::Build(const Shape& shape, int64_t classes, const std::string& path) {
  Network network = Read(Listed(shape, classes, path), path)->Build(shape, classes, path);
  // The config has one field for all of them.
  for (BatchNormalization& it : network.batch_norms) it.path = path;
  return network;
}

Json Model::AsLayers(const Shape& shape, int64_t classes, const std::string& path) {
  const auto layers = Read(Listed(shape, classes, path), path);
  Json json = {{"name", kName}};
  json.update(WriteFields([&](FieldVisitor& visitor) { layers->Fields(visitor); }));
  return json;
}

}  // namespace sgdscope
