#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "config/registry.h"
#include "core/crc32.h"
#include "data/byte_reader.h"
#include "data/file_dataset.h"

// The IDX format of yann.lecun.com/exdb/mnist: a big-endian magic number (0, 0, type 8 = unsigned
// byte, number of dimensions), the dimensions as big-endian 32-bit numbers, the bytes.

namespace sgdscope {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;
constexpr int64_t kSide = 28;
constexpr int64_t kClasses = 10;

// How the published files of images begin.
constexpr int64_t kTold = 1000;  // images by which a file is told
struct Published {
  const char* set;
  const char* checksum;  // of the pixels of so many images
};
constexpr Published kPublished[] = {{"mnist", "edb3d0b3"},           // train-images
                                    {"mnist", "87ab9190"},           // t10k-images
                                    {"fashion_mnist", "f08e3d03"},   // train-images
                                    {"fashion_mnist", "c03b4346"}};  // t10k-images

/// The set that has published these images; "" if it is none of those above.
std::string PublisherOf(const at::Tensor& images) {
  if (images.size(0) < kTold) return "";
  Crc32 checksum;
  checksum.Add({reinterpret_cast<const char*>(images.data_ptr<uint8_t>()),
                static_cast<size_t>(kTold * kSide * kSide)});
  for (const Published& file : kPublished) {
    if (checksum.Hex() == file.checksum) return file.set;
  }
  return "";
}

uint32_t ReadNumber(ByteReader& reader) {
  uint8_t bytes[4];
  reader.Read(bytes, 4);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

std::string NameOf(uint32_t magic) {
  char hex[11];
  std::snprintf(hex, sizeof(hex), "0x%08x", magic);
  if (magic == kImagesMagic) return std::string(hex) + " (IDX images)";
  if (magic == kLabelsMagic) return std::string(hex) + " (IDX labels)";
  return hex;
}

// Reads the magic number and the number of examples.
int64_t ReadCount(ByteReader& reader, uint32_t expected_magic) {
  const uint32_t magic = ReadNumber(reader);
  if (magic != expected_magic) {
    reader.Fail(0, "magic number " + NameOf(magic), NameOf(expected_magic));
  }
  const int64_t count = ReadNumber(reader);
  if (count == 0) reader.Fail(4, "0 examples", "at least one");
  return count;
}

void ExpectSide(ByteReader& reader, int64_t offset, const char* what) {
  const int64_t found = ReadNumber(reader);
  if (found == kSide) return;
  reader.Fail(offset, std::to_string(found) + " " + what, std::to_string(kSide));
}

// The rest of the file, which must be as long as `shape` says.
at::Tensor ReadBytes(ByteReader& reader, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;  // at most 2^32 * 28 * 28: no overflow
  reader.RequireRoomFor(count);
  at::Tensor bytes = at::empty(shape, at::kByte);
  reader.Read(bytes.data_ptr<uint8_t>(), count);
  reader.ExpectEnd();
  return bytes;
}

// Reads the header of a file of images; gives their number.
int64_t ReadImagesHeader(ByteReader& reader) {
  const int64_t count = ReadCount(reader, kImagesMagic);
  ExpectSide(reader, 8, "rows");
  ExpectSide(reader, 12, "columns");
  return count;
}

void CheckLabels(const ByteReader& reader, const at::Tensor& labels) {
  const uint8_t* label = labels.data_ptr<uint8_t>();
  for (int64_t i = 0; i < labels.numel(); ++i) {
    if (label[i] < kClasses) continue;
    reader.Fail(8 + i, "label " + std::to_string(label[i]), "0 to " + std::to_string(kClasses - 1));
  }
}

// Reads the file of labels that belongs to `count` images: [count], bytes.
at::Tensor ReadLabels(ByteReader& reader, int64_t count, const std::filesystem::path& images) {
  const int64_t labelled = ReadCount(reader, kLabelsMagic);
  if (labelled != count) {
    reader.Fail(4, std::to_string(labelled) + " labels",
                std::to_string(count) + ", as many as images in " + images.string());
  }
  at::Tensor labels = ReadBytes(reader, {count});
  CheckLabels(reader, labels);
  return labels;
}

class Idx : public FileDataset {
 protected:
  Idx(const std::string& name, std::vector<std::filesystem::path> folders)
      : FileDataset({.name = name,
                     .folders = std::move(folders),
                     .train = {Spelled("train-images", "idx3"), Spelled("train-labels", "idx1")},
                     .test = {Spelled("t10k-images", "idx3"), Spelled("t10k-labels", "idx1")},
                     .part = {"images", "labels"}}),
        name_(name) {}

 private:
  static Spellings Spelled(const std::string& stem, const std::string& format) {
    const std::string dashed = stem + "-" + format + "-ubyte";
    const std::string dotted = stem + "." + format + "-ubyte";
    return {dashed, dashed + ".gz", dotted, dotted + ".gz"};
  }

  Split ReadPart(Files files, const std::string& hint, LoadedData& data) const override {
    ByteReader images(files[0], hint);
    data.files.push_back(images.record());
    const int64_t count = ReadImagesHeader(images);
    const at::Tensor inputs = ReadBytes(images, {count, 1, kSide, kSide});
    const std::string publisher = PublisherOf(inputs);
    if (!publisher.empty() && publisher != name_) {
      data.warnings.push_back(files[0].string() + ": these are images of " + publisher +
                              ", but the data set is called " + name_ + " in the config");
    }

    ByteReader labels(files[1], hint);
    data.files.push_back(labels.record());
    return {inputs, ReadLabels(labels, count, files[0]).to(at::kLong)};
  }

  // From the images' header; the labels are read, since that file is a small one.
  int64_t CountPart(Files files) const override {
    ByteReader images = ByteReader::OfHeader(files[0]);
    const int64_t count = ReadImagesHeader(images);
    images.RequireRoomFor(count * kSide * kSide);
    ByteReader labels(files[1], "");
    ReadLabels(labels, count, files[0]);
    return count;
  }

  std::vector<int64_t> shape() const override { return {1, kSide, kSide}; }
  int64_t classes() const override { return kClasses; }

  std::string name_;
};

class Mnist final : public Idx {
 public:
  Mnist() : Idx("mnist", {"data/mnist"}) {}
};

class FashionMnist final : public Idx {
 public:
  // The second folder is that of Debian's package dataset-fashion-mnist.
  FashionMnist()
      : Idx("fashion_mnist", {"data/fashion_mnist", "/usr/share/datasets/fashion-mnist"}) {}
};

const Registration<Dataset, Mnist> kMnist("mnist", "handwritten digits, 28x28 grey, 10 classes");
const Registration<Dataset, FashionMnist> kFashionMnist("fashion_mnist",
                                                        "articles of clothing, 28x28 grey, "
                                                        "10 classes");

}  // namespace
}  // namespace sgdscope
