#pragma once

#include <ATen/ATen.h>
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/data_file.h"

namespace sgdscope {

/// Types of numbers that arrays may have, all of them little-endian.
enum class NumberType {
  kBool,
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kUint64,
  kInt64,
  kFloat32,
  kFloat64
};

/// Where an array lies: FILE.npy, FILE.npz:NAME or FILE.safetensors:NAME.
struct ArrayPlace {
  explicit ArrayPlace(const std::filesystem::path& place);

  std::filesystem::path file;
  std::string name;  // "": none is given
};

/// An array of numbers in C order in a file of NumPy (.npy, or a member of an .npz, stored or
/// deflated) or in a safetensors file, whoever wrote it. Which of them shows in the content. Only
/// headers are read at first, then the numbers from front to back, a block at a time.
class ArrayFile {
 public:
  /// Error kData if there is no such array, or if headers tell that it isn't sound; where its
  /// numbers are of another type or lie in another order, with how to write it anew. `hint`: what
  /// to do about a damaged file.
  ArrayFile(const std::filesystem::path& place, const std::string& hint);
  ~ArrayFile();
  ArrayFile(const ArrayFile&) = delete;
  ArrayFile& operator=(const ArrayFile&) = delete;

  const DataFile& file() const { return file_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  NumberType type() const { return type_; }
  /// As NumPy calls it, e.g. "float32".
  std::string type_name() const;
  bool HoldsIntegers() const { return type_ < NumberType::kFloat32; }

  /// The next `count` numbers, converted. To: uint8_t, float, double, or int64_t for integers.
  template <class To>
  void Read(To* out, int64_t count);
  /// Error kData if the array doesn't end here, or if the checksum that an .npz has is wrong.
  void ExpectEnd();

 private:
  struct Member;  // of an .npz

  void OpenNumpy(int64_t size);
  void OpenMember(const std::string& name);
  void OpenTensor(const std::string& name);
  std::vector<Member> Members() const;
  Member MemberAt(int64_t& offset) const;
  void ExpectSize(int64_t bytes, int64_t offset) const;
  void ReadBytes(std::byte* out, int64_t count);
  int64_t Inflate(std::byte* out, int64_t count);

  DataFile file_;
  std::vector<int64_t> shape_;
  NumberType type_ = NumberType::kUint8;
  int64_t next_ = 0;  // offset in the file of the next byte
  int64_t end_ = 0;   // offset behind the last one
  // Of a member of an .npz:
  bool has_checksum_ = false;
  uLong expected_checksum_ = 0;
  uLong checksum_ = crc32_z(0, nullptr, 0);
  bool deflated_ = false;
  bool stream_ended_ = false;
  z_stream stream_{};
  std::vector<std::byte> packed_;
};

}  // namespace sgdscope
