#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/crc32.h"
#include "core/error.h"

namespace sgdscope {

/// The cell of a value that was not measured at this step: a NaN with a payload of its own, so that
/// it travels through device buffers and stays apart from a NaN that was computed. Written as an
/// empty cell.
inline constexpr uint64_t kNotMeasuredBits = 0x7ff8'5d5c'0be5'0001;
inline constexpr double kNotMeasured = std::bit_cast<double>(kNotMeasuredBits);
inline bool IsNotMeasured(double value) {
  return std::bit_cast<uint64_t>(value) == kNotMeasuredBits;
}

/// The shortest text that reads back as the same double, and as a double: whole numbers have no
/// exponent below 10^15 and one from there on, since readers take longer digits for integers.
/// "" for kNotMeasured; "nan", "inf", "-inf".
void AppendNumber(double value, std::string& text);

/// How far a CSV file has got.
struct CsvMark {
  int64_t bytes;      // its length
  std::string crc32;  // of all of it; "" if unknown
};

/// A CSV file with one header line, columns known from the start, appended to row by row. A name
/// may not hold what would need quotes, nor come twice (kConfig: the names hold labels from the
/// config).
class CsvWriter {
 public:
  /// A new file (an older one of that name is replaced), with its header.
  CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns);
  /// Continues a file from a mark: its bytes up to there must be those that were written, and start
  /// with this header (kData otherwise, naming found and expected; kResource if the system cannot
  /// read it). Changes nothing until CutBack.
  CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns,
            const CsvMark& mark);
  /// Flushes as well as it can: an error is lost here, so call Flush or Sync before.
  ~CsvWriter();
  CsvWriter(const CsvWriter&) = delete;
  CsvWriter& operator=(const CsvWriter&) = delete;

  /// Cuts off what follows the mark. Called before the first row of a file that is continued.
  void CutBack();
  /// Appends a row of as many values as there are columns, to a buffer in memory.
  void Row(std::span<const double> values);
  /// Hands the buffered rows to the operating system. Error kResource if the disk is full; the file
  /// is then cut back to its last whole line, and the rows after it stay in the buffer for the next
  /// Flush.
  void Flush();
  /// Flush, and wait until the disk has it.
  void Sync();
  /// How far the file has got, counting what is buffered.
  CsvMark mark() const;

 private:
  CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns, int flags);
  void CheckContent(const std::vector<std::string>& columns, const CsvMark& mark);
  std::string ReadAt(int64_t offset, int64_t count) const;

  std::filesystem::path path_;
  size_t columns_;
  int descriptor_ = -1;
  int64_t written_ = 0;
  Crc32 checksum_;  // of what is written
  std::string buffer_;
};

}  // namespace sgdscope
