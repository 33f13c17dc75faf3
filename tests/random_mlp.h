#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/json.h"
#include "config/registry.h"
#include "core/rng.h"
#include "data/normalize.h"
#include "gradients/oracle.h"
#include "models/model.h"
#include "tests/oracles.h"
#include "tests/tensors.h"

// Small random networks with data, and the program's oracle over them.

namespace sgdscope {

struct RandomMlp {
  oracle::Mlp mlp;
  oracle::Vector theta;
  std::vector<oracle::Example> examples;

  std::string Text() const {
    std::string text =
        mlp.loss + ", " + mlp.activation + (mlp.bias ? "" : ", no bias") + ", widths";
    for (const size_t width : mlp.widths) text.append(" ").append(std::to_string(width));
    return text.append(", n ").append(std::to_string(examples.size()));
  }
  /// n plus the widths: the length of all sums that one number of a gradient goes through, forward
  /// or backward. An inner product of length k is off by at most k eps times the sum of its
  /// absolute terms.
  double Sums() const {
    size_t sums = examples.size();
    for (const size_t width : mlp.widths) sums += width;
    return static_cast<double>(sums);
  }
};

/// Every combination of activation, loss, bias and 0 to 3 hidden layers comes once in
/// kCombinations.
constexpr uint64_t kCombinations = 3 * 2 * 2 * 4;

/// The `index`-th network. No hidden unit is within 1e-3 of relu's kink, where derivatives jump.
/// Every fifth batch has one example.
inline RandomMlp MakeRandomMlp(uint64_t index) {
  Stream stream(20, "random mlp", index);
  const auto between = [&stream](uint64_t least, uint64_t most) {
    return static_cast<size_t>(least + stream.Below(most - least + 1));
  };
  RandomMlp made;
  made.mlp.activation = std::vector<std::string>{"relu", "tanh", "identity"}[index % 3];
  made.mlp.loss = index / 3 % 2 == 0 ? "cross_entropy" : "mean_squared_error";
  made.mlp.bias = index / 6 % 2 == 0;
  made.mlp.widths.push_back(between(1, 7));
  for (uint64_t l = 0; l < index / 12 % 4; ++l) made.mlp.widths.push_back(between(1, 8));
  made.mlp.widths.push_back(between(2, 6));
  const size_t n = index % 5 == 0 ? 1 : between(2, 7);
  do {
    made.theta = RandomVector(stream, made.mlp.size());
    made.examples.clear();
    for (size_t i = 0; i < n; ++i) {
      made.examples.push_back(
          {RandomVector(stream, made.mlp.widths.front()), between(0, made.mlp.widths.back() - 1)});
    }
  } while (oracle::KinkDistance(made.mlp, made.theta, made.examples) < 1e-3);
  return made;
}

/// The program's network for an oracle::Mlp.
inline Network MakeNetwork(const oracle::Mlp& mlp, const std::string& init = "torch_default") {
  const auto model = Registry<Model>::entries().at("mlp").make();
  Json fields = {{"hidden", Json::array()},
                 {"activation", mlp.activation},
                 {"bias", mlp.bias},
                 {"init", init}};
  for (size_t l = 1; l + 1 < mlp.widths.size(); ++l) fields["hidden"].push_back(mlp.widths[l]);
  ReadFields(fields, "model", [&](FieldVisitor& visitor) { model->Fields(visitor); });
  return model->Build({static_cast<int64_t>(mlp.widths.front())},
                      static_cast<int64_t>(mlp.widths.back()), "model");
}

inline Split MakeSplit(const std::vector<oracle::Example>& examples) {
  const auto n = static_cast<int64_t>(examples.size());
  oracle::Vector inputs;
  Split split{{}, at::empty({n}, at::kLong)};
  for (size_t i = 0; i < examples.size(); ++i) {
    inputs.insert(inputs.end(), examples[i].x.begin(), examples[i].x.end());
    split.labels.data_ptr<int64_t>()[i] = static_cast<int64_t>(examples[i].label);
  }
  split.inputs = ToTensor(inputs, {n, static_cast<int64_t>(examples[0].x.size())});
  return split;
}

/// A RandomMlp as tensors: the oracle under test, theta, and the batch of all examples.
class OracleUnderTest {
 public:
  /// `corrupt` [N] bool: under label noise.
  OracleUnderTest(const RandomMlp& random, at::ScalarType dtype, const at::Tensor& corrupt = {})
      : OracleUnderTest(MakeNetwork(random.mlp), random, dtype, corrupt) {}

  /// With another network of as many parameters.
  OracleUnderTest(Network network, const RandomMlp& random, at::ScalarType dtype,
                  const at::Tensor& corrupt = {})
      : network_(std::move(network)),
        loss_(Registry<Loss>::entries().at(random.mlp.loss).make()),
        split_(MakeSplit(random.examples)),
        normalizer_("none", split_, dtype),
        oracle(network_, *loss_, split_, normalizer_),
        theta(ToTensor(random.theta, {network_.table.size()}, dtype)),
        batch(oracle.Load(at::arange(split_.size(), at::kLong))) {
    split_.corrupt = corrupt;
  }

  const Network& network() const { return network_; }
  const Loss& loss() const { return *loss_; }

 private:
  Network network_;
  std::unique_ptr<Loss> loss_;
  Split split_;
  Normalizer normalizer_;

 public:
  const Oracle oracle;
  const at::Tensor theta;
  const Batch batch;
};

}  // namespace sgdscope
