#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/registry.h"
#include "core/error.h"
#include "data/array_file.h"
#include "data/file_dataset.h"
#include "data/normalize.h"

// Arrays of numbers that users wrote: inputs [N, ...shape of an example] and labels [N], which are
// classes where they are integers, or targets [N] or [N, k] where they are floating-point numbers.
// Inputs are kept in the smallest of uint8, float32 and float64 that has each of their numbers, but
// for 64-bit integers, of which float64 has the nearest; truth values are numbers 0 and 1.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBlock = int64_t{1} << 20;  // numbers

at::ScalarType KeptType(NumberType type) {
  switch (type) {
    case NumberType::kUint8:
      return at::kByte;
    case NumberType::kBool:
    case NumberType::kInt8:
    case NumberType::kUint16:
    case NumberType::kInt16:
    case NumberType::kFloat32:
      return at::kFloat;
    default:
      return at::kDouble;
  }
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

/// The indices of the number at `place` in C order.
std::vector<int64_t> IndicesOf(int64_t place, const std::vector<int64_t>& shape) {
  std::vector<int64_t> indices(shape.size());
  for (size_t i = shape.size(); i-- > 0; place /= shape[i]) indices[i] = place % shape[i];
  return indices;
}

template <class Number>
void ReadFinite(ArrayFile& array, Number* out, int64_t count) {
  for (int64_t done = 0; done < count; done += kBlock) {
    const int64_t now = std::min(count - done, kBlock);
    array.Read(out + done, now);
    const Number* bad =
        std::find_if_not(out + done, out + done + now, [](Number x) { return std::isfinite(x); });
    if (bad == out + done + now) continue;
    array.file().Refuse("found " + std::to_string(*bad) + " at " +
                            ShapeText(IndicesOf(bad - out, array.shape())) +
                            ", expected finite numbers",
                        "Leave such examples out, or put another number in its place.");
  }
  array.ExpectEnd();
}

at::Tensor ReadInputs(ArrayFile& array) {
  const at::Tensor inputs = at::empty(array.shape(), KeptType(array.type()));
  if (inputs.scalar_type() == at::kByte) {
    array.Read(inputs.data_ptr<uint8_t>(), inputs.numel());
    array.ExpectEnd();
  } else if (inputs.scalar_type() == at::kFloat) {
    ReadFinite(array, inputs.data_ptr<float>(), inputs.numel());
  } else {
    ReadFinite(array, inputs.data_ptr<double>(), inputs.numel());
  }
  return inputs;
}

void CheckInputs(const ArrayFile& array) {
  const std::vector<int64_t>& shape = array.shape();
  if (shape.size() >= 2 && std::ranges::all_of(shape, [](int64_t extent) { return extent > 0; })) {
    return;
  }
  array.file().Refuse("found the shape " + ShapeText(shape) +
                          ", expected [examples, ...] with at least one number in each example",
                      "A list of numbers becomes one by x.reshape(-1, 1).");
}

/// Floating-point numbers [N], or [N, k].
void CheckTargets(const ArrayFile& targets, const ArrayFile& inputs) {
  const std::vector<int64_t>& shape = targets.shape();
  const int64_t count = inputs.shape().front();
  if ((shape.size() == 1 || (shape.size() == 2 && shape[1] > 0)) && shape[0] == count) return;
  targets.file().Refuse("found the shape " + ShapeText(shape) + " of " + targets.type_name() +
                            ", expected [" + std::to_string(count) + "] or [" +
                            std::to_string(count) + ", k], one or more targets for each example",
                        "Targets of more dimensions become rows by y.reshape(len(y), -1); classes "
                        "are integers: y.astype(\"int64\").");
}

void CheckLabels(const ArrayFile& labels, const ArrayFile& inputs) {
  if (!labels.HoldsIntegers()) return CheckTargets(labels, inputs);
  const int64_t count = inputs.shape().front();
  // [N], or [N, 1] as some libraries have it.
  int64_t rows = labels.shape().empty() ? 0 : labels.shape().front();
  for (size_t i = 1; i < labels.shape().size(); ++i) {
    if (labels.shape()[i] != 1) rows = 0;
  }
  if (rows == count) return;
  labels.file().Refuse("found the shape " + ShapeText(labels.shape()) + ", expected [" +
                           std::to_string(count) + "], one label for each example of " +
                           std::to_string(count),
                       "Classes as rows of zeros and a one become labels by y.argmax(axis=1).");
}

/// [N] int64.
at::Tensor ReadLabels(ArrayFile& array) {
  const at::Tensor labels = at::empty({array.shape().front()}, at::kLong);
  array.Read(labels.data_ptr<int64_t>(), labels.numel());
  array.ExpectEnd();
  return labels;
}

int64_t TargetsOf(const ArrayFile& array) {  // k
  return array.shape().size() == 1 ? 1 : array.shape()[1];
}

/// [N, k] float32 or float64.
at::Tensor ReadTargets(ArrayFile& array) {
  return ReadInputs(array).view({array.shape().front(), TargetsOf(array)});
}

/// Error where a label is below 0, or not below `classes`.
void CheckRange(const ArrayFile& array, const at::Tensor& labels, int64_t classes) {
  const int64_t* label = labels.data_ptr<int64_t>();
  for (int64_t i = 0; i < labels.numel(); ++i) {
    if (0 <= label[i] && label[i] < classes) continue;
    array.file().Refuse(
        "found the label " + std::to_string(label[i]) + " at [" + std::to_string(i) +
            "], expected 0 to " + std::to_string(classes - 1),
        "Labels count from 0. data.classes says how many classes there are; without it there are "
        "as many as the training files have labels for.");
  }
}

/// Images that have their channels last, which would be taken for rows.
bool HasChannelsLast(const std::vector<int64_t>& shape) {
  return shape.size() == 4 && shape[3] <= 4 && shape[1] > 4 && shape[2] > 4;
}

void AddRecord(const DataFile& file, std::vector<FileRecord>& records) {
  const auto is_it = [&](const FileRecord& record) { return record.path == file.path().string(); };
  if (std::ranges::none_of(records, is_it)) records.push_back(file.Record());
}

class Arrays final : public FileDataset {
 public:
  Arrays()
      : FileDataset({.name = "arrays",
                     .folders = {"data/arrays"},
                     .train = {Spelled("train", "inputs"), Spelled("train", "labels")},
                     .test = {Spelled("test", "inputs"), Spelled("test", "labels")},
                     .part = {"inputs", "labels"},
                     .published = false}) {}

  at::ScalarType InputType() const override { return KeptType(First().type()); }
  at::ScalarType LabelType() const override {
    return has_targets() ? KeptType(FirstLabels().type()) : at::kLong;
  }

  DataShape Shape(const std::string& path) const override {
    const DataShape shape = FileDataset::Shape(path);
    CheckNormalize(normalize(), InputType(), path + ".normalize");
    if (!classes_ || !shape.has_targets) return shape;
    throw Error(ErrorKind::kConfig, path + ".classes",
                "given, but the labels are floating-point numbers, which are targets",
                "Leave it out; or, if they are classes, write them as integers: "
                "y.astype(\"int64\").");
  }

 private:
  static Spellings Spelled(const std::string& split, const std::string& array) {
    return {split + "_" + array + ".npy", split + ".npz:" + array, split + ".safetensors:" + array};
  }

  void OwnFields(FieldVisitor& visitor) override {
    FileDataset::OwnFields(visitor);
    visitor.Visit({.name = "classes",
                   .help = "number of classes; left out: one more than the largest label of the "
                           "training files. With targets: always left out",
                   .min = 2,
                   .max = 1e9},
                  classes_);
  }

  fs::path FileOf(const fs::path& named) const override { return ArrayPlace(named).file; }

  /// The inputs of the first training file, which tell shape and type of all.
  ArrayFile First() const { return {TrainFiles().front(), TrainHint()}; }
  /// Its labels, which tell whether they are classes or targets, and how many an example has.
  ArrayFile FirstLabels() const { return {TrainFiles()[1], TrainHint()}; }

  bool has_targets() const override { return !FirstLabels().HoldsIntegers(); }

  std::vector<int64_t> shape() const override {
    const ArrayFile first = First();
    CheckInputs(first);
    return {first.shape().begin() + 1, first.shape().end()};
  }

  int64_t classes() const override {
    if (has_targets()) {
      const ArrayFile targets = FirstLabels();
      CheckTargets(targets, First());
      return TargetsOf(targets);
    }
    if (classes_) return *classes_;
    const std::vector<fs::path> files = TrainFiles();
    int64_t most = 0;
    int64_t count = 0;
    for (size_t i = 0; i < files.size(); i += 2) {
      const ArrayFile inputs(files[i], TrainHint());
      ArrayFile labels(files[i + 1], TrainHint());
      CheckInputs(inputs);
      CheckLabels(labels, inputs);
      CheckLabelsLikeFirst(labels);
      const at::Tensor found = ReadLabels(labels);
      count += found.numel();
      most = std::max(most, found.max().item<int64_t>());
    }
    if (most >= std::max<int64_t>(count, 2)) {
      throw Error(ErrorKind::kData, "data.classes",
                  "the largest label of the training files is " + std::to_string(most) +
                      ", but they have no more than " + std::to_string(count) + " examples",
                  "Labels count from 0. If there are so many classes, say so here.");
    }
    return std::max<int64_t>(most + 1, 2);
  }

  // Of headers only: the numbers are checked when they are read.
  int64_t CountPart(Files files) const override {
    const ArrayFile inputs(files[0], "");
    const ArrayFile labels(files[1], "");
    CheckInputs(inputs);
    CheckLabels(labels, inputs);
    return inputs.shape().front();
  }

  Split ReadPart(Files files, const std::string& hint, LoadedData& data) const override {
    ArrayFile inputs(files[0], hint);
    ArrayFile labels(files[1], hint);
    CheckInputs(inputs);
    CheckLabels(labels, inputs);
    CheckLikeFirst(inputs);
    CheckLabelsLikeFirst(labels);
    if (data.files.empty() && HasChannelsLast(inputs.shape())) {
      data.warnings.push_back(files[0].string() + ": examples of shape " + ShapeText(shape()) +
                              " look like images with their channels last; here channels come "
                              "first: numpy.moveaxis(x, -1, 1)");
    }
    AddRecord(inputs.file(), data.files);
    AddRecord(labels.file(), data.files);
    if (has_targets()) return {ReadInputs(inputs), ReadTargets(labels)};
    const Split part{ReadInputs(inputs), ReadLabels(labels)};
    CheckRange(labels, part.labels, classes());
    return part;
  }

  void CheckLikeFirst(const ArrayFile& inputs) const {
    const ArrayFile first = First();
    if (inputs.type() == first.type() &&
        std::equal(inputs.shape().begin() + 1, inputs.shape().end(), first.shape().begin() + 1,
                   first.shape().end())) {
      return;
    }
    inputs.file().Refuse("found " + inputs.type_name() + " " + ShapeText(inputs.shape()) +
                             ", expected examples like those of the first training file: " +
                             first.type_name() + " " + ShapeText(first.shape()),
                         "All files of a set have one type and one shape of examples.");
  }

  void CheckLabelsLikeFirst(const ArrayFile& labels) const {
    const ArrayFile first = FirstLabels();
    const bool targets = !first.HoldsIntegers();
    if (labels.HoldsIntegers() != targets && (!targets || TargetsOf(labels) == TargetsOf(first))) {
      return;
    }
    labels.file().Refuse("found labels of type " + labels.type_name() + " " +
                             ShapeText(labels.shape()) + ", expected " +
                             (targets ? "targets like those of the first training file: " +
                                            first.type_name() + " " + ShapeText(first.shape())
                                      : "integers"),
                         targets ? "All files of a set have as many targets an example: "
                                   "y.astype(\"float64\") makes targets of integers."
                                 : "Write them anew: y.astype(\"int64\").");
  }

  std::optional<int64_t> classes_;
};

const Registration<Dataset, Arrays> kArrays(
    "arrays",
    "arrays of your own: inputs of any shape, and labels or (floating-point numbers) targets, in "
    ".npy, .npz (FILE.npz:NAME) or safetensors files (FILE.safetensors:NAME)");

}  // namespace
}  // namespace sgdscope
