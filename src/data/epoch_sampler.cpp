#include "data/epoch_sampler.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/rng.h"

namespace sgdscope {

const at::Tensor& Orders::At(int64_t index) {
  constexpr size_t kKept = 8;
  for (auto it = recent_.begin(); it != recent_.end(); ++it) {
    if (it->first != index) continue;
    recent_.splice(recent_.begin(), recent_, it);
    return recent_.front().second;
  }
  Stream stream(seed_, name_, static_cast<uint64_t>(index));
  const std::vector<int64_t> order = Permutation(stream, n_);
  recent_.emplace_front(index, at::tensor(order, at::kLong));
  if (recent_.size() > kKept) recent_.pop_back();
  return recent_.front().second;
}

void EpochSampler::Fields(FieldVisitor& visitor) {
  visitor.Visit(
      {.name = "drop_last",
       .help = "leave out the examples that don't fill the last batch of an epoch (" + LeftOut() +
               "); must be given where the batch size doesn't divide the training set"},
      drop_last_);
}

void EpochSampler::Prepare(uint64_t seed, int64_t examples, int64_t batch_size,
                           const std::string& path) {
  if (batch_size < 1 || batch_size > examples) {
    throw Error(ErrorKind::kConfig, path,
                "batch_size must be 1 to " + std::to_string(examples) +
                    ", the size of the training set; found " +
                    (batch_size == 0 ? "none" : std::to_string(batch_size)));
  }
  const int64_t rest = examples % batch_size;
  if (rest != 0 && !drop_last_) {
    throw Error(ErrorKind::kConfig, path + ".drop_last",
                "missing, and batches of " + std::to_string(batch_size) + " don't divide the " +
                    std::to_string(examples) + " training examples",
                "true: each epoch leaves out " + std::to_string(rest) + " examples, " + LeftOut() +
                    "; false: one batch of each epoch has only " + std::to_string(rest) + ".");
  }
  examples_ = examples;
  batch_size_ = batch_size;
  drop_rest_ = drop_last_.value_or(false);
  steps_per_epoch_ = examples / batch_size + (rest != 0 && !drop_rest_ ? 1 : 0);
  orders_ = Orders(seed, "order", examples);
  OwnPrepare(seed);
}

at::Tensor EpochSampler::At(int64_t step) {
  const int64_t epoch = step / steps_per_epoch_;
  const int64_t begin = BatchAt(epoch, step % steps_per_epoch_) * batch_size_;
  const int64_t length = std::min(batch_size_, examples_ - begin);
  // A copy: a view would let its user change the order.
  return orders_.At(OrderOf(epoch)).narrow(0, begin, length).clone();
}

int64_t EpochSampler::smallest_batch() const {
  const int64_t rest = examples_ % batch_size_;
  return rest == 0 || drop_rest_ ? batch_size_ : rest;
}

double EpochSampler::EpochAt(int64_t step) const {
  if (drop_rest_) return static_cast<double>(step) / static_cast<double>(steps_per_epoch_);
  const int64_t epoch = step / steps_per_epoch_;
  const int64_t place = step % steps_per_epoch_;
  const int64_t missing = steps_per_epoch_ * batch_size_ - examples_;  // in the last batch
  const int64_t used =
      epoch * examples_ + place * batch_size_ - (PlaceOfLast(epoch) < place ? missing : 0);
  return static_cast<double>(used) / static_cast<double>(examples_);
}

}  // namespace sgdscope
