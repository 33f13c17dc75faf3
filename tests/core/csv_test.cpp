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

std::string ChecksumOf(std::string_view text) {
  Crc32 checksum;
  checksum.Add(text);
  return checksum.Hex();
}

/// The mark at the end of a content.
CsvMark MarkOf(std::string_view text) {
  return {static_cast<int64_t>(text.size()), ChecksumOf(text)};
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
  EXPECT_EQ(Text(1234567890123456), "1.234567890123456e+15");
  EXPECT_EQ(Text(-9007199254740993), "-9.007199254740992e+15");
  EXPECT_EQ(Text(9223372036854775808.0), "9.223372036854776e+18");
  EXPECT_EQ(Text(1e22), "1e+22");
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
        // Readers take digits alone for an integer, which may have no room for them.
        const bool digits_alone = text.find_first_not_of("-0123456789") == std::string::npos;
        ASSERT_TRUE(!digits_alone || std::abs(value) < 1e15) << text;
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
  const auto expect_mark = [&] {
    EXPECT_EQ(csv.mark().bytes, static_cast<int64_t>(expected.size()));
    EXPECT_EQ(csv.mark().crc32, ChecksumOf(expected));
  };
  expect_mark();
  csv.Sync();
  expect_mark();
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
  const std::string content = "step,loss\n0,1\n1,2\n2,";
  std::ofstream(path) << content;
  {
    CsvWriter csv(path, {"step", "loss"}, MarkOf("step,loss\n0,1\n"));
    EXPECT_EQ(ReadFile(path), content) << "not before CutBack";
    csv.CutBack();
    csv.Row(std::vector<double>{9, 9});
    EXPECT_EQ(csv.mark().bytes, 18);
    EXPECT_EQ(csv.mark().crc32, ChecksumOf("step,loss\n0,1\n9,9\n"));
  }
  EXPECT_EQ(ReadFile(path), "step,loss\n0,1\n9,9\n");
  CsvWriter(path, {"step", "loss"}, MarkOf("step,loss\n")).CutBack();
  EXPECT_EQ(ReadFile(path), "step,loss\n");
}

TEST(Csv, ContinuesLongFiles) {
  const TempFolder folder;
  const auto path = folder / "a.csv";
  std::string content = "step\n";
  while (content.size() < 3'000'000) content += "12345678901234\n";
  std::ofstream(path) << content << "7";
  CsvWriter(path, {"step"}, MarkOf(content)).CutBack();
  EXPECT_EQ(ReadFile(path), content);
}

/// What an unsuitable file is told; it is left as it is.
void ExpectRefused(const std::string& content, const CsvMark& mark,
                   const std::vector<std::string>& parts) {
  const TempFolder folder;
  const auto path = folder / "a.csv";
  std::ofstream(path) << content;
  ExpectError(ErrorKind::kData, parts, [&] { CsvWriter csv(path, {"step", "loss"}, mark); });
  EXPECT_EQ(ReadFile(path), content);
}

TEST(Csv, ContinuingFindsWhatWasChanged) {
  const std::string content = "step,loss\n0,1\n1,2\n";
  for (size_t i = 0; i < content.size(); ++i) {
    std::string changed = content;
    changed[i] ^= 1;
    ExpectRefused(changed, MarkOf(content),
                  {"a.csv", ChecksumOf(changed), "expects " + ChecksumOf(content),
                   "was changed after the checkpoint", "--overwrite"});
  }
  ExpectRefused("step,loss\r\n0,1\r\n1,2\r\n", MarkOf(content), {"a.csv", "CR LF", "--overwrite"});
}

TEST(Csv, ContinuingChecksTheHeader) {
  const auto expect = [](const std::string& content, const std::vector<std::string>& parts) {
    ExpectRefused(content, MarkOf(content), parts);
    ExpectRefused(content, {static_cast<int64_t>(content.size()), ""}, parts);
  };
  expect("step,lost\n0,1\n", {"a.csv", "column 2 is 'lost', expected 'loss'", "--overwrite"});
  expect("step,loss,more\n0,1,2\n", {"column 3 is 'more', expected nothing"});
  expect("step\n0\n1\n2\n3\n", {"column 2 is nothing, expected 'loss'"});
  expect("", {"column 1 is nothing, expected 'step'"});
}

TEST(Csv, ContinuingChecksTheLength) {
  const std::string content = "step,loss\n0,1\n";
  const auto expect = [&](int64_t keep, const std::vector<std::string>& parts) {
    ExpectRefused(content, {keep, ""}, parts);
  };
  expect(15, {"a.csv", "holds 14 bytes", "expects 15"});
  expect(13, {"byte 13 is not the end of a line"});
  expect(9, {"byte 9 "});  // within the header
  expect(0, {"byte 0 "});
}

TEST(Csv, ContinuingTellsAFileThatIsGoneFromOneThatCannotBeOpened) {
  const TempFolder folder;
  ExpectError(ErrorKind::kData, {"missing.csv", "is gone", "--overwrite"},
              [&] { CsvWriter csv(folder / "missing.csv", {"step"}, MarkOf("step\n")); });
  std::filesystem::create_symlink("loop.csv", folder / "loop.csv");
  ExpectError(ErrorKind::kResource, {"loop.csv", "symbolic links"},
              [&] { CsvWriter csv(folder / "loop.csv", {"step"}, MarkOf("step\n")); });
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
    EXPECT_EQ(csv.mark().bytes, 5 + 7 * 8);

    csv.Flush();  // there is space again: nothing was lost
    const std::string all = "step\n" + line + line + line + line + line + line + line;
    EXPECT_EQ(ReadFile(path), all);
    EXPECT_EQ(csv.mark().crc32, ChecksumOf(all));
  }
}

TEST(Csv, AFullDiskShowsWhenTheHeaderIsWritten) {
  ExpectError(ErrorKind::kResource, {"/dev/full", "No space left", "Free space", "--resume"},
              [] { CsvWriter csv("/dev/full", {"step"}); });
}

}  // namespace
}  // namespace sgdscope
