#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The safetensors format: 8 bytes little-endian header length, a JSON header with dtype, shape and
// offsets of each tensor, then the data. Readable from Python with `safetensors` or twenty lines.
// A CRC-32 over header and data stands in the header's metadata, so that no flipped bit loads
// silently; files of other programs have none.

namespace sgdscope {

enum class DType { kUint8, kInt64, kFloat16, kBfloat16, kFloat32, kFloat64 };

/// Bytes of one element.
int64_t SizeOf(DType dtype);

/// A tensor that someone else owns: row-major, shape.size() dimensions.
struct TensorView {
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

struct StoredTensor {
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

struct SafetensorsFile {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;  // without the checksum
  bool checked = true;                          // by a checksum of ours
};

/// Whose files are taken.
enum class WrittenBy { kUs, kAnyone };

/// Writes the file atomically (core/files.h); the same input gives the same bytes.
void WriteSafetensors(const std::filesystem::path& path,
                      const std::map<std::string, TensorView>& tensors,
                      const std::map<std::string, std::string>& metadata);

/// Reads and checks a file: lengths, offsets (no overlap, no gap), dtypes, checksum. Error kData
/// names the file, the offset or tensor, what was found and what was expected. A file without our
/// checksum (written by another program) is refused unless `by` is kAnyone. Error kResource if the
/// system cannot read the file, which says nothing about its content.
SafetensorsFile ReadSafetensors(const std::filesystem::path& path, WrittenBy by = WrittenBy::kUs);
/// Parses the content of a safetensors file; `where` is its name in errors.
SafetensorsFile ParseSafetensors(std::string_view content, const std::string& where,
                                 WrittenBy by = WrittenBy::kUs);

}  // namespace sgdscope
