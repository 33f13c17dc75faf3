#include <cstdint>
#include <string>

#include "config/registry.h"
#include "core/error.h"
#include "data/sampler.h"

namespace sgdscope {
namespace {

/// The whole training set at every step: gradient descent without the noise.
class Full final : public Sampler {
 public:
  void Prepare(uint64_t, int64_t examples, int64_t batch_size, const std::string& path) override {
    if (batch_size != 0 && batch_size != examples) {
      throw Error(ErrorKind::kConfig, path,
                  "full takes all " + std::to_string(examples) +
                      " examples at every step, but batch_size is " + std::to_string(batch_size),
                  "Leave batch_size out.");
    }
    examples_ = examples;
  }

  at::Tensor At(int64_t) override { return at::arange(examples_, at::kLong); }
  int64_t steps_per_epoch() const override { return 1; }
  int64_t batch_size() const override { return examples_; }
  double EpochAt(int64_t step) const override { return static_cast<double>(step); }

 private:
  bool SameIndicesEveryStep() const override { return true; }

  int64_t examples_ = 0;
};

const Registration<Sampler, Full> kFull("full", "the whole training set at every step");

}  // namespace
}  // namespace sgdscope
