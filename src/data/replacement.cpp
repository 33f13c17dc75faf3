#include <cstdint>
#include <string>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/sampler.h"

namespace sgdscope {
namespace {

/// Every example of every batch drawn from the whole training set, independently.
class Replacement final : public Sampler {
 public:
  void Prepare(uint64_t seed, int64_t examples, int64_t batch_size,
               const std::string& path) override {
    if (batch_size < 1) {
      throw Error(ErrorKind::kConfig, path, "replacement needs a batch_size, which is missing");
    }
    seed_ = seed;
    examples_ = examples;
    batch_size_ = batch_size;
  }

  at::Tensor At(int64_t step) override {
    Stream stream(seed_, "order", static_cast<uint64_t>(step));
    at::Tensor indices = at::empty({batch_size_}, at::kLong);
    int64_t* index = indices.data_ptr<int64_t>();
    for (int64_t i = 0; i < batch_size_; ++i) {
      index[i] = static_cast<int64_t>(stream.Below(static_cast<uint64_t>(examples_)));
    }
    return indices;
  }

  int64_t steps_per_epoch() const override {
    return examples_ / batch_size_ + (examples_ % batch_size_ != 0 ? 1 : 0);
  }
  int64_t batch_size() const override { return batch_size_; }
  double EpochAt(int64_t step) const override {
    return static_cast<double>(step * batch_size_) / static_cast<double>(examples_);
  }

 private:
  uint64_t seed_ = 0;
  int64_t examples_ = 0;
  int64_t batch_size_ = 0;
};

const Registration<Sampler, Replacement> kReplacement(
    "replacement", "each example drawn from the whole training set, independently");

}  // namespace
}  // namespace sgdscope
