#include <algorithm>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/registry.h"
#include "core/rng.h"
#include "data/sampler.h"

namespace sgdscope {
namespace {

/// Each example once an epoch, in a new order every epoch.
class Shuffle final : public Sampler {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "drop_last",
         .help = "leave out the examples that don't fill the last batch of an epoch; must "
                 "be given where the batch size doesn't divide the training set"},
        drop_last_);
  }

  void Prepare(uint64_t seed, int64_t examples, int64_t batch_size,
               const std::string& path) override {
    if (batch_size < 1 || batch_size > examples) {
      throw Error(ErrorKind::kConfig, path,
                  "shuffle needs a batch_size of 1 to " + std::to_string(examples) +
                      ", the size of the training set; found " +
                      (batch_size == 0 ? "none" : std::to_string(batch_size)));
    }
    const int64_t rest = examples % batch_size;
    if (rest != 0 && !drop_last_) throw AmbiguousEnd(examples, batch_size, rest, path);
    seed_ = seed;
    examples_ = examples;
    batch_size_ = batch_size;
    drop_rest_ = drop_last_.value_or(false);
    steps_per_epoch_ = examples / batch_size + (rest != 0 && !drop_rest_ ? 1 : 0);
    recent_.clear();
  }

  at::Tensor At(int64_t step) override {
    const int64_t begin = step % steps_per_epoch_ * batch_size_;
    const int64_t length = std::min(batch_size_, examples_ - begin);
    // A copy: a view would let its user change the order.
    return Order(step / steps_per_epoch_).narrow(0, begin, length).clone();
  }

  int64_t steps_per_epoch() const override { return steps_per_epoch_; }
  int64_t batch_size() const override { return batch_size_; }

  double EpochAt(int64_t step) const override {
    if (drop_rest_) return static_cast<double>(step) / static_cast<double>(steps_per_epoch_);
    const int64_t used =
        step / steps_per_epoch_ * examples_ + step % steps_per_epoch_ * batch_size_;
    return static_cast<double>(used) / static_cast<double>(examples_);
  }

 private:
  static Error AmbiguousEnd(int64_t examples, int64_t batch_size, int64_t rest,
                            const std::string& path) {
    return Error(ErrorKind::kConfig, path + ".drop_last",
                 "missing, and batches of " + std::to_string(batch_size) + " don't divide the " +
                     std::to_string(examples) + " training examples",
                 "true: each epoch leaves out " + std::to_string(rest) +
                     " examples, others every time; false: its last batch has only " +
                     std::to_string(rest) + ".");
  }

  // Probes look back at batches of earlier epochs at every step: the orders used last are kept.
  const at::Tensor& Order(int64_t epoch) {
    constexpr size_t kKept = 8;
    for (auto it = recent_.begin(); it != recent_.end(); ++it) {
      if (it->first != epoch) continue;
      recent_.splice(recent_.begin(), recent_, it);
      return recent_.front().second;
    }
    Stream stream(seed_, "order", static_cast<uint64_t>(epoch));
    const std::vector<int64_t> order = Permutation(stream, examples_);
    recent_.emplace_front(epoch, at::tensor(order, at::kLong));
    if (recent_.size() > kKept) recent_.pop_back();
    return recent_.front().second;
  }

  std::optional<bool> drop_last_;
  uint64_t seed_ = 0;
  int64_t examples_ = 0;
  int64_t batch_size_ = 0;
  bool drop_rest_ = false;
  int64_t steps_per_epoch_ = 0;
  std::list<std::pair<int64_t, at::Tensor>> recent_;  // epoch and its order, the latest used first
};

const Registration<Sampler, Shuffle> kShuffle("shuffle",
                                              "each example once an epoch, in random order");

}  // namespace
}  // namespace sgdscope
