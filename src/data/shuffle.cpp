#include "config/registry.h"
#include "data/epoch_sampler.h"

namespace sgdscope {
namespace {

/// Each example once an epoch, in a new order every epoch.
class Shuffle final : public EpochSampler {
  int64_t OrderOf(int64_t epoch) const override { return epoch; }
  int64_t BatchAt(int64_t, int64_t place) const override { return place; }
  int64_t PlaceOfLast(int64_t) const override { return steps_per_epoch() - 1; }
  std::string LeftOut() const override { return "others every time"; }
};

const Registration<Sampler, Shuffle> kShuffle("shuffle",
                                              "each example once an epoch, in random order");

}  // namespace
}  // namespace sgdscope
