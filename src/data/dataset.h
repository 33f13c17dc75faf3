#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "data/augment.h"
#include "data/label_noise.h"

namespace sgdscope {

/// Examples of one split, on one device.
struct Split {
  at::Tensor inputs;  // [N, ...shape], uint8, float32 or float64, as the source has them
  /// [N] int64 in 0 ... classes-1; or targets [N, classes], float32 or float64.
  at::Tensor labels;
  // With label noise only, in the training set:
  at::Tensor original_labels = {};  // [N] int64
  at::Tensor corrupt = {};          // [N] bool: the label differs from the original one
  int64_t size() const { return labels.size(0); }
  bool HasTargets() const { return labels.is_floating_point(); }
};

/// A file that was read: for the manifest.
struct FileRecord {
  std::string path;
  int64_t bytes;
  std::string crc32;  // of the file as it lies on disk, 8 hex digits
};

/// What is known of a data set before its files are read.
struct DataShape {
  int64_t train_size;          // 0: known only after reading
  int64_t test_size;           // 0: known only after reading
  std::vector<int64_t> shape;  // of one example, e.g. {1, 28, 28}
  int64_t classes;             // or how many targets an example has
  bool has_targets = false;    // numbers of any size in place of a label
};

struct LoadedData {
  Split train;
  Split test;
  std::vector<FileRecord> files;
  std::vector<std::string> warnings = {};  // of what is no error, but hardly meant
};

/// A source of examples with labels or targets; leaves register by the name in the config.
class Dataset : public Configurable {
 public:
  /// The leaf's own fields, then `normalize`, `augment` and `label_noise`.
  void Fields(FieldVisitor& visitor) final;
  /// One of NormalizeNames() (data/normalize.h).
  const std::string& normalize() const { return normalize_; }
  /// Null where the config has none. The sampler augments the batches of the training set.
  const Augment* augment() const { return has_augment_ ? &augment_ : nullptr; }
  /// Null where the config has none. Load gives the original labels: the experiment adds the noise.
  const LabelNoise* label_noise() const { return has_label_noise_ ? &label_noise_ : nullptr; }
  /// Of Split::inputs.
  virtual at::ScalarType InputType() const { return at::kByte; }
  /// Of Split::labels.
  virtual at::ScalarType LabelType() const { return at::kLong; }
  /// The files that Load reads, after Resolve; some or all are left out where one is missing.
  virtual std::vector<std::filesystem::path> InputFiles() const { return {}; }
  /// Sizes without reading the data. Error kConfig if the fields contradict each other, and kData
  /// where only files tell the shape and can't be read; `path`: the JSON path of the object
  /// ("data").
  virtual DataShape Shape(const std::string& path) const = 0;
  /// Settles what the config leaves open (the folder, say) so that the resolved config names it.
  virtual void Resolve() {}
  /// Reads and checks everything, on the CPU. `seed` is for what is drawn: synthetic data, and a
  /// part of the training examples. Error kData names file, offset, found and expected.
  virtual LoadedData Load(uint64_t seed) const = 0;

 protected:
  explicit Dataset(std::string normalize = "unit") : normalize_(std::move(normalize)) {}
  virtual void OwnFields(FieldVisitor& visitor) = 0;

 private:
  std::string normalize_;
  Augment augment_;
  bool has_augment_ = false;
  LabelNoise label_noise_;
  bool has_label_noise_ = false;
};

}  // namespace sgdscope
