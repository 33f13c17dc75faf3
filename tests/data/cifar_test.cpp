#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/data/data_files.h"
#include "tests/expect_error.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

constexpr int64_t kPixels = 3 * 32 * 32;

// CIFAR-10 with two examples a training file and one test example, in files of our own.
class Cifar10Files : public ::testing::Test {
 protected:
  Cifar10Files() {
    for (int file = 0; file < 5; ++file) {
      Write("batch_" + std::to_string(file + 1) + ".bin",
            CifarRecord({file}, 2 * file) + CifarRecord({9 - file}, 2 * file + 1));
    }
    Write("test.bin", CifarRecord({6}, 10));
  }

  void Write(const std::string& name, const std::string& bytes) {
    WriteBytes(folder_ / name, bytes);
  }
  Choice<Dataset> Make(Json fields = Json::object()) {
    if (!fields.contains("train_files")) {
      fields["train_files"] = {"batch_1.bin", "batch_2.bin", "batch_3.bin", "batch_4.bin",
                               "batch_5.bin"};
    }
    if (!fields.contains("test_files")) fields["test_files"] = {"test.bin"};
    return MakeUsual(fields);
  }
  Choice<Dataset> MakeUsual(Json fields = Json::object()) {
    fields["path"] = folder_.path().string();
    return MakeDataset("cifar10", fields);
  }

  TempFolder folder_;
};

void ExpectImages(const Split& split, int64_t first, int64_t count) {
  ASSERT_EQ(split.inputs.sizes().vec(), (std::vector<int64_t>{count, 3, 32, 32}));
  ASSERT_EQ(split.inputs.scalar_type(), at::kByte);
  const uint8_t* pixel = split.inputs.data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < kPixels; ++j) {
      ASSERT_EQ(*pixel++, static_cast<uint8_t>(Pixel(first + i, j))) << i << " " << j;
    }
  }
}

TEST_F(Cifar10Files, ReadsTheTrainingFilesInOrder) {
  const LoadedData data = Make()->Load(0);
  ExpectImages(data.train, 0, 10);
  EXPECT_TRUE(data.train.labels.equal(at::tensor({0, 9, 1, 8, 2, 7, 3, 6, 4, 5}, at::kLong)));
  ExpectImages(data.test, 10, 1);
  EXPECT_TRUE(data.test.labels.equal(at::tensor({6}, at::kLong)));
  ASSERT_EQ(data.files.size(), 6u);
  EXPECT_EQ(data.files[5].path, (folder_ / "test.bin").string());
  EXPECT_EQ(data.files[5].bytes, 3073);
}

TEST_F(Cifar10Files, ShapeComesFromTheFileSizes) {
  const DataShape shape = Make()->Shape("data");
  EXPECT_EQ(shape.train_size, 10);
  EXPECT_EQ(shape.test_size, 1);
  EXPECT_EQ(shape.shape, (std::vector<int64_t>{3, 32, 32}));
  EXPECT_EQ(shape.classes, 10);
}

// As papers do that keep the test set out of development: train on four files, test on the fifth.
TEST_F(Cifar10Files, ListedFiles) {
  const Json fields = {{"train_files", {"batch_1.bin", "batch_3.bin"}},
                       {"test_files", {"batch_5.bin"}},
                       {"train_limit", 3}};
  const LoadedData data = Make(fields)->Load(0);
  EXPECT_TRUE(data.train.labels.equal(at::tensor({0, 9, 2}, at::kLong)));
  ExpectImages(data.test, 8, 2);
}

TEST_F(Cifar10Files, MissingFileIsNamed) {
  for (const char* file : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin"}) {
    Write(file, CifarRecord({1}, 0));
  }
  ExpectError(ErrorKind::kData,
              {folder_.path().string(), "data_batch_4.bin", "scripts/download_data.sh cifar10"},
              [&] { MakeUsual()->Load(0); });
  EXPECT_EQ(MakeUsual()->Shape("data").train_size, 0);
}

// A download that ended between two records leaves whole records.
TEST_F(Cifar10Files, APublishedFileHasAllOfItsRecords) {
  for (const auto& name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                           "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"}) {
    Write(name, "");
    std::filesystem::resize_file(folder_ / name, 10'000 * 3073);
  }
  EXPECT_EQ(MakeUsual()->Shape("data").train_size, 50'000);
  for (const int64_t records : {2, 9'999, 10'001}) {
    std::filesystem::resize_file(folder_ / "data_batch_1.bin",
                                 static_cast<uintmax_t>(records * 3073));
    std::vector<std::string> expected = {(folder_ / "data_batch_1.bin").string(),
                                         std::to_string(records) + " records", "10000",
                                         "data.train_files"};
    ExpectError(ErrorKind::kData, expected,
                [&] { Make({{"train_files", {"data_batch_1.bin"}}})->Load(0); });
    EXPECT_EQ(MakeUsual()->Shape("data").train_size, 0);
    expected.push_back("scripts/download_data.sh cifar10");
    ExpectError(ErrorKind::kData, expected, [&] { MakeUsual()->Load(0); });
  }
}

// "There is no such file" would send one looking for a file that is there.
TEST_F(Cifar10Files, AFileThatCannotBeLookedAtIsNotMissing) {
  std::filesystem::remove(folder_ / "batch_2.bin");
  std::filesystem::create_symlink("batch_2.bin", folder_ / "batch_2.bin");
  std::filesystem::create_symlink("data_batch_1.bin", folder_ / "data_batch_1.bin");
  ExpectError(ErrorKind::kData, {"batch_2.bin", "cannot open", std::strerror(ELOOP)},
              [&] { Make()->Load(0); });
  EXPECT_EQ(Make()->Shape("data").train_size, 0);
  for (int i = 2; i <= 5; ++i) Write("data_batch_" + std::to_string(i) + ".bin", "");
  Write("test_batch.bin", "");
  ExpectError(ErrorKind::kData, {"data_batch_1.bin", "cannot open", std::strerror(ELOOP)},
              [&] { MakeUsual()->Load(0); });
}

TEST_F(Cifar10Files, BadFilesAreErrors) {
  const std::string good = CifarRecord({1}, 0) + CifarRecord({2}, 1);
  struct Case {
    const char* what;
    std::string bytes;
    std::vector<std::string> expected;
  };
  std::string label = good;
  label[3073] = 10;
  const std::vector<Case> cases = {
      {"empty", "", {"offset 0", "0 bytes", "3073 bytes"}},
      {"truncated", good.substr(0, 6000), {"offset 3073", "2927 bytes", "3073 bytes"}},
      {"oversized", good + "x", {"offset 6146", "1 bytes", "3073 bytes"}},
      {"label", label, {"offset 3073", "label 10", "0 to 9"}},
      {"gzip", Gzip(good).append(2 * 3073, '\0').substr(0, 3073), {"offset 0", "label 31"}},
      {"cifar100", CifarRecord({1, 50}, 0), {"offset 3073", "1 bytes"}},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.what);
    Write("batch_2.bin", bad.bytes);
    std::vector<std::string> expected = bad.expected;
    expected.push_back((folder_ / "batch_2.bin").string());
    expected.push_back("data.train_files");
    ExpectError(ErrorKind::kData, expected, [&] { Make()->Load(0); });
  }
}

// Else a check of the number would speak first, with advice for a number that is wrong.
TEST_F(Cifar10Files, TheNumberInACutFileCountsAsUnknown) {
  for (const size_t size : {size_t{0}, size_t{3072}, size_t{6145}}) {
    Write("batch_2.bin", (CifarRecord({1}, 0) + CifarRecord({2}, 1)).substr(0, size));
    EXPECT_EQ(Make()->Shape("data").train_size, 0) << size;
    ExpectError(ErrorKind::kData, {"batch_2.bin"}, [&] { Make({{"train_limit", 11}})->Load(0); });
  }
}

class Cifar100Files : public ::testing::Test {
 protected:
  Cifar100Files() {
    WriteBytes(folder_ / "own_train.bin", CifarRecord({19, 99}, 0) + CifarRecord({4, 20}, 1));
    WriteBytes(folder_ / "own_test.bin", CifarRecord({7, 55}, 2));
  }
  Choice<Dataset> Make(const std::string& labels) {
    return MakeDataset("cifar100", Fields({{"labels", labels}}));
  }

  Json Fields(Json fields = Json::object()) {
    fields["path"] = folder_.path().string();
    fields["train_files"] = {"own_train.bin"};
    fields["test_files"] = {"own_test.bin"};
    return fields;
  }

  TempFolder folder_;
};

TEST_F(Cifar100Files, FineLabelsAreTheDefault) {
  const auto dataset = MakeDataset("cifar100", Fields());
  const LoadedData data = dataset->Load(0);
  EXPECT_EQ(dataset->Shape("data").classes, 100);
  EXPECT_EQ(dataset->Shape("data").train_size, 2);
  EXPECT_TRUE(data.train.labels.equal(at::tensor({99, 20}, at::kLong)));
  ExpectImages(data.train, 0, 2);
  ExpectImages(data.test, 2, 1);
}

TEST_F(Cifar100Files, CoarseLabels) {
  const LoadedData data = Make("coarse")->Load(0);
  EXPECT_EQ(Make("coarse")->Shape("data").classes, 20);
  EXPECT_TRUE(data.train.labels.equal(at::tensor({19, 4}, at::kLong)));
  EXPECT_TRUE(data.test.labels.equal(at::tensor({7}, at::kLong)));
}

TEST_F(Cifar100Files, APublishedFileHasAllOfItsRecords) {
  WriteBytes(folder_ / "train.bin", CifarRecord({1, 2}, 0));
  WriteBytes(folder_ / "test.bin", CifarRecord({1, 2}, 0));
  const auto dataset = MakeDataset("cifar100", {{"path", folder_.path().string()}});
  ExpectError(ErrorKind::kData, {"train.bin", "1 records", "50000"}, [&] { dataset->Load(0); });
}

TEST_F(Cifar100Files, BothLabelsAreChecked) {
  for (const std::string labels : {"fine", "coarse"}) {
    WriteBytes(folder_ / "own_train.bin", CifarRecord({0, 0}, 0) + CifarRecord({20, 1}, 1));
    ExpectError(ErrorKind::kData, {"own_train.bin", "offset 3074", "label 20", "0 to 19"},
                [&] { Make(labels)->Load(0); });
    WriteBytes(folder_ / "own_train.bin", CifarRecord({0, 100}, 0));
    ExpectError(ErrorKind::kData, {"own_train.bin", "offset 1", "label 100", "0 to 99"},
                [&] { Make(labels)->Load(0); });
  }
}

}  // namespace
}  // namespace sgdscope
