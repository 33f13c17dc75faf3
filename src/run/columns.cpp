#include "run/columns.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/csv.h"
#include "core/error.h"
#include "core/posix.h"

namespace sgdscope {
namespace {

static_assert(std::endian::native == std::endian::little, "the header says so");

/// Version 1.0: magic, version, length of what follows, a Python dictionary that is filled up with
/// blanks so that the numbers begin at a multiple of 64 bytes.
std::string NpyHeader(size_t columns, size_t rows) {
  std::string described = "{'descr': '<f8', 'fortran_order': False, 'shape': (" +
                          std::to_string(columns) + ", " + std::to_string(rows) + "), }";
  constexpr size_t kBefore = 10;
  described.resize((kBefore + described.size() + 64) / 64 * 64 - kBefore, ' ');
  described.back() = '\n';
  const auto length = static_cast<unsigned>(described.size());
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(length & 0xff);
  header += static_cast<char>(length >> 8);
  return header + described;
}

}  // namespace

void WriteColumns(const std::filesystem::path& csv, const CsvSelection& selection, int descriptor,
                  const std::filesystem::path& to) {
  CsvTable table = ReadCsv(csv, selection);
  if (table.names.empty()) {
    throw Error(ErrorKind::kData, csv.string(), "is not there, or has no whole header yet",
                "Give metrics.csv or eval.csv of a run that has begun.");
  }
  const auto write = [&](std::string_view bytes) {
    if (WriteAll(descriptor, bytes) < bytes.size()) throw WriteError(to, "write");
  };
  write(NpyHeader(table.values.size(), table.rows()));
  for (std::vector<double>& column : table.values) {
    // kNotMeasured is a NaN that only this program tells from others.
    std::ranges::replace_if(column, IsNotMeasured, std::numeric_limits<double>::quiet_NaN());
    write({reinterpret_cast<const char*>(column.data()), column.size() * sizeof(double)});
  }
}

}  // namespace sgdscope
