#include "core/csv.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>
#include <utility>

#include "core/files.h"
#include "core/posix.h"

namespace sgdscope {
namespace {

// Quoting would keep such names, but not everything that reads plain CSV (gnuplot) understands it.
void CheckColumns(const std::string& where, const std::vector<std::string>& columns) {
  std::set<std::string> seen;
  for (const std::string& column : columns) {
    if (column.empty() || column.find_first_of(",\"\r\n") != std::string::npos) {
      throw Error(ErrorKind::kConfig, where,
                  "the column name '" + column + "' is empty or holds a comma, quote or line break",
                  "Change the label that it is made of.");
    }
    if (!seen.insert(column).second) {
      throw Error(ErrorKind::kConfig, where, "two columns are named '" + column + "'",
                  "Give one of the two probes another label.");
    }
  }
}

std::string HeaderLine(const std::vector<std::string>& columns) {
  std::string line;
  for (const std::string& column : columns) {
    if (!line.empty()) line += ',';
    line += column;
  }
  return line + '\n';
}

std::vector<std::string> SplitLine(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream stream(line);
  for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
  return cells;
}

// Names the first column that differs: a header may hold hundreds of them.
Error HeaderError(const std::string& where, const std::string& found,
                  const std::vector<std::string>& expected) {
  const auto columns = SplitLine(found.substr(0, found.find('\n')));
  const auto common = std::min(columns.size(), expected.size());
  size_t i = 0;
  while (i < common && columns[i] == expected[i]) ++i;
  const auto name = [i](const auto& list) {
    return i < list.size() ? "'" + list[i].substr(0, 60) + "'" : std::string("nothing");
  };
  return Error(ErrorKind::kData, where,
               "the header does not fit: column " + std::to_string(i + 1) + " is " + name(columns) +
                   ", expected " + name(expected),
               "Another version of the program began the run: continue with that one, or start the "
               "run anew with --overwrite.");
}

constexpr const char* kRestore =
    "The file was changed after the checkpoint. Restore it, or start the run anew with "
    "--overwrite.";

}  // namespace

void AppendNumber(double value, std::string& text) {
  if (IsNotMeasured(value)) return;
  if (std::isnan(value)) {
    text += "nan";  // to_chars would keep the sign of a NaN, which means nothing
    return;
  }
  char digits[32];
  char* const end = std::end(digits);
  const bool whole = std::isfinite(value) && value == std::trunc(value);
  const bool minus_zero = value == 0 && std::signbit(value);
  const auto result = !whole || minus_zero ? std::to_chars(digits, end, value)
                      : std::abs(value) < 1e15
                          ? std::to_chars(digits, end, static_cast<int64_t>(value))
                          : std::to_chars(digits, end, value, std::chars_format::scientific);
  text.append(digits, result.ptr);
}

// The public constructors delegate to this one, so that the destructor closes the file if they
// throw.
CsvWriter::CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns, int flags)
    : path_(std::move(path)), columns_(columns.size()) {
  CheckColumns(path_.string(), columns);
  descriptor_ = OpenFile(path_, flags);
  if (descriptor_ >= 0) return;
  if (errno == ENOENT && (flags & O_CREAT) == 0) {
    throw Error(ErrorKind::kData, path_.string(), "the file is gone", kRestore);
  }
  throw WriteError(path_, "open the file");
}

CsvWriter::CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns)
    : CsvWriter(std::move(path), columns, O_WRONLY | O_CREAT | O_TRUNC) {
  buffer_ = HeaderLine(columns);
  Flush();
}

CsvWriter::CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns,
                     const CsvMark& mark)
    : CsvWriter(std::move(path), columns, O_RDWR) {
  CheckContent(columns, mark);
  written_ = mark.bytes;
}

std::string CsvWriter::ReadAt(int64_t offset, int64_t count) const {
  std::string text(static_cast<size_t>(count), '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = pread(descriptor_, text.data() + length, text.size() - length,
                              offset + static_cast<int64_t>(length));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError(ErrorKind::kResource, path_, "read", kMakeReadable);
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  text.resize(length);
  return text;
}

void CsvWriter::CheckContent(const std::vector<std::string>& columns, const CsvMark& mark) {
  constexpr int64_t kPiece = 1 << 20;
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kData, path_.string(), what, kRestore);
  };
  const std::string header = HeaderLine(columns);
  const auto header_bytes = static_cast<int64_t>(header.size());
  const std::string found = ReadAt(0, header_bytes + 100);  // some more, for the error
  if (found.starts_with(header.substr(0, header.size() - 1) + "\r\n")) {
    fail("the lines end in CR LF, as some editors and transfers make them; the run wrote LF");
  }
  const int64_t length = lseek(descriptor_, 0, SEEK_END);
  if (length < mark.bytes) {
    fail("the file holds " + std::to_string(length) + " bytes, the checkpoint expects " +
         std::to_string(mark.bytes));
  }
  for (int64_t at = 0; at < mark.bytes; at += kPiece) {
    checksum_.Add(ReadAt(at, std::min(kPiece, mark.bytes - at)));
  }
  if (!mark.crc32.empty() && checksum_.Hex() != mark.crc32) {
    fail("its first " + std::to_string(mark.bytes) + " bytes have the checksum " + checksum_.Hex() +
         ", the checkpoint expects " + mark.crc32);
  }
  if (!found.starts_with(header)) throw HeaderError(path_.string(), found, columns);
  if (mark.bytes < header_bytes || ReadAt(mark.bytes - 1, 1) != "\n") {
    fail("byte " + std::to_string(mark.bytes) + " is not the end of a line");
  }
}

void CsvWriter::CutBack() {
  if (ftruncate(descriptor_, written_) != 0) throw WriteError(path_, "cut the file back");
  lseek(descriptor_, written_, SEEK_SET);
}

CsvWriter::~CsvWriter() {
  try {
    Flush();
  } catch (const Error&) {
    // A destructor has nobody to tell.
  }
  close(descriptor_);
}

void CsvWriter::Row(std::span<const double> values) {
  if (values.size() != columns_) {
    throw Error(ErrorKind::kInternal, path_.string(),
                "a row of " + std::to_string(values.size()) + " values for " +
                    std::to_string(columns_) + " columns");
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) buffer_ += ',';
    AppendNumber(values[i], buffer_);
  }
  buffer_ += '\n';
}

void CsvWriter::Flush() {
  const size_t done = WriteAll(descriptor_, buffer_);
  const int code = errno;
  const size_t whole = done == 0 ? 0 : buffer_.rfind('\n', done - 1) + 1;  // npos + 1 is 0
  written_ += static_cast<int64_t>(whole);
  checksum_.Add(std::string_view(buffer_).substr(0, whole));
  const bool all = done == buffer_.size();
  buffer_.erase(0, whole);
  if (all) return;
  if (ftruncate(descriptor_, written_) == 0) lseek(descriptor_, written_, SEEK_SET);
  errno = code;
  throw WriteError(path_, "write");
}

CsvMark CsvWriter::mark() const {
  Crc32 checksum = checksum_;
  checksum.Add(buffer_);
  return {written_ + static_cast<int64_t>(buffer_.size()), checksum.Hex()};
}

void CsvWriter::Sync() {
  Flush();
  if (fsync(descriptor_) != 0) throw WriteError(path_, "bring to disk");
}

}  // namespace sgdscope
