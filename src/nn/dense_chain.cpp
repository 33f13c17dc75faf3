#include "nn/dense_chain.h"

#include <algorithm>

#include "nn/sequence.h"

namespace sgdscope {
namespace {

bool IsDense(const Layer* layer) { return dynamic_cast<const DenseLayer*>(layer) != nullptr; }

bool IsElementwise(const Layer* layer) {
  return dynamic_cast<const ElementwiseLayer*>(layer) != nullptr;
}

bool HasParameters(const Layer* layer) {
  bool has = false;
  ForEachLayer(*layer, [&](const Layer& it) {
    has = has || dynamic_cast<const ParameterLayer*>(&it) != nullptr;
  });
  return has;
}

void AppendChain(const Layer* layer, std::vector<const Layer*>& chain) {
  if (dynamic_cast<const Sequence*>(layer) == nullptr) return chain.push_back(layer);
  for (const Layer* inside : layer->Inside()) AppendChain(inside, chain);
}

}  // namespace

std::vector<const Layer*> ChainOf(const Layer& root) {
  std::vector<const Layer*> chain;
  AppendChain(&root, chain);
  return chain;
}

const Layer* InTheWayOfDenseChain(const Layer& root) {
  const auto chain = ChainOf(root);
  const auto first = std::ranges::find_if(chain, IsDense);
  const auto front = std::find_if(chain.begin(), first, HasParameters);
  if (front != first) return *front;
  const auto behind = std::find_if(first, chain.end(), [](const Layer* layer) {
    return !IsDense(layer) && !IsElementwise(layer);
  });
  if (behind != chain.end()) return *behind;
  return IsDense(chain.back()) ? nullptr : chain.back();
}

}  // namespace sgdscope
