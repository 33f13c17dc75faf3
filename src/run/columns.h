#pragma once

#include <filesystem>

#include "core/csv_table.h"

namespace sgdscope {

/// Writes the columns of a CSV file to a descriptor as an array in NumPy's format .npy: float64
/// [columns, rows], NaN where a cell is empty. Error as ReadCsv, kData if the file has no header
/// yet; kResource if they cannot be written. `to`: the descriptor's name in an error.
void WriteColumns(const std::filesystem::path& csv, const CsvSelection& selection, int descriptor,
                  const std::filesystem::path& to);

}  // namespace sgdscope
