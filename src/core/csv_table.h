#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace sgdscope {

/// The numbers of a CSV file as CsvWriter writes it.
struct CsvTable {
  std::vector<std::string> names;           // of the columns
  std::vector<std::vector<double>> values;  // by column; kNotMeasured where a cell is empty

  size_t rows() const { return values.empty() ? 0 : values.front().size(); }
  /// A column by its name; null if there is none.
  const std::vector<double>* Find(const std::string& name) const;
};

/// What of a CSV file is read, and how.
struct CsvSelection {
  std::vector<std::string> columns = {};              // in this order; none named: all
  int64_t end = std::numeric_limits<int64_t>::max();  // bytes of the file that count
  int threads = 1;  // each reads a part of the lines; the numbers don't depend on it
};

/// The whole lines of a file: what comes after the last line break is still being written. No file:
/// no columns. Error kData, with the line, where one has not as many cells as the header has names,
/// or a cell of the columns read is no number; kConfig for a column that the header does not name, or
/// that is asked for twice; kResource if the system cannot read the file.
CsvTable ReadCsv(const std::filesystem::path& path, const CsvSelection& selection = {});

}  // namespace sgdscope
