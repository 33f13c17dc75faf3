#include "core/csv_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <exception>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "core/csv.h"
#include "core/error.h"
#include "core/posix.h"

namespace sgdscope {
namespace {

constexpr const char* kReadable = "Make it readable and try again.";
constexpr int64_t kPiece = int64_t{1} << 20;  // bytes read at once: it stays in the cache

/// A file that is read in pieces, by several threads at once.
class Input {
 public:
  explicit Input(const std::filesystem::path& path) : path_(path), file_(OpenFile(path, O_RDONLY)) {
    absent_ = file_.get() < 0 && errno == ENOENT;
    if (file_.get() < 0 && !absent_) {
      throw SystemError(ErrorKind::kResource, path, "open the file", kReadable);
    }
  }

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return lseek(file_.get(), 0, SEEK_END); }
  bool absent() const { return absent_; }

  /// Calls `take` with pieces of the bytes from `begin` to `end`, or to the file's end, in order,
  /// until it returns false.
  template <class Take>
  void Pieces(int64_t begin, int64_t end, const Take& take) const {
    std::string piece(static_cast<size_t>(std::min(kPiece, std::max<int64_t>(end - begin, 0))), 0);
    while (begin < end) {
      const auto wanted = static_cast<size_t>(std::min<int64_t>(kPiece, end - begin));
      const ssize_t got = pread(file_.get(), piece.data(), wanted, begin);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw SystemError(ErrorKind::kResource, path_, "read", kReadable);
      if (got == 0 || !take(std::string_view(piece).substr(0, static_cast<size_t>(got)))) return;
      begin += got;
    }
  }

  /// Where the first line that begins at `begin` or later has ended; `end` if none does before it.
  int64_t AfterLine(int64_t begin, int64_t end) const {
    int64_t after = begin;
    bool found = false;
    Pieces(begin, end, [&](std::string_view piece) {
      const size_t at = piece.find('\n');
      found = at != std::string_view::npos;
      after += static_cast<int64_t>(found ? at + 1 : piece.size());
      return !found;
    });
    return found ? after : end;
  }

 private:
  const std::filesystem::path& path_;
  Descriptor file_;
  bool absent_ = false;
};

/// Whole lines of the file, which one thread reads.
struct Part {
  int64_t begin;
  int64_t end;        // after the last line break
  int64_t lines = 0;  // in it
  int64_t above = 0;  // rows of the parts before it
};

void CountLines(const Input& input, Part& part) {
  int64_t at = part.begin;
  int64_t last = part.begin;
  input.Pieces(part.begin, part.end, [&](std::string_view piece) {
    part.lines += std::ranges::count(piece, '\n');
    at += static_cast<int64_t>(piece.size());
    const size_t newline = piece.rfind('\n');
    if (newline != std::string_view::npos) {
      last = at - static_cast<int64_t>(piece.size() - newline - 1);
    }
    return true;
  });
  part.end = last;
}

/// Reads the lines of a part into the rows that are theirs.
class PartReader {
 public:
  /// `targets`: of each column of the file where its values go; null for one that is passed over.
  PartReader(const Input& input, const Part& part, const std::vector<double*>& targets)
      : input_(input), part_(part), targets_(targets), row_(part.above) {}

  void Read() {
    std::string begun;  // a line of which the end has not come yet
    input_.Pieces(part_.begin, part_.end, [&](std::string_view piece) {
      for (size_t end; (end = piece.find('\n')) != std::string_view::npos;) {
        if (begun.empty()) {
          TakeLine(piece.substr(0, end));
        } else {
          TakeLine(begun.append(piece.substr(0, end)));
          begun.clear();
        }
        piece.remove_prefix(end + 1);
      }
      begun += piece;
      return true;
    });
    if (row_ != part_.above + part_.lines) Fail("is missing");
  }

 private:
  void TakeLine(std::string_view line) {
    if (row_ == part_.above + part_.lines) Fail("was not there before");
    const char* at = line.data();
    const char* const end = at + line.size();
    for (size_t i = 0; i < targets_.size(); ++i) {
      const char* const cell = at;
      if (targets_[i] != nullptr && at != end && *at != ',') {
        const auto [after, error] = std::from_chars(at, end, targets_[i][row_]);
        at = error == std::errc() ? after : at;
        if (error != std::errc() || (at != end && *at != ',')) FailAt(cell, end);
      } else {
        if (targets_[i] != nullptr) targets_[i][row_] = kNotMeasured;
        at = std::find(at, end, ',');
      }
      if ((at == end) != (i + 1 == targets_.size())) Fail("has another number of cells");
      if (at != end) ++at;
    }
    ++row_;
  }

  [[noreturn]] void FailAt(const char* cell, const char* end) const {
    const std::string_view found(cell, static_cast<size_t>(std::find(cell, end, ',') - cell));
    Fail("has a cell '" + std::string(found.substr(0, 60)) + "', which is no number");
  }

  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kData, input_.path().string(),
                "line " + std::to_string(row_ + 2) + " " + what + "; the header names " +
                    std::to_string(targets_.size()) + " columns",
                "The file was changed. Restore it, or let the run go on from its last checkpoint "
                "with --resume.");
  }

  const Input& input_;
  const Part& part_;
  const std::vector<double*>& targets_;
  int64_t row_;
};

std::vector<std::string> NamesIn(std::string_view header) {
  std::vector<std::string> names;
  while (true) {
    const size_t comma = header.find(',');
    names.emplace_back(header.substr(0, comma));
    if (comma == std::string_view::npos) return names;
    header.remove_prefix(comma + 1);
  }
}

/// One thread each; the first part's error is that of the first line.
template <class Work>
void ForEachPart(std::vector<Part>& parts, const Work& work) {
  std::vector<std::exception_ptr> errors(parts.size());
  const auto guarded = [&](size_t i) {
    try {
      work(parts[i]);
    } catch (...) {
      errors[i] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < parts.size(); ++i) threads.emplace_back(guarded, i);
    guarded(0);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

/// The lines from `begin` to `end`, or to where the file ends, in as many parts as there are
/// threads, less where there is not a piece for each.
std::vector<Part> Split(const Input& input, int64_t begin, int64_t end, int threads) {
  end = std::min(end, input.size());
  const int64_t count = std::clamp<int64_t>((end - begin) / kPiece, 1, std::max(threads, 1));
  std::vector<Part> parts;
  for (int64_t i = 1; i <= count; ++i) {
    const int64_t from = parts.empty() ? begin : parts.back().end;
    const int64_t middle = begin + (end - begin) / count * i;
    parts.push_back({from, i == count ? end : input.AfterLine(std::max(from, middle), end)});
  }
  ForEachPart(parts, [&](Part& part) { CountLines(input, part); });
  for (size_t i = 1; i < parts.size(); ++i) {
    parts[i].above = parts[i - 1].above + parts[i - 1].lines;
  }
  return parts;
}

/// The columns asked for, with room for the rows, and where in them each column of the file goes.
std::vector<double*> Lay(CsvTable& table, const std::vector<std::string>& names,
                         const std::vector<std::string>& wanted, int64_t rows,
                         const std::filesystem::path& path) {
  std::vector<double*> targets(names.size(), nullptr);
  table.names = wanted.empty() ? names : wanted;
  table.values.resize(table.names.size());
  for (size_t i = 0; i < table.names.size(); ++i) {
    const auto found = wanted.empty() ? names.begin() + static_cast<std::ptrdiff_t>(i)
                                      : std::ranges::find(names, wanted[i]);
    if (found == names.end()) {
      throw Error(ErrorKind::kConfig, path.string(), "has no column '" + wanted[i] + "'",
                  "The file's first line names those that there are.");
    }
    double*& target = targets[static_cast<size_t>(found - names.begin())];
    if (target != nullptr) {
      throw Error(ErrorKind::kConfig, path.string(),
                  "column '" + table.names[i] + "' is asked for twice, or there twice",
                  "Name it once.");
    }
    table.values[i].resize(static_cast<size_t>(rows));
    target = table.values[i].data();
  }
  return targets;
}

}  // namespace

const std::vector<double>* CsvTable::Find(const std::string& name) const {
  const auto found = std::ranges::find(names, name);
  return found == names.end() ? nullptr : &values[static_cast<size_t>(found - names.begin())];
}

CsvTable ReadCsv(const std::filesystem::path& path, const CsvSelection& selection) {
  const Input input(path);
  CsvTable table;
  if (input.absent()) return table;
  std::string header;
  bool whole = false;
  input.Pieces(0, selection.end, [&](std::string_view piece) {
    const size_t newline = piece.find('\n');
    header += piece.substr(0, newline);
    whole = newline != std::string_view::npos;
    return !whole;
  });
  if (!whole) return table;
  const auto begin = static_cast<int64_t>(header.size()) + 1;
  std::vector<Part> parts = Split(input, begin, selection.end, selection.threads);
  const int64_t rows = parts.back().above + parts.back().lines;
  const std::vector<double*> targets = Lay(table, NamesIn(header), selection.columns, rows, path);
  ForEachPart(parts, [&](Part& part) { PartReader(input, part, targets).Read(); });
  return table;
}

}  // namespace sgdscope
