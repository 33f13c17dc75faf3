#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "config/registry.h"
#include "core/error.h"
#include "core/files.h"
#include "data/byte_reader.h"
#include "data/file_dataset.h"

// The binary version of www.cs.toronto.edu/~kriz/cifar.html: records of one label byte (CIFAR-100:
// a coarse and a fine one), then 32 x 32 bytes of red, green, blue. No header: that a file was cut
// between two records shows only in the published files, whose numbers of records are known.

namespace sgdscope {
namespace {

constexpr int64_t kSide = 32;
constexpr int64_t kChannels = 3;
constexpr int64_t kPixels = kChannels * kSide * kSide;

class Cifar : public FileDataset {
 protected:
  /// `label_counts`: how many classes each label byte of a record has; `published`: how many
  /// records the files of each name have.
  Cifar(Usual usual, std::vector<int64_t> label_counts, std::map<std::string, int64_t> published)
      : FileDataset(std::move(usual)),
        label_counts_(std::move(label_counts)),
        published_(std::move(published)) {}

  /// Which label byte is the class.
  virtual int64_t chosen_label() const = 0;

 private:
  int64_t label_bytes() const { return static_cast<int64_t>(label_counts_.size()); }
  int64_t record_size() const { return label_bytes() + kPixels; }

  Split ReadPart(Files files, const std::string& hint, LoadedData& data) const override {
    const std::string content = ReadFile(files[0]);
    data.files.push_back(RecordOf(files[0], content));
    const auto size = static_cast<int64_t>(content.size());
    CheckSize(size, files[0], hint);
    const int64_t count = size / record_size();
    Split part{at::empty({count, kChannels, kSide, kSide}, at::kByte),
               at::empty({count}, at::kLong)};
    const auto* record = reinterpret_cast<const uint8_t*>(content.data());
    uint8_t* image = part.inputs.data_ptr<uint8_t>();
    int64_t* label = part.labels.data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i, record += record_size(), image += kPixels) {
      CheckLabels(record, files[0].string(), i * record_size(), hint);
      label[i] = record[chosen_label()];
      std::memcpy(image, record + label_bytes(), kPixels);
    }
    return part;
  }

  void CheckSize(int64_t size, const std::filesystem::path& file, const std::string& hint) const {
    const int64_t rest = size % record_size();
    if (size == 0 || rest != 0) {
      throw Error(ErrorKind::kData, file.string() + ": offset " + std::to_string(size - rest),
                  "found " + std::to_string(rest) + " bytes and the end of the file, expected " +
                      "records of " + std::to_string(record_size()) +
                      " bytes (truncated, oversized, or not the binary version?)",
                  hint);
    }
    const auto published = published_.find(file.filename().string());
    if (published == published_.end() || size / record_size() == published->second) return;
    throw Error(ErrorKind::kData, file.string(),
                "found " + std::to_string(size / record_size()) + " records, expected the " +
                    std::to_string(published->second) + " of the published file of this name",
                hint +
                    " Files of your own need other names, in data.train_files and "
                    "data.test_files.");
  }

  void CheckLabels(const uint8_t* record, const std::string& file, int64_t offset,
                   const std::string& hint) const {
    for (int64_t j = 0; j < label_bytes(); ++j) {
      if (record[j] < label_counts_[j]) continue;
      throw Error(ErrorKind::kData, file + ": offset " + std::to_string(offset + j),
                  "found label " + std::to_string(record[j]) + ", expected 0 to " +
                      std::to_string(label_counts_[j] - 1),
                  hint);
    }
  }

  int64_t CountPart(Files files) const override {
    std::error_code unreadable;
    const auto size = static_cast<int64_t>(std::filesystem::file_size(files[0], unreadable));
    CheckSize(unreadable ? 0 : size, files[0], "");
    return size / record_size();
  }

  std::vector<int64_t> shape() const override { return {kChannels, kSide, kSide}; }
  int64_t classes() const override { return label_counts_[chosen_label()]; }

  std::vector<int64_t> label_counts_;
  std::map<std::string, int64_t> published_;
};

class Cifar10 final : public Cifar {
 public:
  Cifar10()
      : Cifar({.name = "cifar10",
               .folders = {"data/cifar10"},
               .train = {{"data_batch_1.bin"},
                         {"data_batch_2.bin"},
                         {"data_batch_3.bin"},
                         {"data_batch_4.bin"},
                         {"data_batch_5.bin"}},
               .test = {{"test_batch.bin"}},
               .part = {"images and labels"}},
              {10},
              {{"data_batch_1.bin", 10'000},
               {"data_batch_2.bin", 10'000},
               {"data_batch_3.bin", 10'000},
               {"data_batch_4.bin", 10'000},
               {"data_batch_5.bin", 10'000},
               {"test_batch.bin", 10'000}}) {}

 private:
  int64_t chosen_label() const override { return 0; }
};

class Cifar100 final : public Cifar {
 public:
  Cifar100()
      : Cifar({.name = "cifar100",
               .folders = {"data/cifar100"},
               .train = {{"train.bin"}},
               .test = {{"test.bin"}},
               .part = {"images and labels"}},
              {20, 100}, {{"train.bin", 50'000}, {"test.bin", 10'000}}) {}

 private:
  void OwnFields(FieldVisitor& visitor) override {
    Cifar::OwnFields(visitor);
    visitor.Visit({.name = "labels",
                   .help = "the 100 classes or the 20 groups that they form",
                   .allowed = {"fine", "coarse"}},
                  labels_);
  }

  int64_t chosen_label() const override { return labels_ == "coarse" ? 0 : 1; }

  std::string labels_ = "fine";
};

const Registration<Dataset, Cifar10> kCifar10("cifar10", "photographs, 32x32 colour, 10 classes");
const Registration<Dataset, Cifar100> kCifar100("cifar100",
                                                "photographs, 32x32 colour, 100 or 20 classes");

}  // namespace
}  // namespace sgdscope
