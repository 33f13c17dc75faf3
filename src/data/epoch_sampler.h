#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <utility>

#include "data/sampler.h"

namespace sgdscope {

/// Random orders of 0 ... n-1, each a pure function of (seed, name, index).
class Orders {
 public:
  Orders() = default;
  Orders(uint64_t seed, std::string name, int64_t n) : seed_(seed), name_(std::move(name)), n_(n) {}

  /// [n] int64, CPU. The orders used last are kept: probes look back at batches of earlier epochs
  /// at every step.
  const at::Tensor& At(int64_t index);

 private:
  uint64_t seed_ = 0;
  std::string name_;
  int64_t n_ = 0;
  std::list<std::pair<int64_t, at::Tensor>> recent_;  // index and its order, the latest used first
};

/// What the samplers have in common that partition the training set into batches: the field
/// `drop_last`. An order of the examples, cut into pieces, gives the batches 0, 1, ...; only the
/// last one may be short. A leaf says which order an epoch has, and in which order it visits the
/// batches.
class EpochSampler : public Sampler {
 public:
  void Fields(FieldVisitor& visitor) override;
  void Prepare(uint64_t seed, int64_t examples, int64_t batch_size,
               const std::string& path) override;
  at::Tensor At(int64_t step) override;
  int64_t steps_per_epoch() const override { return steps_per_epoch_; }
  int64_t batch_size() const override { return batch_size_; }
  int64_t smallest_batch() const override;
  double EpochAt(int64_t step) const override;

 protected:
  /// Which of the random orders the examples of an epoch are in.
  virtual int64_t OrderOf(int64_t epoch) const = 0;
  /// The batch visited at a place of an epoch; both are 0 ... steps_per_epoch() - 1.
  virtual int64_t BatchAt(int64_t epoch, int64_t place) const = 0;
  /// The place at which an epoch visits its last batch.
  virtual int64_t PlaceOfLast(int64_t epoch) const = 0;
  /// Which examples drop_last leaves out: "others in every epoch".
  virtual std::string LeftOut() const = 0;
  virtual void OwnPrepare(uint64_t seed) { (void)seed; }

 private:
  std::optional<bool> drop_last_;
  int64_t examples_ = 0;
  int64_t batch_size_ = 0;
  bool drop_rest_ = false;
  int64_t steps_per_epoch_ = 0;
  Orders orders_;
};

}  // namespace sgdscope
