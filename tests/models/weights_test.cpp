#include "models/weights.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/rng.h"
#include "core/tensor_file.h"
#include "tests/example_fields.h"
#include "tests/expect_error.h"
#include "tests/temp_folder.h"
#include "tests/tensors.h"

// Names of weights in files; tests/state_dict_test.py has logits beside PyTorch's.

namespace sgdscope {
namespace {

const std::vector<int64_t> kShape = {3, 32, 32};

Network Build(const std::string& model, const Json& fields) {
  return MakeExample<Model>(model, fields)->Build(kShape, 10, "model");
}

/// Random numbers under the names that the network's own have, changed by `rename`.
template <class Rename>
std::map<std::string, at::Tensor> Named(const Network& network, const at::Tensor& theta,
                                        const at::Tensor& statistics, const Rename& rename) {
  std::map<std::string, at::Tensor> tensors;
  const auto add = [&](const ParameterTable& table, const at::Tensor& numbers) {
    for (const Parameter& parameter : table.parameters()) {
      tensors[rename(parameter.name)] =
          numbers.narrow(0, parameter.offset, parameter.size).view(parameter.shape);
    }
  };
  add(network.table, theta);
  add(network.statistics, statistics);
  return tensors;
}

class WeightsTest : public testing::Test {
 protected:
  Weights Read(const std::map<std::string, at::Tensor>& tensors, const Network& network,
               const std::map<std::string, std::string>& metadata = {}) {
    WriteTensorFile(file_, {tensors, metadata});
    return ReadWeights(file_, network, "init.from");
  }
  void ExpectRefused(const std::map<std::string, at::Tensor>& tensors, const Network& network,
                     const std::vector<std::string>& parts,
                     const std::map<std::string, std::string>& metadata = {}) {
    ExpectError(ErrorKind::kConfig, parts, [&] { Read(tensors, network, metadata); });
  }

  TempFolder folder_;
  std::string file_ = (folder_ / "weights.safetensors").string();
};

TEST_F(WeightsTest, OfEveryModelAreReadByItsOwnNames) {
  Stream stream(1, "weights");
  for (const LeafCase& leaf : AllLeaves<Model>()) {
    const Network network = Build(leaf.name, leaf.fields);
    const at::Tensor theta = RandomTensor(stream, {network.table.size()});
    const at::Tensor statistics = RandomTensor(stream, {network.statistics.size()});
    const Weights weights = Read(
        Named(network, theta, statistics, [](const std::string& name) { return name; }), network);
    EXPECT_TRUE(SameBits(weights.theta, theta)) << leaf.Text();
    EXPECT_TRUE(SameBits(weights.statistics, statistics)) << leaf.Text();
  }
}

TEST_F(WeightsTest, OfACheckpointOrSnapshotAreTheta) {
  const Network network = Build("resnet18", {{"channels", 2}});
  Stream stream(2, "weights");
  const at::Tensor theta = RandomTensor(stream, {network.table.size()}, at::kFloat);
  const at::Tensor running = RandomTensor(stream, {network.statistics.size()}, at::kFloat);
  const std::map<std::string, std::string> layout = {{kLayout, LayoutOf(network.table)}};
  Weights weights =
      Read({{"theta", theta}, {"running", running}, {"update.mean", theta}}, network, layout);
  EXPECT_TRUE(SameBits(weights.theta, theta));
  EXPECT_TRUE(SameBits(weights.statistics, running));
  weights = Read({{"theta", theta}, {"g", theta}}, network);  // of an earlier version
  EXPECT_TRUE(SameBits(weights.theta, theta));
  EXPECT_FALSE(weights.statistics.defined());
}

TEST_F(WeightsTest, OfAnotherNetworkAreRefused) {
  const Network network = Build("mlp", {{"hidden", {4}}});
  const at::Tensor theta = at::zeros({network.table.size()});
  ExpectRefused({{"theta", at::zeros({7})}}, network,
                {"init.from", file_, "theta has 7 parameters", "12342"});
  ExpectRefused({{"theta", theta}}, network,
                {"init.from", file_, "linear2.bias [10] there", "linear2.weight [10, 4] here"},
                {{kLayout, "linear1.weight [4, 3072]; linear1.bias [4]; linear2.bias [10]"}});
  ExpectRefused({{"theta", theta}}, network, {"nothing more there", "linear1.bias [4] here"},
                {{kLayout, "linear1.weight [4, 3072]"}});
}

TEST_F(WeightsTest, MissingSurplusAndMisshapenTensorsAreNamed) {
  const Network network = Build("mlp", {{"hidden", {4, 5}}});
  const auto in_sequential = [&](const auto& change) {
    auto tensors = Named(
        network, at::zeros({network.table.size()}), at::zeros({0}), [](const std::string& name) {
          const std::map<char, std::string> numbers = {{'1', "1"}, {'2', "3"}, {'3', "10"}};
          return numbers.at(name[6]) + name.substr(7);
        });
    change(tensors);
    return tensors;
  };
  EXPECT_EQ(Read(in_sequential([](auto&) {}), network).theta.numel(), network.table.size());
  ExpectRefused(
      in_sequential([](auto& tensors) {
        tensors.erase("3.bias");
        tensors["3.scale"] = at::zeros({1});
        tensors["10.weight"] = at::zeros({10, 6});
        tensors["1.bias"] = at::zeros({4}, at::kLong);
      }),
      network,
      {"init.from", file_, "by the names of nn.Sequential", "missing: 3.bias", "surplus: 3.scale",
       "10.weight is [10, 6], must be [10, 5]", "1.bias holds whole numbers", "sgdscope describe"});
  // A layer too few leaves ours without a number.
  ExpectRefused(in_sequential([](auto& tensors) {
                  tensors.erase("10.weight");
                  tensors.erase("10.bias");
                }),
                network, {"missing: linear3.bias, linear3.weight"});
  ExpectRefused({{"a", at::zeros({1})}}, network,
                {"by the names of this program; missing: linear1.bias", "surplus: a"});
  ExpectError(ErrorKind::kConfig, {"init.from", "there is no file nowhere", "save_file"},
              [&] { ReadWeights("nowhere", network, "init.from"); });
}

TEST_F(WeightsTest, TorchvisionsNamesAreThoseOfItsResNets) {
  for (const std::string model : {"resnet18", "wide_resnet50_2"}) {
    const Network network = Build(model, {{"channels", 2}});
    ExpectRefused(
        {{"conv1.weight", at::zeros({2, 3, 7, 7})},
         {"bn1.weight", at::ones({2})},
         {"bn1.num_batches_tracked", at::zeros({}, at::kLong)},
         {"fc.bias", at::zeros({10})},
         {"head.bias", at::zeros({10})}},
        network,
        {"by the names of torchvision",
         "missing: bn1.bias, bn1.running_mean, bn1.running_var, fc.weight, layer1.0.bn1.bias",
         "surplus: head.bias;", "conv1.weight is [2, 3, 7, 7], must be [2, 3, 3, 3]"});
  }
}

TEST_F(WeightsTest, DamagedFilesAreRefused) {
  const Network network = Build("mlp", {{"hidden", {4}}});
  Read({{"theta", at::zeros({network.table.size()})}}, network);
  const std::string whole = ReadFile(file_);
  const auto refused = [&](const std::string& content, const std::vector<std::string>& parts) {
    WriteFileAtomically(file_, content);
    ExpectError(ErrorKind::kData, parts, [&] { ReadWeights(file_, network, "init.from"); });
  };
  std::string damaged = whole;
  damaged[whole.size() - 5] ^= 4;
  refused(damaged, {file_, "checksum"});
  damaged = whole;
  damaged[whole.find("crc32")] ^= 1;  // so that it looks like another program's
  refused(damaged, {file_, "theta", "no checksum of ours"});
  refused("no safetensors", {file_, "header", "save_file"});
  refused("", {file_, "holds 0 bytes"});
}

}  // namespace
}  // namespace sgdscope
