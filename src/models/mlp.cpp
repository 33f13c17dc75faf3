// Multilayer perceptron: flatten, then (linear, activation) for each hidden width, then linear.
// theta: layer by layer, weight [out, in] row-major, then bias [out].

#include "config/registry.h"
#include "models/model.h"
#include "nn/activation.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/sequence.h"

namespace sgdscope {
namespace {

class Mlp : public Model {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "hidden",
                   .help = "width of each hidden layer; [] is a linear model",
                   .unit = "units",
                   .required = true,
                   .min = 1,
                   .max = 1e7},
                  hidden_);
    visitor.Visit({.name = "activation",
                   .help = "nonlinearity after each hidden layer",
                   .allowed = ActivationNames()},
                  activation_);
    visitor.Visit({.name = "bias", .help = "whether the layers have biases"}, bias_);
    visitor.Visit({.name = "init", .help = "how the weights start", .allowed = InitNames()}, init_);
  }

  Network Build(const std::vector<int64_t>& shape, int64_t classes,
                const std::string&) const override {
    Network network;
    network.init = init_;
    int64_t width = 1;
    for (const int64_t extent : shape) width *= extent;
    auto sequence = std::make_unique<Sequence>();
    sequence->Append(MakeFlatten());
    int64_t index = 1;
    for (const int64_t hidden : hidden_) {
      sequence->Append(MakeLinear(network.table, Name(index++), width, hidden, bias_));
      sequence->Append(MakeActivation(activation_));
      width = hidden;
    }
    sequence->Append(MakeLinear(network.table, Name(index), width, classes, bias_));
    network.root = std::move(sequence);
    return network;
  }

 private:
  static std::string Name(int64_t index) { return "linear" + std::to_string(index); }

  std::vector<int64_t> hidden_;
  std::string activation_ = "relu";
  bool bias_ = true;
  std::string init_ = "torch_default";
};

const Registration<Model, Mlp> kRegistration(
    "mlp", "fully connected network: any widths; ReLU, tanh or identity");

}  // namespace
}  // namespace sgdscope
