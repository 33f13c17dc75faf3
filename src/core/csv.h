#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

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

/// The shortest text that reads back as the same double; whole numbers below 10^15 without
/// exponent;
/// "" for kNotMeasured; "nan", "inf", "-inf".
void AppendNumber(double value, std::string& text);

/// A CSV file with one header line, columns known from the start, appended to row by row. A name
/// may not hold what would need quotes, nor come twice (kConfig: the names hold labels from the
/// config).
class CsvWriter {
 public:
  /// A new file (an older one of that name is replaced), with its header.
  CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns);
  /// Continues a file: it must start with this header and hold at least `keep_bytes` bytes, which
  /// end with a whole line (kData otherwise, naming found and expected); what follows them is cut
  /// off.
  CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns,
            int64_t keep_bytes);
  /// Flushes as well as it can: an error is lost here, so call Flush or Sync before.
  ~CsvWriter();
  CsvWriter(const CsvWriter&) = delete;
  CsvWriter& operator=(const CsvWriter&) = delete;

  /// Appends a row of as many values as there are columns, to a buffer in memory.
  void Row(std::span<const double> values);
  /// Hands the buffered rows to the operating system. Error kResource if the disk is full; the file
  /// is then cut back to its last whole line, and the rows after it stay in the buffer for the next
  /// Flush.
  void Flush();
  /// Flush, and wait until the disk has it.
  void Sync();
  /// Length of the file, counting what is buffered.
  int64_t bytes() const { return written_ + static_cast<int64_t>(buffer_.size()); }

 private:
  CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns, int flags,
            ErrorKind kind);

  std::filesystem::path path_;
  size_t columns_;
  int descriptor_ = -1;
  int64_t written_ = 0;
  std::string buffer_;
};

}  // namespace sgdscope
