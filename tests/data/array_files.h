#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tests/data/data_files.h"

// Files of arrays, written byte by byte from the formats' definitions.

namespace sgdscope {

template <class Number>
std::string BytesOf(const std::vector<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

/// A whole number in so many bytes, the lowest first.
inline std::string LittleEndian(uint64_t number, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i, number >>= 8) text.push_back(static_cast<char>(number));
  return text;
}

inline std::string ShapeOf(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) text += std::to_string(extent) + ",";
  if (shape.size() > 1) text.pop_back();
  return text;
}

/// An .npy. `descr`: as Python writes it, with its quotes.
inline std::string Npy(const std::string& descr, const std::vector<int64_t>& shape,
                       const std::string& numbers, int version = 1,
                       const std::string& fortran = "False") {
  std::string header = "{'descr': " + descr + ", 'fortran_order': " + fortran + ", 'shape': (" +
                       ShapeOf(shape) + "), }";
  const size_t front = version == 1 ? 10 : 12;
  header.append(63 - (front + header.size()) % 64, ' ');
  header += '\n';
  return std::string("\x93NUMPY") + static_cast<char>(version) + '\0' +
         LittleEndian(header.size(), version == 1 ? 2 : 4) + header + numbers;
}

inline std::string Deflated(const std::string& bytes) {
  const std::string gzip = Gzip(bytes);
  return gzip.substr(10,
                     gzip.size() - 18);  // without gzip's header of 10 bytes and its 8 at the end
}

/// A zip archive. `large`: with the fields and the record for archives beyond 4 GB.
inline std::string Zip(const std::map<std::string, std::string>& members, bool deflated,
                       bool large = false) {
  std::string zip;
  std::string directory;
  for (const auto& [name, content] : members) {
    const std::string packed = deflated ? Deflated(content) : content;
    const auto* bytes = reinterpret_cast<const Bytef*>(content.data());
    const auto crc = crc32(crc32(0, nullptr, 0), bytes, static_cast<uInt>(content.size()));
    const std::string extra =
        large ? LittleEndian(1, 2) + LittleEndian(24, 2) + LittleEndian(content.size(), 8) +
                    LittleEndian(packed.size(), 8) + LittleEndian(zip.size(), 8)
              : "";
    const auto number = [&](size_t value) { return LittleEndian(large ? 0xffffffff : value, 4); };
    const std::string common = LittleEndian(deflated ? 8 : 0, 2) + LittleEndian(0, 4) +
                               LittleEndian(crc, 4) + number(packed.size()) +
                               number(content.size()) + LittleEndian(name.size(), 2);
    directory += "PK\x01\x02" + LittleEndian(0, 4) + LittleEndian(0, 2) + common +
                 LittleEndian(extra.size(), 2) + LittleEndian(0, 10) + number(zip.size()) + name +
                 extra;
    // The local header has an extra field of its own, as numpy.savez writes it.
    zip += "PK\x03\x04" + LittleEndian(0, 2) + LittleEndian(0, 2) + common + LittleEndian(5, 2) +
           name + "extra" + packed;
  }
  const size_t at = zip.size();
  zip += directory;
  const size_t count = members.size();
  if (large) {
    const size_t record = zip.size();
    zip += "PK\x06\x06" + LittleEndian(44, 8) + LittleEndian(0, 12) + LittleEndian(count, 8) +
           LittleEndian(count, 8) + LittleEndian(directory.size(), 8) + LittleEndian(at, 8);
    zip += "PK\x06\x07" + LittleEndian(0, 4) + LittleEndian(record, 8) + LittleEndian(1, 4);
  }
  const std::string entries = LittleEndian(large ? 0xffff : count, 2);
  return zip + "PK\x05\x06" + LittleEndian(0, 4) + entries + entries +
         LittleEndian(directory.size(), 4) + LittleEndian(large ? 0xffffffff : at, 4) +
         LittleEndian(0, 2);
}

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string numbers;
};

inline std::string Safetensors(const std::map<std::string, Tensor>& tensors) {
  Json header = Json::object();
  std::string numbers;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = numbers.size();
    numbers += tensor.numbers;
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {begin, numbers.size()}}};
  }
  header["__metadata__"] = {{"format", "pt"}};
  const std::string text = header.dump();
  return LittleEndian(text.size(), 8) + text + numbers;
}

}  // namespace sgdscope
