#include "core/csv_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/csv.h"
#include "core/files.h"
#include "core/rng.h"
#include "tests/expect_error.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

CsvTable TableOf(const std::string& text) {
  const TempFolder folder;
  WriteFileAtomically(folder / "a.csv", text);
  return ReadCsv(folder / "a.csv");
}

/// Bit by bit, so that cells that were not measured stay apart from NaN.
void ExpectSame(double found, double written) {
  EXPECT_EQ(std::isnan(found), std::isnan(written));
  EXPECT_EQ(IsNotMeasured(found), IsNotMeasured(written));
  if (!std::isnan(written)) {
    EXPECT_EQ(found, written);
  }
}

TEST(CsvTable, ReadsWhatCsvWriterWrites) {
  const TempFolder folder;
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> rows = {{0, 1e15, -0.0, kNotMeasured},
                                           {1, std::nan(""), kInfinite, -kInfinite},
                                           {2, kNotMeasured, 5e-324, 1.7976931348623157e308}};
  // More than is read at once, so that lines lie across the ends of pieces.
  Stream random(3, "csv", 0);
  for (int i = 3; i < 30000; ++i) {
    rows.push_back({static_cast<double>(i), random.Uniform(), random.Uniform() * 1e-300,
                    i % 7 == 0 ? kNotMeasured : -random.Uniform()});
  }
  {
    CsvWriter writer(folder / "a.csv", {"step", "b", "c.d", "e"});
    for (const auto& row : rows) writer.Row(row);
  }
  const CsvTable table = ReadCsv(folder / "a.csv");
  EXPECT_EQ(table.names, (std::vector<std::string>{"step", "b", "c.d", "e"}));
  ASSERT_EQ(table.rows(), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < 4; ++j) ExpectSame(table.values[j][i], rows[i][j]);
  }
  EXPECT_EQ(table.Find("c.d"), &table.values[2]);
  EXPECT_EQ(table.Find("c"), nullptr);
}

/// Some megabytes of lines, so that each thread has a part; the file of a run that has gone on is
/// read as it was.
TEST(CsvTable, ReadsTheSameOfSomeColumnsWithAnyNumberOfThreads) {
  const TempFolder folder;
  Stream random(4, "csv", 0);
  std::string text = "step,b,c\n";
  for (int i = 0; i < 100000; ++i) {
    text += std::to_string(i) + ",";
    if (i % 3 != 0) AppendNumber(random.Uniform(), text);
    text += ",";
    AppendNumber(random.Uniform() * i, text);
    text += "\n";
  }
  const auto end = static_cast<int64_t>(text.size());
  WriteFileAtomically(folder / "a.csv", text + "100000,1,2\n100001,");
  const CsvTable all = ReadCsv(folder / "a.csv", {.end = end});
  ASSERT_EQ(all.rows(), 100000u);
  for (const int threads : {1, 2, 3, 7}) {
    const CsvTable some =
        ReadCsv(folder / "a.csv", {.columns = {"c", "b"}, .end = end, .threads = threads});
    EXPECT_EQ(some.names, (std::vector<std::string>{"c", "b"}));
    ASSERT_EQ(some.rows(), all.rows());
    for (size_t i = 0; i < all.rows(); ++i) {
      ExpectSame(some.values[0][i], all.values[2][i]);
      ExpectSame(some.values[1][i], all.values[1][i]);
    }
    EXPECT_EQ(ReadCsv(folder / "a.csv", {.threads = threads}).rows(), all.rows() + 1);
  }
  ExpectError(ErrorKind::kConfig, {"a.csv", "no column 'd'"},
              [&] { ReadCsv(folder / "a.csv", {.columns = {"b", "d"}}); });
  ExpectError(ErrorKind::kConfig, {"a.csv", "'b'", "twice"},
              [&] { ReadCsv(folder / "a.csv", {.columns = {"b", "c", "b"}}); });
  // Of two damaged lines the first is named, whichever thread finds its own first.
  text.replace(text.find("\n90000,"), 7, "\nx,0000,");
  text.replace(text.find("\n50000,"), 7, "\nx50000,");
  WriteFileAtomically(folder / "a.csv", text);
  for (const int threads : {1, 3}) {
    ExpectError(ErrorKind::kData, {"line 50002", "'x50000'"},
                [&] { ReadCsv(folder / "a.csv", {.threads = threads}); });
  }
}

TEST(CsvTable, LeavesOutALineThatIsBeingWritten) {
  for (const std::string rest : {"", "2", "2,", "2,3.", "2,3"}) {
    const CsvTable table = TableOf("a,b\n0,1\n1,\n" + rest);
    EXPECT_EQ(table.rows(), 2u) << rest;
  }
  EXPECT_EQ(TableOf("a,b\n").rows(), 0u);
  for (const std::string begun : {"", "a,b"}) {
    const CsvTable table = TableOf(begun);
    EXPECT_EQ(table.rows(), 0u);
    EXPECT_TRUE(table.names.empty());
  }
  EXPECT_TRUE(ReadCsv("/no/such/file.csv").names.empty());
}

TEST(CsvTable, NamesTheLineThatIsDamaged) {
  for (const std::string line :
       {"0", "0,1,2", "", ",,", "0,x", "0, 1", "0,1e", "0,1\r", "0,\"1\""}) {
    ExpectError(ErrorKind::kData, {"a.csv", "line 3", "2 columns", "--resume"},
                [&] { TableOf("a,b\n1,2\n" + line + "\n3,4\n"); });
  }
  ExpectError(ErrorKind::kResource, {"cannot read"}, [] { ReadCsv("/tmp"); });
}

}  // namespace
}  // namespace sgdscope
