#include "data/sampler.h"

namespace sgdscope {

Examples Sampler::ExamplesAt(int64_t step) {
  Examples examples{At(step)};
  if (augment_) {
    examples.moves = augment_->MovesAt(augment_seed_, step, examples.indices.size(0));
  }
  return examples;
}

void Sampler::AugmentBy(const Augment& augment, uint64_t seed) {
  augment_ = augment;
  augment_seed_ = seed;
}

}  // namespace sgdscope
