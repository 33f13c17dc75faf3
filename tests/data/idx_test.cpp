#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/data/data_files.h"
#include "tests/expect_error.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPixels = 28 * 28;
const std::vector<int> kTrainLabels = {3, 0, 9, 1, 4};
const std::vector<int> kTestLabels = {7, 2};

// A folder with 5 training and 2 test examples under the usual names, plain.
class IdxFiles : public ::testing::Test {
 protected:
  IdxFiles() {
    Write("train-images-idx3-ubyte", IdxImages(5));
    Write("train-labels-idx1-ubyte", IdxLabels(kTrainLabels));
    Write("t10k-images-idx3-ubyte", IdxImages(2, 5));
    Write("t10k-labels-idx1-ubyte", IdxLabels(kTestLabels));
  }

  void Write(const std::string& name, const std::string& bytes) {
    WriteBytes(folder_ / name, bytes);
  }
  Choice<Dataset> Make(Json fields = Json::object()) {
    fields["path"] = folder_.path().string();
    return MakeDataset("mnist", fields);
  }
  LoadedData Load(const Json& fields = Json::object()) { return Make(fields)->Load(0); }

  TempFolder folder_;
};

void ExpectExamples(const Split& split, int64_t first, const std::vector<int>& labels) {
  const auto count = static_cast<int64_t>(labels.size());
  ASSERT_EQ(split.inputs.sizes().vec(), (std::vector<int64_t>{count, 1, 28, 28}));
  ASSERT_EQ(split.inputs.scalar_type(), at::kByte);
  ASSERT_EQ(split.labels.scalar_type(), at::kLong);
  ASSERT_EQ(split.size(), count);
  const uint8_t* pixel = split.inputs.data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i) {
    EXPECT_EQ(split.labels[i].item<int64_t>(), labels[i]);
    for (int64_t j = 0; j < kPixels; ++j) {
      ASSERT_EQ(*pixel++, static_cast<uint8_t>(Pixel(first + i, j))) << i << " " << j;
    }
  }
}

TEST_F(IdxFiles, PlainFilesByUsualNames) {
  const LoadedData data = Load();
  ExpectExamples(data.train, 0, kTrainLabels);
  ExpectExamples(data.test, 5, kTestLabels);
}

TEST_F(IdxFiles, ShapeComesFromTheHeaders) {
  const DataShape shape = Make()->Shape("data");
  EXPECT_EQ(shape.train_size, 5);
  EXPECT_EQ(shape.test_size, 2);
  EXPECT_EQ(shape.shape, (std::vector<int64_t>{1, 28, 28}));
  EXPECT_EQ(shape.classes, 10);
}

TEST_F(IdxFiles, RecordsFilesAsTheyLieOnDisk) {
  const std::string packed = Gzip(IdxLabels(kTrainLabels));
  fs::remove(folder_ / "train-labels-idx1-ubyte");
  Write("train-labels-idx1-ubyte.gz", packed);
  const LoadedData data = Load();
  ASSERT_EQ(data.files.size(), 4u);
  EXPECT_EQ(data.files[1].path, (folder_ / "train-labels-idx1-ubyte.gz").string());
  EXPECT_EQ(data.files[1].bytes, static_cast<int64_t>(packed.size()));
  const auto* bytes = reinterpret_cast<const Bytef*>(packed.data());
  const auto crc = crc32(crc32(0, nullptr, 0), bytes, static_cast<uInt>(packed.size()));
  EXPECT_EQ(std::stoul(data.files[1].crc32, nullptr, 16), crc);
  EXPECT_EQ(data.files[1].crc32.size(), 8u);
}

TEST_F(IdxFiles, GzipIsToldByContentNotByName) {
  Write("train-images-idx3-ubyte", Gzip(IdxImages(5)));
  fs::rename(folder_ / "t10k-images-idx3-ubyte", folder_ / "t10k-images-idx3-ubyte.gz");
  const LoadedData data = Load();
  ExpectExamples(data.train, 0, kTrainLabels);
  ExpectExamples(data.test, 5, kTestLabels);
}

// As bgzip, pigz and `cat a.gz b.gz` make them.
TEST_F(IdxFiles, GzipOfSeveralMembersIsReadAsGunzipDoes) {
  const std::string images = IdxImages(5);
  const std::string two = Gzip(images.substr(0, 1000)) + Gzip(images.substr(1000));
  const std::string header = Gzip(images.substr(0, 16)) + Gzip(images.substr(16));
  std::string many;
  for (size_t begin = 0; begin < images.size(); begin += 100) {
    many += Gzip(images.substr(begin, 100)) + Gzip("");
  }
  for (const std::string& packed : {two, header, many, Gzip("") + Gzip(images),
                                    two + std::string(512, '\0'), Gzip(images) + '\0'}) {
    Write("train-images-idx3-ubyte", packed);
    EXPECT_EQ(Make()->Shape("data").train_size, 5);
    ExpectExamples(Load().train, 0, kTrainLabels);
  }
}

TEST_F(IdxFiles, FaultsOfLaterMembersAreErrors) {
  const std::string images = IdxImages(5);
  const std::string first = Gzip(images.substr(0, 1000));
  const std::string second = Gzip(images.substr(1000));
  const std::string begin = "offset " + std::to_string(first.size()) + " of the gzip file";
  const std::string end = std::to_string(first.size() + second.size());
  std::string damaged = second;
  damaged[damaged.size() - 8] = static_cast<char>(~damaged[damaged.size() - 8]);
  const auto refuse = [&](const std::string& packed, const std::vector<std::string>& parts) {
    Write("train-images-idx3-ubyte", packed);
    ExpectError(ErrorKind::kData, parts, [&] { Load(); });
  };
  refuse(first, {"offset 1000 of the unpacked content", "2936 more bytes"});
  refuse(first + second.substr(0, second.size() / 2), {"end of the file (truncated?)"});
  refuse(first + second.substr(0, second.size() - 4), {"end of the file (truncated?)"});
  refuse(first + second.substr(0, 5), {"end of the file (truncated?)"});
  refuse(first + damaged, {"incorrect data check"});
  refuse(first + '\0' + second, {"offset 1000 of the unpacked content", "2936 more bytes"});
  refuse(first + second + first, {"offset 3936 of the unpacked content", "more bytes"});
  refuse(first + second + "abc", {"offset " + end + " of the gzip file", "3 bytes behind it"});
  refuse(first + second + std::string(4, '\0') + "a", {"5 bytes behind it"});
}

// Else a check of the number would speak first, with advice for a number that is wrong.
TEST_F(IdxFiles, TheNumberInFilesThatAreNotSoundCountsAsUnknown) {
  const auto count = [&](const std::string& name, const std::string& bytes,
                         const std::string& good) {
    Write(name, bytes);
    const int64_t found = Make()->Shape("data").train_size;
    EXPECT_EQ(Make({{"train_limit", 3}})->Shape("data").train_size, 3);
    ExpectError(ErrorKind::kData, {name}, [&] { Load({{"train_limit", 6}}); });
    Write(name, good);
    return found;
  };
  const std::string labels = IdxLabels(kTrainLabels);
  const std::string images = IdxImages(5);
  const std::string four = IdxLabels({1, 2, 3, 4});
  EXPECT_EQ(count("train-labels-idx1-ubyte", four, labels), 0);
  EXPECT_EQ(count("train-labels-idx1-ubyte", Gzip(four), labels), 0);
  EXPECT_EQ(count("train-labels-idx1-ubyte", labels.substr(0, 12), labels), 0);
  EXPECT_EQ(count("train-labels-idx1-ubyte", IdxLabels({1, 2, 3, 10, 4}), labels), 0);
  EXPECT_EQ(count("train-images-idx3-ubyte", IdxImages(6), images), 0);
  EXPECT_EQ(count("train-images-idx3-ubyte", images.substr(0, 3000), images), 0);
  EXPECT_EQ(count("train-images-idx3-ubyte", labels, images), 0);
  EXPECT_EQ(Make()->Shape("data").train_size, 5);
}

/// Files of one set under the name of the other, as far as the published ones are here.
TEST(PublishedIdxFiles, AreWarnedOfUnderAnotherName) {
  const std::string folder = "/usr/share/datasets/fashion-mnist";  // Debian's package
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const auto warnings = [&](const std::string& name, const Json& more = Json::object()) {
    Json fields = {{"path", folder}};
    fields.update(more);
    return MakeDataset(name, fields)->Load(0).warnings;
  };
  EXPECT_TRUE(warnings("fashion_mnist").empty());
  for (const Json& limits : {Json::object(), Json{{"train_limit", 10}}}) {
    const auto told = warnings("mnist", limits);
    ASSERT_EQ(told.size(), 2u);
    EXPECT_NE(told[0].find(folder + "/train-images"), std::string::npos) << told[0];
    EXPECT_NE(told[1].find(folder + "/t10k-images"), std::string::npos) << told[1];
    EXPECT_NE(told[0].find("images of fashion_mnist"), std::string::npos) << told[0];
  }
}

TEST_F(IdxFiles, ASplitLeavesTheTestFilesAlone) {
  const LoadedData data = Load({{"split", {{"share", 0.4}}}});
  EXPECT_EQ(data.train.size(), 3);
  EXPECT_EQ(data.test.size(), 2);
  EXPECT_EQ(data.files.size(), 2u);
  EXPECT_EQ(Make({{"split", {{"share", 0.4}}}})->Shape("data").train_size, 3);
}

TEST_F(IdxFiles, DottedNames) {
  fs::rename(folder_ / "train-images-idx3-ubyte", folder_ / "train-images.idx3-ubyte");
  Write("t10k-labels.idx1-ubyte.gz", Gzip(IdxLabels(kTestLabels)));
  fs::remove(folder_ / "t10k-labels-idx1-ubyte");
  const LoadedData data = Load();
  ExpectExamples(data.train, 0, kTrainLabels);
  ExpectExamples(data.test, 5, kTestLabels);
}

TEST_F(IdxFiles, ListedFilesAreJoinedInOrder) {
  Write("a", IdxImages(2, 50));
  Write("b", IdxLabels({8, 6}));
  const Json fields = {
      {"train_files", {"a", "b", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"}}};
  const LoadedData data = Load(fields);
  ASSERT_EQ(data.train.size(), 7);
  EXPECT_TRUE(data.train.labels.equal(at::tensor({8, 6, 3, 0, 9, 1, 4}, at::kLong)));
  ExpectExamples({data.train.inputs.narrow(0, 0, 2), data.train.labels.narrow(0, 0, 2)}, 50,
                 {8, 6});
  ExpectExamples({data.train.inputs.narrow(0, 2, 5), data.train.labels.narrow(0, 2, 5)}, 0,
                 kTrainLabels);
  ExpectExamples(data.test, 5, kTestLabels);
  EXPECT_EQ(Make(fields)->Shape("data").train_size, 7);
}

TEST_F(IdxFiles, AbsoluteNamesNeedNoFolder) {
  const auto name = [&](const char* file) { return (folder_ / file).string(); };
  const Json fields = {
      {"path", "/nowhere"},
      {"train_files", {name("train-images-idx3-ubyte"), name("train-labels-idx1-ubyte")}},
      {"test_files", {name("t10k-images-idx3-ubyte"), name("t10k-labels-idx1-ubyte")}}};
  ExpectExamples(MakeDataset("mnist", fields)->Load(0).train, 0, kTrainLabels);
}

TEST_F(IdxFiles, LimitsTakeTheFirstExamples) {
  const Json fields = {{"train_limit", 3}, {"test_limit", 1}};
  const LoadedData data = Load(fields);
  ExpectExamples(data.train, 0, {3, 0, 9});
  ExpectExamples(data.test, 5, {7});
  EXPECT_EQ(Make(fields)->Shape("data").train_size, 3);
  EXPECT_EQ(Make(fields)->Shape("data").test_size, 1);
}

// Any 3 of the 5, each with its own label; over many seeds every one as often.
TEST_F(IdxFiles, DrawnExamplesAreThoseOfTheSeed) {
  const auto dataset = Make({{"train_limit", 3}, {"train_draw", true}, {"test_limit", 1}});
  constexpr int kSeeds = 200;
  std::map<int64_t, int> drawn;  // by place in the files
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const LoadedData data = dataset->Load(seed);
    ExpectExamples(data.test, 5, {7});
    ASSERT_EQ(data.train.size(), 3);
    EXPECT_TRUE(at::equal(data.train.inputs, dataset->Load(seed).train.inputs));
    for (int64_t i = 0; i < 3; ++i) {
      const auto label = static_cast<int>(data.train.labels[i].item<int64_t>());
      const auto found = std::find(kTrainLabels.begin(), kTrainLabels.end(), label);
      ASSERT_NE(found, kTrainLabels.end());
      const int64_t place = found - kTrainLabels.begin();
      ExpectExamples({data.train.inputs.narrow(0, i, 1), data.train.labels.narrow(0, i, 1)}, place,
                     {label});
      ++drawn[place];
    }
  }
  // 3/5 of the seeds draw it, but for 5 standard deviations.
  const double deviation = std::sqrt(kSeeds * 0.6 * 0.4);
  for (int64_t place = 0; place < 5; ++place) {
    EXPECT_NEAR(drawn[place], kSeeds * 0.6, 5 * deviation) << place;
  }
}

TEST_F(IdxFiles, DrawingNeedsALimit) {
  const auto dataset = Make({{"train_draw", true}});
  ExpectError(ErrorKind::kConfig, {"here.train_draw", "here.train_limit"},
              [&] { dataset->Shape("here"); });
}

TEST_F(IdxFiles, LimitBeyondTheSetIsRefused) {
  const auto train = Make({{"train_limit", 6}});
  ExpectError(ErrorKind::kConfig, {"here.train_limit", "6", "5"}, [&] { train->Shape("here"); });
  ExpectError(ErrorKind::kConfig, {"data.train_limit", "6", "5"}, [&] { train->Load(0); });
  const auto test = Make({{"test_limit", 3}});
  ExpectError(ErrorKind::kConfig, {"here.test_limit", "3", "2"}, [&] { test->Shape("here"); });
  EXPECT_EQ(Make({{"train_limit", 5}})->Load(0).train.size(), 5);
}

TEST_F(IdxFiles, FilesComeInPairs) {
  const auto dataset = Make({{"train_files", {"train-images-idx3-ubyte"}}});
  ExpectError(ErrorKind::kConfig, {"data.train_files", "1 files", "images, labels"},
              [&] { dataset->Shape("data"); });
}

TEST_F(IdxFiles, MissingTestFilesAreNamed) {
  fs::remove(folder_ / "t10k-labels-idx1-ubyte");
  ExpectError(ErrorKind::kData,
              {folder_.path().string(), "test file of mnist is missing",
               "t10k-labels-idx1-ubyte.gz", "scripts/download_data.sh mnist", "data.test_files"},
              [&] { Load(); });
  EXPECT_EQ(Make()->Shape("data").test_size, 0);
  EXPECT_EQ(Make()->Shape("data").train_size, 5);
}

TEST_F(IdxFiles, MissingListedFileIsNamed) {
  ExpectError(ErrorKind::kData, {(folder_ / "nope").string(), "no such file", "data.train_files"},
              [&] { Load({{"train_files", {"nope", "train-labels-idx1-ubyte"}}}); });
}

struct BadFile {
  const char* what;
  const char* name;
  std::string bytes;
  std::vector<std::string> expected;
};

std::string With(std::string bytes, size_t offset, const std::string& replacement) {
  return bytes.replace(offset, replacement.size(), replacement);
}

TEST_F(IdxFiles, BadFilesAreErrorsThatNameOffsetFoundAndExpected) {
  const char* images = "train-images-idx3-ubyte";
  const char* labels = "train-labels-idx1-ubyte";
  const std::string good = IdxImages(5);
  const std::string good_labels = IdxLabels(kTrainLabels);
  const std::string packed = Gzip(good);
  const std::vector<BadFile> cases = {
      {"empty", images, "", {"offset 0", "end of the file", "4 more bytes"}},
      {"cut in the header", images, good.substr(0, 10), {"offset 10", "2 more bytes"}},
      {"truncated", images, good.substr(0, 3000), {"offset 16", "2984 bytes", "3920 bytes"}},
      {"oversized", images, good + "xyz", {"offset 3936", "3 more bytes", "end of the file"}},
      {"wrong magic", images, With(good, 2, "\x0d"), {"offset 0", "0x00000d03", "0x00000803"}},
      {"labels as images",
       images,
       good_labels,
       {"offset 0", "0x00000801 (IDX labels)", "(IDX images)"}},
      {"images as labels", labels, good, {"offset 0", "0x00000803 (IDX images)", "(IDX labels)"}},
      {"rows", images, With(good, 8, BigEndian(32)), {"offset 8", "32 rows", "28"}},
      {"columns", images, With(good, 12, BigEndian(1)), {"offset 12", "1 columns", "28"}},
      {"absurd count",
       images,
       With(good, 4, BigEndian(0xffffffff)),
       {"offset 16", "3920 bytes", "3367254359280 bytes"}},
      {"no examples", images, IdxImages(0), {"offset 4", "0 examples"}},
      {"fewer labels", labels, IdxLabels({1, 2, 3, 4}), {"offset 4", "4 labels", "5", images}},
      {"label out of range",
       labels,
       IdxLabels({1, 2, 3, 10, 4}),
       {"offset 11", "label 10", "0 to 9"}},
      {"labels truncated", labels, good_labels.substr(0, 11), {"offset 8", "3 bytes", "5 bytes"}},
      {"gzip: cut",
       images,
       packed.substr(0, packed.size() / 2),
       {"of the gzip file", "end of the file"}},
      {"gzip: checksum",
       images,
       With(packed, packed.size() - 8, {static_cast<char>(~packed[packed.size() - 8])}),
       {"of the gzip file", "incorrect data check"}},
      {"gzip: length",
       images,
       With(packed, packed.size() - 1, "\x7f"),
       {"of the gzip file", "incorrect length check"}},
      {"gzip: flipped",
       images,
       With(packed, packed.size() / 2, "\xff\xff\xff\xff\xff\xff"),
       {"of the gzip file"}},
      {"gzip: header",
       images,
       With(packed, 2, "\x07"),
       {"of the gzip file", "unknown compression"}},
      {"gzip: bytes behind", images, packed + "abc", {"of the gzip file", "3 bytes behind it"}},
      {"gzip: truncated inside",
       images,
       Gzip(good.substr(0, 3000)),
       {"offset 3000 of the unpacked content", "end of the file", "936 more bytes"}},
      {"gzip: oversized inside",
       images,
       Gzip(good + "x"),
       {"offset 3936 of the unpacked content", "more bytes"}},
      {"gzip: absurd count",
       images,
       Gzip(With(good, 4, BigEndian(0xffffffff))),
       {"offset 16 of the unpacked content", "3367254359280 bytes"}},
  };
  for (const BadFile& bad : cases) {
    SCOPED_TRACE(bad.what);
    Write(images, good);
    Write(labels, good_labels);
    Write(bad.name, bad.bytes);
    std::vector<std::string> expected = bad.expected;
    expected.push_back((folder_ / bad.name).string());
    expected.push_back("expected");
    expected.push_back("scripts/download_data.sh mnist");
    ExpectError(ErrorKind::kData, expected, [&] { Load(); });
  }
}

TEST_F(IdxFiles, HintOfANamedFileIsItsField) {
  Write("cut", IdxImages(5).substr(0, 99));
  ExpectError(ErrorKind::kData, {"cut", "Check data.train_files"},
              [&] { Load({{"train_files", {"cut", "train-labels-idx1-ubyte"}}}); });
}

// Packs `content` and so many MiB of zeros behind it, fast: the packed MiB is repeated.
std::string Bomb(const std::string& content, int mebibytes) {
  const std::string zeros(1 << 20, '\0');
  std::string packed(content.size() + 8192, '\0');
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const auto pack = [&](const std::string& bytes) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    deflate(&stream, Z_FULL_FLUSH);  // what follows doesn't depend on what came before
    return stream.total_out;
  };
  const size_t front = pack(content);
  const size_t end = pack(zeros);
  deflateEnd(&stream);
  const std::string mebibyte = packed.substr(front, end - front);
  packed.resize(front);
  for (int i = 0; i < mebibytes; ++i) packed += mebibyte;
  return packed;
}

TEST_F(IdxFiles, DecompressionBombIsNotUnpacked) {
  const std::string bomb = Bomb(IdxImages(5), 4096);
  ASSERT_LT(bomb.size(), 8u << 20);
  Write("train-images-idx3-ubyte", bomb);
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  ExpectError(ErrorKind::kData, {"offset 3936", "more bytes"}, [&] { Load(); });
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 << 10);  // in KiB
}

TEST(Idx, ResolveSettlesTheUsualFolder) {
  for (const std::string name : {"mnist", "fashion_mnist"}) {
    const Choice<Dataset> dataset = MakeDataset(name, Json::object());
    dataset->Resolve();
    const Json resolved = WriteFields([&](FieldVisitor& visitor) { dataset->Fields(visitor); });
    const std::string path = resolved.at("path");
    EXPECT_TRUE(path == "data/" + name || fs::exists(path)) << path;
  }
}

TEST(Idx, FashionMnistFromDebiansPackage) {
  const std::string folder = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(folder)) GTEST_SKIP() << "package dataset-fashion-mnist is not installed";
  // Read where it lies, whatever data/fashion_mnist holds.
  const LoadedData data = MakeDataset("fashion_mnist", {{"path", folder}})->Load(0);
  ASSERT_EQ(data.train.size(), 60000);
  ASSERT_EQ(data.test.size(), 10000);
  EXPECT_TRUE(at::bincount(data.train.labels).equal(at::full({10}, 6000, at::kLong)));
  EXPECT_TRUE(at::bincount(data.test.labels).equal(at::full({10}, 1000, at::kLong)));
  EXPECT_TRUE(
      data.train.labels.narrow(0, 0, 8).equal(at::tensor({9, 0, 0, 3, 0, 2, 7, 2}, at::kLong)));
  EXPECT_TRUE(
      data.test.labels.narrow(0, 0, 8).equal(at::tensor({9, 2, 1, 1, 6, 1, 4, 6}, at::kLong)));
  // Published mean of the training images: 0.2860 (torchvision and others).
  EXPECT_NEAR(data.train.inputs.sum().item<int64_t>() / (60000.0 * kPixels * 255), 0.2860, 5e-5);
}

}  // namespace
}  // namespace sgdscope
