#include "core/csv.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>
#include <utility>

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

std::string ReadAt(int descriptor, size_t count, int64_t offset) {
  std::string text(count, '\0');
  const ssize_t got = pread(descriptor, text.data(), count, offset);
  text.resize(std::max<ssize_t>(got, 0));
  return text;
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
               "The config has changed since the run began. Restore it, or use --overwrite.");
}

}  // namespace

void AppendNumber(double value, std::string& text) {
  if (IsNotMeasured(value)) return;
  if (std::isnan(value)) {
    text += "nan";  // to_chars would keep the sign of a NaN, which means nothing
    return;
  }
  char digits[32];
  const bool whole = std::abs(value) < 1e15 && value == std::trunc(value);
  const bool minus_zero = value == 0 && std::signbit(value);
  const auto result = whole && !minus_zero
                          ? std::to_chars(digits, std::end(digits), static_cast<int64_t>(value))
                          : std::to_chars(digits, std::end(digits), value);
  text.append(digits, result.ptr);
}

// The public constructors delegate to this one, so that the destructor closes the file if they
// throw.
CsvWriter::CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns, int flags,
                     ErrorKind kind)
    : path_(std::move(path)), columns_(columns.size()) {
  CheckColumns(path_.string(), columns);
  descriptor_ = OpenFile(path_, flags);
  if (descriptor_ < 0) throw SystemError(kind, path_, "open the file");
}

CsvWriter::CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns)
    : CsvWriter(std::move(path), columns, O_WRONLY | O_CREAT | O_TRUNC, ErrorKind::kResource) {
  buffer_ = HeaderLine(columns);
  Flush();
}

CsvWriter::CsvWriter(std::filesystem::path path, const std::vector<std::string>& columns,
                     int64_t keep_bytes)
    : CsvWriter(std::move(path), columns, O_RDWR, ErrorKind::kData) {
  const std::string header = HeaderLine(columns);
  const std::string found =
      ReadAt(descriptor_, header.size() + 100, 0);  // some more, for the error
  if (!found.starts_with(header)) throw HeaderError(path_.string(), found, columns);
  const int64_t length = lseek(descriptor_, 0, SEEK_END);
  if (length < keep_bytes || keep_bytes < static_cast<int64_t>(header.size())) {
    throw Error(ErrorKind::kData, path_.string(),
                "the file holds " + std::to_string(length) + " bytes, the checkpoint expects " +
                    std::to_string(keep_bytes),
                "The file was changed after the checkpoint. Restore it, or use --overwrite.");
  }
  if (ReadAt(descriptor_, 1, keep_bytes - 1) != "\n") {
    throw Error(ErrorKind::kData, path_.string(),
                "byte " + std::to_string(keep_bytes) + " is not the end of a line",
                "The file was changed after the checkpoint. Restore it, or use --overwrite.");
  }
  if (ftruncate(descriptor_, keep_bytes) != 0) {
    throw SystemError(ErrorKind::kResource, path_, "cut the file back");
  }
  lseek(descriptor_, keep_bytes, SEEK_SET);
  written_ = keep_bytes;
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
  if (done == buffer_.size()) {
    written_ += static_cast<int64_t>(done);
    buffer_.clear();
    return;
  }
  const Error error = SystemError(ErrorKind::kResource, path_, "write");
  const size_t whole = done == 0 ? 0 : buffer_.rfind('\n', done - 1) + 1;  // npos + 1 is 0
  written_ += static_cast<int64_t>(whole);
  buffer_.erase(0, whole);
  if (ftruncate(descriptor_, written_) == 0) lseek(descriptor_, written_, SEEK_SET);
  throw error;
}

void CsvWriter::Sync() {
  Flush();
  if (fsync(descriptor_) != 0) throw SystemError(ErrorKind::kResource, path_, "bring to disk");
}

}  // namespace sgdscope
