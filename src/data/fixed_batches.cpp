#include "config/registry.h"
#include "data/epoch_sampler.h"

namespace sgdscope {
namespace {

/// The same batches in every epoch, in a new order every time.
class FixedBatches final : public EpochSampler {
  void OwnPrepare(uint64_t seed) override {
    visits_ = Orders(seed, "batch_order", steps_per_epoch());
  }
  int64_t OrderOf(int64_t) const override { return 0; }
  int64_t BatchAt(int64_t epoch, int64_t place) const override {
    return visits_.At(epoch).data_ptr<int64_t>()[place];
  }
  int64_t PlaceOfLast(int64_t epoch) const override {
    return visits_.At(epoch).argmax().item<int64_t>();
  }
  std::string LeftOut() const override { return "the same in all epochs"; }
  bool SameIndicesEveryStep() const override { return steps_per_epoch() == 1; }

  mutable Orders visits_;  // mutable: it keeps what it has computed
};

const Registration<Sampler, FixedBatches> kFixedBatches(
    "fixed_batches",
    "each example once an epoch; who is in a batch with whom is drawn once for the whole run, the "
    "order of the batches anew for every epoch");

}  // namespace
}  // namespace sgdscope
