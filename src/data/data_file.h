#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <type_traits>

#include "core/posix.h"
#include "data/dataset.h"

namespace sgdscope {

/// An open data file of which parts are read where they lie: one that is larger than the memory may
/// be, and one that shrinks meanwhile gives an error.
class DataFile {
 public:
  /// `place`: what errors call it; `hint`: what the reader of an error can do.
  DataFile(const std::filesystem::path& file, std::string place, std::string hint);

  const std::filesystem::path& path() const { return file_; }
  int64_t size() const { return size_; }
  /// Bytes [offset, offset + count). Error kData if the file doesn't hold them.
  void ReadAt(int64_t offset, void* out, int64_t count) const;
  std::string TextAt(int64_t offset, int64_t count) const;
  /// A little-endian number at `offset`.
  template <class Number>
  Number NumberAt(int64_t offset) const {
    static_assert(std::is_unsigned_v<Number>);
    Number number;
    ReadAt(offset, &number, sizeof(number));
    return number;
  }
  /// The manifest's record of the file, which is read through for its checksum.
  FileRecord Record() const;

  /// Throws Error kData about what stands at `offset`.
  [[noreturn]] void Fail(int64_t offset, const std::string& found,
                         const std::string& expected) const;
  /// Throws Error kData about the whole, with another hint than that of damaged files.
  [[noreturn]] void Refuse(const std::string& what, const std::string& hint) const;
  [[noreturn]] void Refuse(const std::string& what) const { Refuse(what, hint_); }

 private:
  std::filesystem::path file_;
  std::string place_;
  std::string hint_;
  Descriptor descriptor_;
  int64_t size_;
};

}  // namespace sgdscope
