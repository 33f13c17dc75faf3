// How a file names a network's parameters and running statistics. A file with a tensor `theta` is a
// checkpoint or a snapshot: theta holds all parameters, `running` the statistics. Any other file
// has a tensor for each, by one of these names; taken are those under which the file has the most:
//
//   this program's            torchvision's ResNet           nn.Sequential's
//   conv.weight               conv1.weight                   0.weight
//   conv.norm.*               bn1.*                          1.*
//   group2.block1.conv1.*     layer2.0.conv1.*               -
//   group2.block1.conv1.norm  layer2.0.bn1                   -
//   group2.block1.shortcut    layer2.0.downsample.0          -
//   ... .shortcut.norm        layer2.0.downsample.1          -
//   linear.*                  fc.*                           the layers with parameters, in theirs
//   gamma, beta               weight, bias                   weight, bias
//   mean, variance            running_mean, running_var      running_mean, running_var
//
// In a Sequential the numbers that the file has stand for our layers with parameters, in their
// order: 0, 2, 4 for linear1, linear2, linear3. Shapes are the same in all of them. PyTorch's
// num_batches_tracked is passed over.

#include "models/weights.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/tensor_file.h"

namespace sgdscope {
namespace {

/// Beginnings or ends of names, ours and theirs.
using Pairs = std::vector<std::pair<std::string, std::string>>;

const Pairs kEnds = {{".gamma", ".weight"},
                     {".beta", ".bias"},
                     {".mean", ".running_mean"},
                     {".variance", ".running_var"}};
const Pairs kTorchvision = {{"conv.norm.", "bn1."},         {"conv.", "conv1."},
                            {"conv1.norm.", "bn1."},        {"conv2.norm.", "bn2."},
                            {"conv3.norm.", "bn3."},        {"shortcut.norm.", "downsample.1."},
                            {"shortcut.", "downsample.0."}, {"linear.", "fc."}};

std::string WithTheirEnd(const std::string& name) {
  for (const auto& [ours, theirs] : kEnds) {
    if (name.ends_with(ours)) return name.substr(0, name.size() - ours.size()) + theirs;
  }
  return name;
}

/// The number that the text begins with and a point follows; -1: none.
int64_t LeadingNumber(const std::string& text) {
  const size_t point = text.find('.');
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  constexpr size_t kMostDigits = 9;
  if (point == std::string::npos || point == 0 || point > kMostDigits) return -1;
  if (!std::all_of(text.begin(), text.begin() + static_cast<int64_t>(point), is_digit)) return -1;
  return std::stoll(text.substr(0, point));
}

/// "group2.block1.conv1.weight" is "layer2.0.conv1.weight".
std::string TorchvisionName(const std::string& ours) {
  const std::string kGroup = "group", kBlock = "block";
  std::string place, rest = ours;
  if (rest.starts_with(kGroup)) {
    const int64_t group = LeadingNumber(rest.substr(kGroup.size()));
    rest.erase(0, rest.find('.') + 1);
    if (group < 0 || !rest.starts_with(kBlock)) return ours;
    const int64_t block = LeadingNumber(rest.substr(kBlock.size()));
    rest.erase(0, rest.find('.') + 1);
    place = "layer" + std::to_string(group) + "." + std::to_string(block - 1) + ".";
  }
  for (const auto& [begin, theirs] : kTorchvision) {
    if (!rest.starts_with(begin)) continue;
    rest.replace(0, begin.size(), theirs);
    break;
  }
  return WithTheirEnd(place + rest);
}

std::string LayerOf(const std::string& name) { return name.substr(0, name.rfind('.')); }

/// The number in a Sequential of each of the network's layers, by its name.
std::map<std::string, std::string> SequentialNumbers(const Network& network,
                                                     const TensorFile& file) {
  std::set<int64_t> numbers;
  for (const auto& [name, tensor] : file.tensors) {
    if (LeadingNumber(name) >= 0) numbers.insert(LeadingNumber(name));
  }
  std::map<std::string, std::string> of_layers;
  auto next = numbers.begin();
  for (const Parameter& parameter : network.table.parameters()) {
    const std::string layer = LayerOf(parameter.name);
    if (next == numbers.end() || of_layers.contains(layer)) continue;
    of_layers[layer] = std::to_string(*next++);
  }
  return of_layers;
}

/// A way to name the network's tensors.
struct Naming {
  std::string of;  // whose it is
  std::function<std::string(const std::string& ours)> name;
};

std::vector<Naming> NamingsOf(const Network& network, const TensorFile& file) {
  const auto numbers = SequentialNumbers(network, file);
  const auto in_sequential = [numbers](const std::string& ours) {
    const auto found = numbers.find(LayerOf(ours));
    if (found == numbers.end()) return ours;
    return WithTheirEnd(found->second + ours.substr(ours.rfind('.')));
  };
  return {{"this program", [](const std::string& ours) { return ours; }},
          {"torchvision", TorchvisionName},
          {"nn.Sequential", in_sequential}};
}

/// The names that a file is to have, each with where its numbers belong.
struct Slot {
  const Parameter* parameter;
  at::Tensor room;  // in double
};
using Slots = std::map<std::string, Slot>;

Slots SlotsOf(const Naming& naming, const Network& network, const Weights& weights) {
  Slots slots;
  const auto add = [&](const ParameterTable& table, const at::Tensor& numbers) {
    for (const Parameter& parameter : table.parameters()) {
      slots[naming.name(parameter.name)] = {
          &parameter, numbers.narrow(0, parameter.offset, parameter.size).view(parameter.shape)};
    }
  };
  add(network.table, weights.theta);
  add(network.statistics, weights.statistics);
  return slots;
}

int64_t FoundIn(const TensorFile& file, const Slots& slots) {
  return std::ranges::count_if(slots,
                               [&](const auto& slot) { return file.tensors.contains(slot.first); });
}

std::string ShapeText(at::IntArrayRef shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

/// "; missing: a, b, c and 4 more", or nothing.
std::string ListText(const std::string& title, const std::vector<std::string>& names) {
  constexpr size_t kShown = 6;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i == 0 ? "; " + title + ": " : ", ") + names[i];
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

/// What keeps the file from filling the slots; "" if nothing does.
std::string Misfits(const TensorFile& file, const Slots& slots) {
  std::vector<std::string> missing, surplus, misshapen;
  for (const auto& [name, slot] : slots) {
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) {
      missing.push_back(name);
    } else if (!found->second.is_floating_point()) {
      misshapen.push_back(name + " holds whole numbers");
    } else if (found->second.sizes() != slot.room.sizes()) {
      misshapen.push_back(name + " is " + ShapeText(found->second.sizes()) + ", must be " +
                          ShapeText(slot.room.sizes()));
    }
  }
  for (const auto& [name, tensor] : file.tensors) {
    if (slots.contains(name) || name.ends_with("num_batches_tracked")) continue;
    surplus.push_back(name);
  }
  return ListText("missing", missing) + ListText("surplus", surplus) +
         ListText("of another shape", misshapen);
}

/// The first parameters in which two layouts differ.
std::pair<std::string, std::string> FirstDifference(std::string a, std::string b) {
  const std::string kBetween = "; ";
  const auto take = [&](std::string& text) {
    const std::string first = text.substr(0, text.find(kBetween));
    text.erase(0, first.size() + kBetween.size());
    return first.empty() ? "nothing more" : first;
  };
  for (;;) {
    const std::string of_a = take(a), of_b = take(b);
    if (of_a != of_b) return {of_a, of_b};
  }
}

Weights FromNames(const TensorFile& file, const std::string& where, const Network& network,
                  const std::string& path) {
  const auto room = [](const ParameterTable& table) {
    return at::empty({table.size()}, at::kDouble);
  };
  const Weights weights = {room(network.table), room(network.statistics)};
  std::string naming;
  Slots slots;
  for (const Naming& candidate : NamingsOf(network, file)) {
    Slots its = SlotsOf(candidate, network, weights);
    if (!naming.empty() && FoundIn(file, its) <= FoundIn(file, slots)) continue;
    naming = candidate.of;
    slots = std::move(its);
  }
  const std::string misfits = Misfits(file, slots);
  if (!misfits.empty()) {
    throw Error(ErrorKind::kConfig, path,
                where + " does not fit the network, by the names of " + naming + misfits,
                "Choose the model that the weights are of (`sgdscope describe CONFIG` lists its "
                "parameters), or rename the tensors.");
  }
  for (const auto& [name, slot] : slots) slot.room.copy_(file.tensors.at(name));
  return weights;
}

}  // namespace

std::string LayoutOf(const ParameterTable& table) {
  std::string text;
  for (const Parameter& parameter : table.parameters()) {
    text += (text.empty() ? "" : "; ") + parameter.name + " " + ShapeText(parameter.shape);
  }
  return text;
}

void CheckLayout(const std::string& layout, const at::Tensor& theta, const ParameterTable& table,
                 const std::string& where) {
  const std::string ours = LayoutOf(table);
  const bool same = layout.empty() || layout == ours;
  if (same && theta.dim() == 1 && theta.size(0) == table.size()) return;
  const std::string hint = "Choose the model, and data of the shape, that the weights are of.";
  if (same) {
    throw Error(ErrorKind::kConfig, where,
                "theta has " + std::to_string(theta.numel()) +
                    " parameters, but this network has " + std::to_string(table.size()),
                hint);
  }
  const auto [there, here] = FirstDifference(layout, ours);
  throw Error(ErrorKind::kConfig, where,
              "theta is of another network: " + there + " there, " + here + " here", hint);
}

Weights ReadWeights(const std::string& file, const Network& network, const std::string& path) {
  if (!IsFile(file)) {
    throw Error(ErrorKind::kConfig, path, "there is no file " + file,
                "Name a file of a run's checkpoints or snapshots, or a state_dict of PyTorch "
                "(safetensors.torch.save_file).");
  }
  const TensorFile read = ReadTensorFile(file, WrittenBy::kAnyone);
  const auto theta = read.tensors.find("theta");
  if (theta == read.tensors.end()) return FromNames(read, file, network, path);
  if (!read.checked) {
    throw Error(ErrorKind::kData, file, "has a tensor theta, but no checksum of ours",
                "A checkpoint or snapshot has one: the file is damaged. Weights of other programs "
                "have a tensor for each parameter.");
  }
  const auto layout = read.metadata.find(kLayout);
  CheckLayout(layout == read.metadata.end() ? "" : layout->second, theta->second, network.table,
              path + ": " + file);
  const auto running = read.tensors.find("running");
  const bool has_statistics =
      running != read.tensors.end() && running->second.numel() == network.statistics.size();
  return {theta->second, has_statistics ? running->second : at::Tensor()};
}

}  // namespace sgdscope
