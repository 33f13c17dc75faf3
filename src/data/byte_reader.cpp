#include "data/byte_reader.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/files.h"

namespace sgdscope {
namespace {

// No deflate stream unpacks to more than 1032 times its size (258 bytes from two bits).
constexpr int64_t kLargestGzipRatio = 1032;
constexpr int kGzipOnly = 16 + MAX_WBITS;
// zlib counts in 32 bits; files may be larger.
constexpr int64_t kChunk = int64_t{1} << 30;

bool IsGzip(std::string_view content) { return content.starts_with("\x1f\x8b"); }

const Bytef* BytesOf(const std::string& content) {
  return reinterpret_cast<const Bytef*>(content.data());
}

}  // namespace

FileRecord RecordOf(const std::filesystem::path& file, const std::string& content) {
  const auto crc = crc32_z(crc32_z(0, nullptr, 0), BytesOf(content), content.size());
  char hex[9];
  std::snprintf(hex, sizeof(hex), "%08lx", crc);
  return {file.string(), static_cast<int64_t>(content.size()), hex};
}

ByteReader::ByteReader(std::filesystem::path file, std::string hint)
    : ByteReader(file, std::move(hint), ReadFile(file), 0) {
  size_ = static_cast<int64_t>(content_.size());
  record_ = RecordOf(file_, content_);
}

ByteReader ByteReader::OfHeader(std::filesystem::path file) {
  std::string content(size_t{1} << 17, '\0');  // longer than any header of gzip
  std::ifstream stream(file, std::ios::binary);
  stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<size_t>(stream.gcount()));
  std::error_code unknown;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(file, unknown));
  return {std::move(file), "", std::move(content), size};
}

ByteReader::ByteReader(std::filesystem::path file, std::string hint, std::string content,
                       int64_t size)
    : file_(std::move(file)),
      hint_(std::move(hint)),
      content_(std::move(content)),
      size_(size),
      packed_(IsGzip(content_)) {
  if (!packed_) return;
  if (inflateInit2(&stream_, kGzipOnly) != Z_OK) {
    throw Error(ErrorKind::kResource, file_.string(), "no memory to unpack the file");
  }
  stream_.next_in = const_cast<Bytef*>(BytesOf(content_));
}

ByteReader::~ByteReader() {
  if (packed_) inflateEnd(&stream_);
}

void ByteReader::RequireRoomFor(int64_t count) const {
  const int64_t most = packed_ ? size_ * kLargestGzipRatio : size_ - offset_;
  if (count <= most) return;
  Fail(offset_,
       (packed_ ? "at most " : "the file's last ") + std::to_string(most) + " bytes (truncated?)",
       std::to_string(count) + " bytes, as the file's header says");
}

void ByteReader::Read(uint8_t* out, int64_t count) {
  const auto size = static_cast<int64_t>(content_.size());
  const int64_t available = packed_ ? Unpack(out, count) : std::min(count, size - offset_);
  if (available < count) {
    Fail(offset_ + available, "the end of the file (truncated?)",
         std::to_string(count - available) + " more bytes");
  }
  if (!packed_) std::memcpy(out, content_.data() + offset_, static_cast<size_t>(count));
  offset_ += count;
}

void ByteReader::ExpectEnd() {
  const auto size = static_cast<int64_t>(content_.size());
  if (!packed_) {
    if (offset_ == size) return;
    Fail(offset_, std::to_string(size - offset_) + " more bytes", "the end of the file");
  }
  uint8_t extra;
  if (Unpack(&extra, 1) > 0) Fail(offset_, "more bytes", "the end of the file");
  const int64_t rest = size - PackedOffset();
  if (rest > 0) FailPacked(std::to_string(rest) + " bytes behind it", "the end of the file");
}

// Unpacks the next bytes, fewer than `count` only where the last member ends with a right checksum.
int64_t ByteReader::Unpack(uint8_t* out, int64_t count) {
  int64_t done = 0;
  while (done < count && !stream_ended_) {
    const int64_t rest = static_cast<int64_t>(content_.size()) - PackedOffset();
    stream_.avail_in = static_cast<uInt>(std::min(rest, kChunk));
    stream_.next_out = out + done;
    const auto room = static_cast<uInt>(std::min(count - done, kChunk));
    stream_.avail_out = room;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    done += room - stream_.avail_out;
    if (status == Z_STREAM_END) EndMember();
    if (status == Z_OK || status == Z_STREAM_END) continue;
    if (status == Z_BUF_ERROR) FailPacked("the end of the file (truncated?)", "more of it");
    FailPacked(stream_.msg != nullptr ? stream_.msg : "an error of zlib", "a sound file");
  }
  return done;
}

// zlib's own count begins anew with each member.
int64_t ByteReader::PackedOffset() const { return stream_.next_in - BytesOf(content_); }

// Goes on with the next member, or ends the stream behind the zeros that fill the file; whatever
// else stands there is left.
void ByteReader::EndMember() {
  const std::string_view rest =
      std::string_view(content_).substr(static_cast<size_t>(PackedOffset()));
  if (IsGzip(rest)) {
    inflateReset(&stream_);
    return;
  }
  stream_ended_ = true;
  if (rest.find_first_not_of('\0') == std::string_view::npos) stream_.next_in += rest.size();
}

void ByteReader::Fail(int64_t offset, const std::string& found, const std::string& expected) const {
  const std::string where = file_.string() + ": offset " + std::to_string(offset);
  throw Error(ErrorKind::kData, where + (packed_ ? " of the unpacked content" : ""),
              "found " + found + ", expected " + expected, hint_);
}

void ByteReader::FailPacked(const std::string& found, const std::string& expected) const {
  throw Error(ErrorKind::kData,
              file_.string() + ": offset " + std::to_string(PackedOffset()) + " of the gzip file",
              "found " + found + ", expected " + expected, hint_);
}

}  // namespace sgdscope
