#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <string>

#include "config/fields.h"
#include "data/augment.h"

namespace sgdscope {

/// Which examples form the batch of a step, and how they are augmented: a pure function of (seed,
/// step). Leaves register by name.
class Sampler : public Configurable {
 public:
  /// Called once before At. `examples`: size of the training set; `batch_size`: 0 if the config
  /// gives none (only `full` allows that). Error kConfig at `path` if they don't fit together, e.g.
  /// a shuffled batch larger than the set, or `drop_last` missing where the batch size doesn't
  /// divide the set.
  virtual void Prepare(uint64_t seed, int64_t examples, int64_t batch_size,
                       const std::string& path) = 0;
  /// Indices of the batch of step `step` >= 0: [n] int64, CPU.
  virtual at::Tensor At(int64_t step) = 0;
  /// The batch of step `step` >= 0 as it is trained on: At(step), augmented if AugmentBy said so.
  Examples ExamplesAt(int64_t step);
  /// From now on ExamplesAt augments. Called after Prepare, whose seed this is.
  void AugmentBy(const Augment& augment, uint64_t seed);
  /// Other examples [n] int64 (CPU), augmented like the batches but by draws of another `seed`.
  Examples Augmented(const at::Tensor& indices, uint64_t seed, int64_t draw) const;
  /// From which step on the run's batches are those of At: 0, or where a fork draws others than its
  /// parent.
  void BeginAt(int64_t step) { begin_ = step; }
  int64_t begin() const { return begin_; }
  /// Whether the run has had At(step) for its batch, or will.
  bool InRun(int64_t step) const { return step >= begin_; }
  virtual int64_t steps_per_epoch() const = 0;
  /// Size of the largest batch.
  virtual int64_t batch_size() const = 0;
  /// Size of the smallest batch.
  virtual int64_t smallest_batch() const { return batch_size(); }
  /// Whether every step has the same batch, so that no earlier batch differs from the updating one.
  bool SameEveryStep() const { return !augment_ && SameIndicesEveryStep(); }
  /// Epochs before step `step`: examples used / size of the set, or, where an epoch leaves examples
  /// out (drop_last), steps / steps_per_epoch. Exact where it is a whole number.
  virtual double EpochAt(int64_t step) const = 0;

 private:
  virtual bool SameIndicesEveryStep() const { return false; }

  std::optional<Augment> augment_;
  uint64_t augment_seed_ = 0;
  int64_t begin_ = 0;
};

}  // namespace sgdscope
