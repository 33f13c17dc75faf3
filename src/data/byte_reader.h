#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "data/dataset.h"

namespace sgdscope {

/// The manifest's record of a file, given its content on disk.
FileRecord RecordOf(const std::filesystem::path& file, const std::string& content);

/// Reads a data file from front to back, unpacking it where its content is gzip: of one or more
/// members, after the last of which zeros may fill the file (as gunzip takes it). Offsets are those
/// of the unpacked content. Memory is bounded by the file on disk and by what the caller asks for.
class ByteReader {
 public:
  /// `hint`: what the reader of an error can do about this file.
  ByteReader(std::filesystem::path file, std::string hint);
  /// Of the file's beginning only, for what stands in a header; has no record.
  static ByteReader OfHeader(std::filesystem::path file);
  ~ByteReader();
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  /// Error kData if the file can't possibly hold `count` more bytes: to be asked before memory is
  /// taken for a size that the file itself claims.
  void RequireRoomFor(int64_t count) const;
  /// The next `count` bytes. Error kData if the file ends before, or is corrupt.
  void Read(uint8_t* out, int64_t count);
  /// Error kData if anything but gzip's padding follows, or if gzip's checksum is wrong.
  void ExpectEnd();
  /// Throws Error kData about what stands at `offset`.
  [[noreturn]] void Fail(int64_t offset, const std::string& found,
                         const std::string& expected) const;

  const FileRecord& record() const { return record_; }

 private:
  ByteReader(std::filesystem::path file, std::string hint, std::string content, int64_t size);

  int64_t Unpack(uint8_t* out, int64_t count);
  int64_t PackedOffset() const;
  void EndMember();
  [[noreturn]] void FailPacked(const std::string& found, const std::string& expected) const;

  std::filesystem::path file_;
  std::string hint_;
  std::string content_;  // as on disk
  int64_t size_;         // of the file on disk
  FileRecord record_;
  bool packed_;
  int64_t offset_ = 0;  // of the next byte that Read gives
  z_stream stream_{};
  bool stream_ended_ = false;
};

}  // namespace sgdscope
