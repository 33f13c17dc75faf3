#include "data/sampler.h"

namespace sgdscope {

Examples Sampler::ExamplesAt(int64_t step) { return Augmented(At(step), augment_seed_, step); }

Examples Sampler::Augmented(const at::Tensor& indices, uint64_t seed, int64_t draw) const {
  if (!augment_) return {indices};
  return {indices, augment_->MovesAt(seed, draw, indices.size(0))};
}

void Sampler::AugmentBy(const Augment& augment, uint64_t seed) {
  augment_ = augment;
  augment_seed_ = seed;
}

}  // namespace sgdscope
