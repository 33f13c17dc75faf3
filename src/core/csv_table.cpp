#include "core/csv_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/csv.h"
#include "core/error.h"
#include "core/posix.h"

namespace sgdscope {
namespace {

constexpr const char* kReadable = "Make it readable and try again.";

/// Takes a file in pieces of any size.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path) {}

  void Take(std::string_view piece) {
    for (size_t end; (end = piece.find('\n')) != std::string_view::npos;) {
      if (begun_.empty()) {
        TakeLine(piece.substr(0, end));
      } else {
        TakeLine(begun_.append(piece.substr(0, end)));
        begun_.clear();
      }
      piece.remove_prefix(end + 1);
    }
    begun_ += piece;
  }

  CsvTable table;

 private:
  void TakeLine(std::string_view line) {
    if (++line_ == 1) return TakeHeader(line);
    for (size_t i = 0; i < table.values.size(); ++i) {
      const size_t comma = line.find(',');
      const bool last = i + 1 == table.values.size();
      if ((comma == std::string_view::npos) != last) Fail("has another number of cells");
      table.values[i].push_back(NumberOf(line.substr(0, comma)));
      if (!last) line.remove_prefix(comma + 1);
    }
  }

  void TakeHeader(std::string_view line) {
    while (true) {
      const size_t comma = line.find(',');
      table.names.emplace_back(line.substr(0, comma));
      if (comma == std::string_view::npos) break;
      line.remove_prefix(comma + 1);
    }
    table.values.resize(table.names.size());
  }

  double NumberOf(std::string_view cell) const {
    if (cell.empty()) return kNotMeasured;
    double value = 0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (error != std::errc() || end != cell.data() + cell.size()) {
      Fail("has a cell '" + std::string(cell.substr(0, 60)) + "', which is no number");
    }
    return value;
  }

  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kData, path_.string(),
                "line " + std::to_string(line_) + " " + what + "; the header names " +
                    std::to_string(table.names.size()) + " columns",
                "The file was changed. Restore it, or let the run go on from its last checkpoint "
                "with --resume.");
  }

  const std::filesystem::path& path_;
  int64_t line_ = 0;
  std::string begun_;  // a line of which the end has not come yet
};

}  // namespace

const std::vector<double>* CsvTable::Find(const std::string& name) const {
  const auto found = std::ranges::find(names, name);
  return found == names.end() ? nullptr : &values[static_cast<size_t>(found - names.begin())];
}

CsvTable ReadCsv(const std::filesystem::path& path) {
  const Descriptor file(OpenFile(path, O_RDONLY));
  if (file.get() < 0 && errno == ENOENT) return {};
  if (file.get() < 0) throw SystemError(ErrorKind::kResource, path, "open the file", kReadable);
  Reader reader(path);
  std::string piece(size_t{1} << 20, '\0');
  while (true) {
    const ssize_t got = read(file.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError(ErrorKind::kResource, path, "read", kReadable);
    if (got == 0) return std::move(reader.table);
    reader.Take(std::string_view(piece).substr(0, static_cast<size_t>(got)));
  }
}

}  // namespace sgdscope
