#include "core/csv.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/rng.h"
#include "tests/expect_error.h"
#include "tests/full_disk.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

using Columns = std::vector<std::string>;

std::string Text(double value) {
  std::string text;
  AppendNumber(value, text);
  return text;
}

TEST(CsvNumber, Texts) {
  EXPECT_EQ(Text(0), "0");
  EXPECT_EQ(Text(-0.0), "-0");
  EXPECT_EQ(Text(1), "1");
  EXPECT_EQ(Text(-1234567), "-1234567");
  EXPECT_EQ(Text(100000), "100000");
  EXPECT_EQ(Text(999999999999999), "999999999999999");
  EXPECT_EQ(Text(-999999999999999), "-999999999999999");
  EXPECT_EQ(Text(1e15), "1e+15");
  EXPECT_EQ(Text(0.1), "0.1");
  EXPECT_EQ(Text(1.0 / 3), "0.3333333333333333");
  EXPECT_EQ(Text(5e-324), "5e-324");
  EXPECT_EQ(Text(kNotMeasured), "");
  EXPECT_EQ(Text(std::nan("")), "nan");
  EXPECT_EQ(Text(-std::nan("")), "nan");
  EXPECT_EQ(Text(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(Text(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(CsvNumber, Appends) {
  std::string text = "a,";
  AppendNumber(2.5, text);
  EXPECT_EQ(text, "a,2.5");
}

TEST(CsvNumber, ReadsBackEqual) {
  Stream stream(1, "csv");
  int nans = 0;
  for (int i = 0; i < 100000; ++i) {
    // All exponents, and whole numbers and float32 values, which the bit patterns hardly ever are.
    const uint64_t bits = stream.Bits64();
    const double pattern = std::bit_cast<double>(bits);
    const auto whole = static_cast<double>(static_cast<int64_t>(bits) >> (bits % 64));
    const double single = std::bit_cast<float>(static_cast<uint32_t>(bits));
    for (const double value : {pattern, whole, single}) {
      const std::string text = Text(value);
      const double back = std::strtod(text.c_str(), nullptr);
      if (std::isnan(value)) {
        ++nans;
        ASSERT_EQ(text, "nan");
      } else {
        ASSERT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(value)) << text;
      }
    }
  }
  EXPECT_GT(nans, 0);
}

TEST(CsvNumber, NotMeasuredStaysApartFromNan) {
  EXPECT_TRUE(std::isnan(kNotMeasured));
  EXPECT_TRUE(IsNotMeasured(kNotMeasured));
  EXPECT_FALSE(IsNotMeasured(std::nan("")));
  volatile double zero = 0;
  EXPECT_FALSE(IsNotMeasured(zero / zero));
}

TEST(Csv, WritesHeaderAndRows) {
  const TempFolder folder;
  const auto path = folder / "metrics.csv";
  std::ofstream(path) << "an older file, which is replaced\nby the new one\n";
  CsvWriter csv(path, {"step", "loss", "x.y"});
  EXPECT_EQ(ReadFile(path), "step,loss,x.y\n");
  csv.Row(std::vector<double>{0, 2.5, kNotMeasured});
  csv.Row(std::vector<double>{1, std::nan(""), -0.0});
  EXPECT_EQ(ReadFile(path), "step,loss,x.y\n");
  const std::string expected = "step,loss,x.y\n0,2.5,\n1,nan,-0\n";
  EXPECT_EQ(csv.bytes(), static_cast<int64_t>(expected.size()));
  csv.Sync();
  EXPECT_EQ(csv.bytes(), static_cast<int64_t>(expected.size()));
  EXPECT_EQ(ReadFile(path), expected);
}

TEST(Csv, TheDestructorFlushes) {
  const TempFolder folder;
  CsvWriter(folder / "a.csv", {"step"}).Row(std::vector<double>{7});
  EXPECT_EQ(ReadFile(folder / "a.csv"), "step\n7\n");
}

TEST(Csv, RefusesARowOfAnotherWidth) {
  const TempFolder folder;
  CsvWriter csv(folder / "a.csv", {"step", "loss"});
  ExpectError(ErrorKind::kInternal, {"a.csv", "1 values for 2 columns"},
              [&] { csv.Row(std::vector<double>{1}); });
}

TEST(Csv, RefusesColumnNamesThatBreakTheFile) {
  const TempFolder folder;
  for (const std::string name : {"", "a,b", "a\"b", "a\nb", "a\rb"}) {
    ExpectError(ErrorKind::kConfig, {"a.csv", "column name", "label"},
                [&] { CsvWriter csv(folder / "a.csv", {"step", name}); });
  }
  ExpectError(ErrorKind::kConfig, {"two columns", "'a.b'"},
              [&] { CsvWriter csv(folder / "a.csv", {"a.b", "c", "a.b"}); });
}

TEST(Csv, NamesAFileThatItCannotMake) {
  const TempFolder folder;
  ExpectError(ErrorKind::kResource, {"nowhere/a.csv", "No such file"},
              [&] { CsvWriter csv(folder / "nowhere/a.csv", {"step"}); });
}

TEST(Csv, ContinuesAndCutsBack) {
  const TempFolder folder;
  const auto path = folder / "a.csv";
  std::ofstream(path) << "step,loss\n0,1\n1,2\n2,";
  {
    CsvWriter csv(path, {"step", "loss"}, 14);
    EXPECT_EQ(csv.bytes(), 14);
    csv.Row(std::vector<double>{9, 9});
  }
  EXPECT_EQ(ReadFile(path), "step,loss\n0,1\n9,9\n");
  {
    CsvWriter csv(path, {"step", "loss"}, 10);
  }
  EXPECT_EQ(ReadFile(path), "step,loss\n");
}

TEST(Csv, ContinuingChecksTheHeader) {
  const TempFolder folder;
  const auto path = folder / "a.csv";
  const auto expect = [&](const std::string& content, const std::vector<std::string>& parts) {
    std::ofstream(path) << content;
    ExpectError(ErrorKind::kData, parts, [&] { CsvWriter csv(path, {"step", "loss"}, 10); });
    EXPECT_EQ(ReadFile(path), content);  // an unsuitable file is left as it is
  };
  expect("step,lost\n0,1\n", {"a.csv", "column 2 is 'lost', expected 'loss'", "--overwrite"});
  expect("step,loss,more\n0,1,2\n", {"column 3 is 'more', expected nothing"});
  expect("step\n0\n1\n2\n3\n", {"column 2 is nothing, expected 'loss'"});
  expect("", {"column 1 is nothing, expected 'step'"});
  ExpectError(ErrorKind::kData, {"missing.csv", "No such file"},
              [&] { CsvWriter csv(folder / "missing.csv", {"step"}, 5); });
}

TEST(Csv, ContinuingChecksTheLength) {
  const TempFolder folder;
  const auto path = folder / "a.csv";
  const std::string content = "step,loss\n0,1\n";
  std::ofstream(path) << content;
  const auto expect = [&](int64_t keep, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kData, parts, [&] { CsvWriter csv(path, {"step", "loss"}, keep); });
    EXPECT_EQ(ReadFile(path), content);
  };
  expect(15, {"a.csv", "holds 14 bytes", "expects 15"});
  expect(13, {"byte 13 is not the end of a line"});
  expect(9, {"expects 9"});  // within the header
  expect(-1, {"expects -1"});
}

TEST(Csv, AFullDiskLeavesWholeLines) {
  // "step\n", then 7 rows of "1234567\n": the limits cut at a line's end, its middle, and in the
  // first.
  const std::string line = "1234567\n";
  for (const int64_t limit : {5 + 16, 5 + 17, 5 + 23, 5 + 3, 5}) {
    const TempFolder folder;
    const auto path = folder / "a.csv";
    CsvWriter csv(path, {"step"});
    for (int i = 0; i < 7; ++i) csv.Row(std::vector<double>{1234567});
    std::string message;
    {
      const FullDisk full(limit);
      try {
        csv.Flush();
      } catch (const Error& error) {
        message = error.what();
        if (error.kind() != ErrorKind::kResource) message += " of another kind";
      }
    }
    EXPECT_EQ(message, path.string() +
                           ": cannot write: File too large\n  Free space (or raise the "
                           "quota or the file size limit), then continue with --resume.");
    std::string expected = "step\n";
    for (int i = 0; i < (limit - 5) / 8; ++i) expected += line;
    EXPECT_EQ(ReadFile(path), expected);
    EXPECT_EQ(csv.bytes(), 5 + 7 * 8);

    csv.Flush();  // there is space again: nothing was lost
    EXPECT_EQ(ReadFile(path), "step\n" + line + line + line + line + line + line + line);
  }
}

TEST(Csv, AFullDiskShowsWhenTheHeaderIsWritten) {
  ExpectError(ErrorKind::kResource, {"/dev/full", "No space left", "Free space", "--resume"},
              [] { CsvWriter csv("/dev/full", {"step"}); });
}

}  // namespace
}  // namespace sgdscope
