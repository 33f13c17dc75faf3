#include "data/data_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string_view>
#include <utility>

#include "core/crc32.h"
#include "core/error.h"

namespace sgdscope {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie");

constexpr char kMakeReadable[] = "Check that the path is right and that you may read it.";

}  // namespace

DataFile::DataFile(const std::filesystem::path& file, std::string place, std::string hint)
    : file_(file),
      place_(std::move(place)),
      hint_(std::move(hint)),
      descriptor_(OpenFile(file, O_RDONLY)) {
  struct stat status;
  if (descriptor_.get() < 0 || fstat(descriptor_.get(), &status) != 0) {
    throw SystemError(ErrorKind::kData, file_, "open the file", kMakeReadable);
  }
  size_ = status.st_size;
}

void DataFile::ReadAt(int64_t offset, void* out, int64_t count) const {
  if (offset < 0 || count < 0 || offset > size_ || count > size_ - offset) {
    Fail(std::min(std::max<int64_t>(offset, 0), size_), "the end of the file (truncated?)",
         std::to_string(count) + " bytes");
  }
  auto* to = static_cast<char*>(out);
  while (count > 0) {
    const ssize_t got = pread(descriptor_.get(), to, static_cast<size_t>(count), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError(ErrorKind::kData, file_, "read", kMakeReadable);
    if (got == 0) Fail(offset, "the end of the file, which was longer before", "more bytes");
    to += got;
    offset += got;
    count -= got;
  }
}

std::string DataFile::TextAt(int64_t offset, int64_t count) const {
  if (count > size_) Fail(offset, "a file of " + std::to_string(size_) + " bytes", "more");
  std::string text(static_cast<size_t>(count), '\0');
  ReadAt(offset, text.data(), count);
  return text;
}

FileRecord DataFile::Record() const {
  constexpr int64_t kBlock = int64_t{1} << 20;
  std::string block(static_cast<size_t>(std::min(size_, kBlock)), '\0');
  Crc32 checksum;
  for (int64_t offset = 0; offset < size_; offset += kBlock) {
    const int64_t count = std::min(size_ - offset, kBlock);
    ReadAt(offset, block.data(), count);
    checksum.Add(std::string_view(block).substr(0, static_cast<size_t>(count)));
  }
  return {file_.string(), size_, checksum.Hex()};
}

void DataFile::Fail(int64_t offset, const std::string& found, const std::string& expected) const {
  throw Error(ErrorKind::kData, place_ + ": offset " + std::to_string(offset),
              "found " + found + ", expected " + expected, hint_);
}

void DataFile::Refuse(const std::string& what, const std::string& hint) const {
  throw Error(ErrorKind::kData, place_, what, hint);
}

}  // namespace sgdscope
