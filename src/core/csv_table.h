#pragma once

#include <cstddef>
#include <filesystem>
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

/// The whole lines of a file: what comes after the last line break is still being written. No file:
/// no columns. Error kData, with the line, where one has not as many numbers as the header has
/// names; kResource if the system cannot read the file.
CsvTable ReadCsv(const std::filesystem::path& path);

}  // namespace sgdscope
