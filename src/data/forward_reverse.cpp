#include "config/registry.h"
#include "data/epoch_sampler.h"

namespace sgdscope {
namespace {

/// Epochs in pairs: the first is that of `shuffle`, the second has the same batches from the last
/// to the first. For two such epochs the modified loss of `implicit_regularization` holds without a
/// mean over orders (section 2.2).
class ForwardReverse final : public EpochSampler {
  int64_t OrderOf(int64_t epoch) const override { return epoch - epoch % 2; }
  int64_t BatchAt(int64_t epoch, int64_t place) const override {
    return epoch % 2 == 0 ? place : steps_per_epoch() - 1 - place;
  }
  int64_t PlaceOfLast(int64_t epoch) const override {
    return epoch % 2 == 0 ? steps_per_epoch() - 1 : 0;
  }
  std::string LeftOut() const override { return "others in every pair of epochs"; }
};

const Registration<Sampler, ForwardReverse> kForwardReverse(
    "forward_reverse",
    "each example once an epoch; every second epoch has the batches of the one before it in "
    "reverse (implicit_regularization section 2.2)");

}  // namespace
}  // namespace sgdscope
