// Multilayer perceptron: flatten, then (linear, activation) for each hidden width, then linear.
// theta: layer by layer, weight [out, in] row-major, then bias [out].

#include "config/registry.h"
#include "models/model.h"
#include "nn/activation.h"

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

  Json Listed(const std::vector<int64_t>&, int64_t, const std::string&) override {
    Json layers = Json::array({{{"name", "flatten"}}});
    for (const int64_t hidden : hidden_) {
      layers.push_back({{"name", "linear"}, {"units", hidden}, {"bias", bias_}});
      layers.push_back({{"name", activation_}});
    }
    layers.push_back({{"name", "linear"}, {"bias", bias_}});
    return {{"layers", layers}, {"init", init_}};
  }

 private:
  std::vector<int64_t> hidden_;
  std::string activation_ = "relu";
  bool bias_ = true;
  std::string init_ = "torch_default";
};

const Registration<Model, Mlp> kRegistration(
    "mlp", "fully connected network: any widths; ReLU, tanh, GELU or identity");

}  // namespace
}  // namespace sgdscope
