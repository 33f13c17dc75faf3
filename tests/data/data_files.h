#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "config/json.h"
#include "config/registry.h"
#include "data/dataset.h"

// Small data files for tests, written byte by byte from the formats' definitions.

namespace sgdscope {

inline void WriteBytes(const std::filesystem::path& path, const std::string& bytes) {
  // A new file: some file systems flush to disk when an old one is overwritten.
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string BigEndian(uint32_t number) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

/// Some byte that depends on both numbers.
inline char Pixel(int64_t example, int64_t position) {
  return static_cast<char>((example * 37 + position * 11 + position / 7) & 0xff);
}

inline std::string Pixels(int64_t example, int64_t count) {
  std::string bytes;
  for (int64_t j = 0; j < count; ++j) bytes.push_back(Pixel(example, j));
  return bytes;
}

/// Images first, first + 1, ..., of 28 x 28 bytes.
inline std::string IdxImages(int64_t count, int64_t first = 0) {
  std::string bytes =
      BigEndian(0x803) + BigEndian(static_cast<uint32_t>(count)) + BigEndian(28) + BigEndian(28);
  for (int64_t i = 0; i < count; ++i) bytes += Pixels(first + i, 28 * 28);
  return bytes;
}

inline std::string IdxLabels(const std::vector<int>& labels) {
  std::string bytes = BigEndian(0x801) + BigEndian(static_cast<uint32_t>(labels.size()));
  for (const int label : labels) bytes.push_back(static_cast<char>(label));
  return bytes;
}

/// One record of CIFAR: the label bytes, then the image.
inline std::string CifarRecord(const std::vector<int>& labels, int64_t example) {
  std::string bytes;
  for (const int label : labels) bytes.push_back(static_cast<char>(label));
  return bytes + Pixels(example, 3 * 32 * 32);
}

inline std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("deflateInit2");
  }
  std::string packed(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// A data set by its name and fields.
inline Choice<Dataset> MakeDataset(const std::string& name, const Json& fields) {
  Choice<Dataset> dataset(name);
  ReadFields(fields, "data", [&](FieldVisitor& visitor) { dataset->Fields(visitor); });
  return dataset;
}

}  // namespace sgdscope
