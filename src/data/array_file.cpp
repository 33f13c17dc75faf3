#include "data/array_file.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "core/error.h"

// .npy: "\x93NUMPY", a version, the length of a header, the header as text of Python, e.g.
// {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 784), }, and the numbers.
// .npz: a zip archive of them. Its directory stands at its end; each member has a checksum.
// .safetensors: 8 bytes, the length of a header of JSON, the header, and the numbers.

namespace sgdscope {
namespace {

using Json = nlohmann::json;

constexpr int64_t kBlock = int64_t{1} << 20;
constexpr int64_t kLargestHeader = int64_t{1} << 16;   // of an .npy; NumPy reads 10,000 bytes
constexpr int64_t kLargestTensorHeader = 100'000'000;  // safetensors' own limit
constexpr int64_t kLargestRatio = 1032;                // of deflate: 258 bytes from two bits
constexpr std::string_view kNumpy("\x93NUMPY");
constexpr std::string_view kZip("PK\x03\x04");
constexpr char kWriteAgain[] = "numpy.save(FILE, numpy.ascontiguousarray(x, dtype=\"float32\"))";

struct TypeInfo {
  NumberType type;
  std::string_view descr;   // in an .npy
  std::string_view tensor;  // in a safetensors file
  std::string_view name;
  int64_t size;
};
constexpr TypeInfo kTypes[] = {
    {NumberType::kBool, "|b1", "BOOL", "bool", 1},
    {NumberType::kUint8, "|u1", "U8", "uint8", 1},
    {NumberType::kInt8, "|i1", "I8", "int8", 1},
    {NumberType::kUint16, "<u2", "U16", "uint16", 2},
    {NumberType::kInt16, "<i2", "I16", "int16", 2},
    {NumberType::kUint32, "<u4", "U32", "uint32", 4},
    {NumberType::kInt32, "<i4", "I32", "int32", 4},
    {NumberType::kUint64, "<u8", "U64", "uint64", 8},
    {NumberType::kInt64, "<i8", "I64", "int64", 8},
    {NumberType::kFloat32, "<f4", "F32", "float32", 4},
    {NumberType::kFloat64, "<f8", "F64", "float64", 8},
};

const TypeInfo& InfoOf(NumberType type) {
  return *std::ranges::find(kTypes, type, &TypeInfo::type);
}

template <class From, class To>
void ConvertFrom(const std::byte* bytes, int64_t count, To* out) {
  for (int64_t i = 0; i < count; ++i) {
    From number;
    std::memcpy(&number, bytes + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
    out[i] = static_cast<To>(number);
  }
}

template <class To>
void Convert(NumberType type, const std::byte* bytes, int64_t count, To* out) {
  switch (type) {
    case NumberType::kBool:
      for (int64_t i = 0; i < count; ++i) out[i] = bytes[i] == std::byte{0} ? To{0} : To{1};
      return;
    case NumberType::kUint8:
      return ConvertFrom<uint8_t>(bytes, count, out);
    case NumberType::kInt8:
      return ConvertFrom<int8_t>(bytes, count, out);
    case NumberType::kUint16:
      return ConvertFrom<uint16_t>(bytes, count, out);
    case NumberType::kInt16:
      return ConvertFrom<int16_t>(bytes, count, out);
    case NumberType::kUint32:
      return ConvertFrom<uint32_t>(bytes, count, out);
    case NumberType::kInt32:
      return ConvertFrom<int32_t>(bytes, count, out);
    case NumberType::kUint64:
      return ConvertFrom<uint64_t>(bytes, count, out);
    case NumberType::kInt64:
      return ConvertFrom<int64_t>(bytes, count, out);
    case NumberType::kFloat32:
      return ConvertFrom<float>(bytes, count, out);
    case NumberType::kFloat64:
      return ConvertFrom<double>(bytes, count, out);
  }
}

std::string Listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

// What stands behind a key of an .npy's header, from its value on; nothing if it has no such key.
std::string_view ValueOf(std::string_view header, const std::string& key) {
  const size_t found = header.find("'" + key + "'");
  if (found == std::string_view::npos) return {};
  const size_t value = header.find_first_not_of(": ", found + key.size() + 2);
  return value == std::string_view::npos ? std::string_view() : header.substr(value);
}

// The whole numbers >= 0 of a tuple "(60000, 784)"; none if it isn't one.
std::optional<std::vector<int64_t>> TupleOf(std::string_view text) {
  std::vector<int64_t> numbers;
  const size_t end = text.find(')');
  if (!text.starts_with('(') || end == std::string_view::npos) return {};
  text = text.substr(1, end - 1);
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    if (text.empty()) return numbers;
    int64_t number;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || number < 0) return {};
    numbers.push_back(number);
    text.remove_prefix(static_cast<size_t>(rest - text.data()));
    if (text.starts_with(',')) {
      text.remove_prefix(1);
    } else if (!text.empty()) {
      return {};
    }
  }
}

}  // namespace

ArrayPlace::ArrayPlace(const std::filesystem::path& place) : file(place) {
  const std::string text = place.string();
  for (const std::string ending : {".npz:", ".safetensors:"}) {
    const size_t found = text.find(ending);
    if (found == std::string::npos) continue;
    file = text.substr(0, found + ending.size() - 1);
    name = text.substr(found + ending.size());
  }
}

/// A member of an .npz as its directory has it.
struct ArrayFile::Member {
  std::string name;
  uint16_t flags;
  uint16_t method;
  uint32_t checksum;
  uint64_t packed;  // bytes in the file
  uint64_t size;    // bytes when unpacked
  uint64_t header;  // offset
};

ArrayFile::ArrayFile(const std::filesystem::path& place, const std::string& hint)
    : file_(ArrayPlace(place).file, place.string(), hint) {
  const std::string name = ArrayPlace(place).name;
  const std::string begin = file_.TextAt(0, std::min<int64_t>(file_.size(), 10));
  if (begin.starts_with(kNumpy)) {
    end_ = file_.size();
    OpenNumpy(file_.size());
  } else if (begin.starts_with(kZip)) {
    OpenMember(name);
  } else if (begin.size() > 8 && begin[8] == '{') {
    OpenTensor(name);
  } else {
    file_.Fail(0, file_.size() == 0 ? "an empty file" : "another kind of file",
               "an array of NumPy (.npy, .npz) or a safetensors file");
  }
}

ArrayFile::~ArrayFile() {
  if (deflated_) inflateEnd(&stream_);
}

std::string ArrayFile::type_name() const { return std::string(InfoOf(type_).name); }

// Reads the header of an .npy, which has `size` bytes.
void ArrayFile::OpenNumpy(int64_t size) {
  std::byte begin[12];
  int64_t header_at = 10;
  if (size < header_at) file_.Fail(next_, std::to_string(size) + " bytes", "an .npy with a header");
  const int64_t start = next_;
  ReadBytes(begin, header_at);
  if (std::memcmp(begin, kNumpy.data(), kNumpy.size()) != 0) {
    file_.Fail(start, "another kind of content", "an array of NumPy");
  }
  int64_t length = std::to_integer<int64_t>(begin[8]) | std::to_integer<int64_t>(begin[9]) << 8;
  if (begin[6] != std::byte{1}) {  // versions 2 and 3 have four bytes
    if (size < header_at + 2) file_.Fail(start, "no whole header", "one");
    ReadBytes(begin + 10, 2);
    length |= std::to_integer<int64_t>(begin[10]) << 16 | std::to_integer<int64_t>(begin[11]) << 24;
    header_at += 2;
  }
  if (length > std::min(size - header_at, kLargestHeader)) {
    file_.Fail(start, "a header of " + std::to_string(length) + " bytes",
               "at most " + std::to_string(std::min(size - header_at, kLargestHeader)));
  }
  std::string header(static_cast<size_t>(length), '\0');
  ReadBytes(reinterpret_cast<std::byte*>(header.data()), length);

  const std::string_view descr = ValueOf(header, "descr");
  const size_t quote = descr.starts_with('\'') ? descr.find('\'', 1) : std::string_view::npos;
  const std::string_view name = quote == std::string_view::npos ? "" : descr.substr(1, quote - 1);
  const auto* info = std::ranges::find(kTypes, name, &TypeInfo::descr);
  if (info == std::end(kTypes)) {
    file_.Refuse("found numbers of type " + std::string(descr.substr(0, descr.find(','))) +
                     ", expected bool, integers of 8 to 64 bits, float32 or float64, little-endian",
                 std::string("Write it anew: ") + kWriteAgain + ".");
  }
  type_ = info->type;
  const auto shape = TupleOf(ValueOf(header, "shape"));
  if (!shape) file_.Fail(start, "a header without a shape", "'shape': (numbers)");
  shape_ = *shape;
  if (!ValueOf(header, "fortran_order").starts_with("False")) {
    file_.Refuse("the array lies in Fortran order (first index fastest), expected C order",
                 std::string("Write it anew: ") + kWriteAgain + ".");
  }
  ExpectSize(size - header_at - length, start);
}

void ArrayFile::OpenMember(const std::string& name) {
  const std::vector<Member> members = Members();
  const auto member = std::ranges::find(members, name + ".npy", &Member::name);
  if (member == members.end()) {
    std::vector<std::string> names;
    for (const Member& other : members) {
      if (other.name.ends_with(".npy"))
        names.push_back(other.name.substr(0, other.name.size() - 4));
    }
    file_.Refuse((name.empty() ? "names no array" : "has no array of this name") +
                     std::string("; it holds: ") + Listed(names),
                 "Give file and array: FILE.npz:NAME.");
  }
  const auto header = static_cast<int64_t>(member->header);
  if (member->header > static_cast<uint64_t>(file_.size()) || file_.TextAt(header, 4) != kZip) {
    file_.Fail(std::min(file_.size(), header), "no member of a zip archive", "one");
  }
  if ((member->flags & 1) != 0 || (member->method != 0 && member->method != 8)) {
    file_.Refuse("is encrypted, or packed by method " + std::to_string(member->method) +
                     ", expected stored or deflated members",
                 "Write it with numpy.savez or numpy.savez_compressed.");
  }
  next_ =
      header + 30 + file_.NumberAt<uint16_t>(header + 26) + file_.NumberAt<uint16_t>(header + 28);
  if (next_ > file_.size() || member->packed > static_cast<uint64_t>(file_.size() - next_)) {
    file_.Fail(header, "a member of " + std::to_string(member->packed) + " bytes",
               "one that ends within the file (truncated?)");
  }
  end_ = next_ + static_cast<int64_t>(member->packed);
  deflated_ = member->method == 8;
  const uint64_t most = member->packed * (deflated_ ? kLargestRatio : 1);
  if (member->size > most || (!deflated_ && member->size != most)) {
    file_.Fail(
        header,
        std::to_string(member->size) + " unpacked bytes from " + std::to_string(member->packed),
        "at most " + std::to_string(most));
  }
  has_checksum_ = true;
  expected_checksum_ = member->checksum;
  if (deflated_) {
    if (inflateInit2(&stream_, -MAX_WBITS) != Z_OK) {
      deflated_ = false;
      throw Error(ErrorKind::kResource, "zlib", "no memory to unpack an array");
    }
    packed_.resize(static_cast<size_t>(std::min<int64_t>(end_ - next_, kBlock)));
  }
  OpenNumpy(static_cast<int64_t>(member->size));
}

std::vector<ArrayFile::Member> ArrayFile::Members() const {
  constexpr int64_t kEnd = 22;  // bytes of the end record, which a comment may follow
  const int64_t tail = std::min<int64_t>(file_.size(), kEnd + 0xffff);
  const size_t found = file_.TextAt(file_.size() - tail, tail).rfind("PK\x05\x06");
  if (found == std::string::npos || static_cast<int64_t>(found) + kEnd > tail) {
    file_.Fail(file_.size(), "the end of the file (truncated?)", "a zip archive's directory");
  }
  const int64_t end = file_.size() - tail + static_cast<int64_t>(found);
  uint64_t count = file_.NumberAt<uint16_t>(end + 10);
  uint64_t offset = file_.NumberAt<uint32_t>(end + 16);
  if (count == 0xffff || offset == 0xffffffff) {  // a record for large archives has the numbers
    if (end < 20 || file_.TextAt(end - 20, 4) != "PK\x06\x07") {
      file_.Fail(end, "no place of the directory", "a zip archive");
    }
    const auto large = file_.NumberAt<uint64_t>(end - 12);
    if (large > static_cast<uint64_t>(file_.size())) file_.Fail(end - 12, "no offset", "one");
    count = file_.NumberAt<uint64_t>(static_cast<int64_t>(large) + 32);
    offset = file_.NumberAt<uint64_t>(static_cast<int64_t>(large) + 48);
  }
  if (offset > static_cast<uint64_t>(end)) file_.Fail(end, "no offset of the directory", "one");
  std::vector<Member> members;
  auto next = static_cast<int64_t>(offset);
  for (uint64_t i = 0; i < count; ++i) members.push_back(MemberAt(next));
  return members;
}

// The entry at `offset` of the directory; moves on to the next one.
ArrayFile::Member ArrayFile::MemberAt(int64_t& offset) const {
  if (file_.TextAt(offset, 4) != "PK\x01\x02") file_.Fail(offset, "no entry of a directory", "one");
  Member member{"",
                file_.NumberAt<uint16_t>(offset + 8),
                file_.NumberAt<uint16_t>(offset + 10),
                file_.NumberAt<uint32_t>(offset + 16),
                file_.NumberAt<uint32_t>(offset + 20),
                file_.NumberAt<uint32_t>(offset + 24),
                file_.NumberAt<uint32_t>(offset + 42)};
  const int64_t name = offset + 46;
  const int64_t extra = name + file_.NumberAt<uint16_t>(offset + 28);
  const int64_t comment = extra + file_.NumberAt<uint16_t>(offset + 30);
  member.name = file_.TextAt(name, extra - name);
  offset = comment + file_.NumberAt<uint16_t>(offset + 32);
  // Numbers that are too large for their places stand in the extra field of kind 1.
  for (int64_t field = extra; field + 4 <= comment;) {
    const auto kind = file_.NumberAt<uint16_t>(field);
    int64_t at = field + 4;
    field = at + file_.NumberAt<uint16_t>(field + 2);
    if (kind != 1) continue;
    for (uint64_t* number : {&member.size, &member.packed, &member.header}) {
      if (*number != 0xffffffff || at + 8 > field) continue;
      *number = file_.NumberAt<uint64_t>(at);
      at += 8;
    }
  }
  return member;
}

void ArrayFile::OpenTensor(const std::string& name) {
  const auto length = file_.NumberAt<uint64_t>(0);
  const int64_t most = std::min(file_.size() - 8, kLargestTensorHeader);
  if (length > static_cast<uint64_t>(most)) {
    file_.Fail(0, "a header of " + std::to_string(length) + " bytes",
               "at most " + std::to_string(most) + " (truncated?)");
  }
  const int64_t data = 8 + static_cast<int64_t>(length);
  const Json header = Json::parse(file_.TextAt(8, data - 8), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) file_.Fail(8, "a header that is no JSON object", "a safetensors file");
  if (name == "__metadata__" || !header.contains(name)) {
    std::vector<std::string> names;
    for (const auto& [other, entry] : header.items()) {
      if (other != "__metadata__") names.push_back(other);
    }
    file_.Refuse((name.empty() ? "names no array" : "has no array of this name") +
                     std::string("; it holds: ") + Listed(names),
                 "Give file and array: FILE.safetensors:NAME.");
  }
  const Json& entry = header[name];
  const auto naturals = [&](const char* key) {
    const auto is_natural = [](const Json& item) {
      return item.is_number_unsigned() && item <= uint64_t{1} << 62;
    };
    if (!entry.is_object() || !entry.contains(key) || !entry[key].is_array() ||
        !std::ranges::all_of(entry[key], is_natural)) {
      file_.Fail(8, std::string("no ") + key, "a list of whole numbers >= 0");
    }
    return entry[key].get<std::vector<int64_t>>();
  };
  shape_ = naturals("shape");
  const std::vector<int64_t> offsets = naturals("data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > file_.size() - data) {
    file_.Fail(8, "data_offsets " + entry["data_offsets"].dump(),
               "a place within the " + std::to_string(file_.size() - data) + " bytes (truncated?)");
  }
  const Json type = entry.value("dtype", Json());
  const auto* info = std::ranges::find_if(
      kTypes, [&](const TypeInfo& known) { return type == std::string(known.tensor); });
  if (info == std::end(kTypes)) {
    file_.Refuse("found numbers of type " + type.dump() +
                     ", expected bool, integers of 8 to 64 bits, float32 or float64",
                 "Convert it, to float32 say, and write it anew.");
  }
  type_ = info->type;
  next_ = data + offsets[0];
  end_ = data + offsets[1];
  ExpectSize(offsets[1] - offsets[0], 8);
}

// That the array has as many numbers as fit into `bytes`; `offset`: of the header.
void ArrayFile::ExpectSize(int64_t bytes, int64_t offset) const {
  int64_t expected = InfoOf(type_).size;
  std::string text;
  bool overflows = false;
  for (const int64_t extent : shape_) {
    overflows |= __builtin_mul_overflow(expected, extent, &expected);
    text += (text.empty() ? "" : ", ") + std::to_string(extent);
  }
  if (!overflows && expected == bytes) return;
  file_.Fail(offset, std::to_string(bytes) + " bytes of numbers",
             (overflows ? "more than there can be" : std::to_string(expected)) +
                 " for the shape (" + text + ") in " + type_name() + " (truncated?)");
}

template <class To>
void ArrayFile::Read(To* out, int64_t count) {
  const int64_t size = InfoOf(type_).size;
  std::vector<std::byte> block(static_cast<size_t>(std::min(count * size, kBlock)));
  for (int64_t done = 0; done < count;) {
    const int64_t now = std::min(count - done, kBlock / size);
    ReadBytes(block.data(), now * size);
    Convert(type_, block.data(), now, out + done);
    done += now;
  }
}

template void ArrayFile::Read(uint8_t*, int64_t);
template void ArrayFile::Read(int64_t*, int64_t);
template void ArrayFile::Read(float*, int64_t);
template void ArrayFile::Read(double*, int64_t);

void ArrayFile::ReadBytes(std::byte* out, int64_t count) {
  if (deflated_) {
    if (Inflate(out, count) < count) {
      file_.Fail(next_, "the end of the packed array", "more of it");
    }
  } else {
    if (count > end_ - next_) file_.Fail(end_, "the end of the array", "more of it");
    file_.ReadAt(next_, out, count);
    next_ += count;
  }
  if (has_checksum_) {
    checksum_ = crc32_z(checksum_, reinterpret_cast<const Bytef*>(out), static_cast<size_t>(count));
  }
}

// Unpacks the next bytes, fewer than `count` only where the packed ones end.
int64_t ArrayFile::Inflate(std::byte* out, int64_t count) {
  int64_t done = 0;
  while (done < count && !stream_ended_) {
    if (stream_.avail_in == 0) {
      const int64_t rest = std::min<int64_t>(end_ - next_, kBlock);
      file_.ReadAt(next_, packed_.data(), rest);
      next_ += rest;
      stream_.next_in = reinterpret_cast<Bytef*>(packed_.data());
      stream_.avail_in = static_cast<uInt>(rest);
    }
    const auto room = static_cast<uInt>(std::min(count - done, kBlock));
    stream_.next_out = reinterpret_cast<Bytef*>(out + done);
    stream_.avail_out = room;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    done += room - stream_.avail_out;
    stream_ended_ = status == Z_STREAM_END;
    if (status == Z_OK || status == Z_STREAM_END) continue;
    const int64_t offset = next_ - static_cast<int64_t>(stream_.avail_in);
    if (status == Z_BUF_ERROR) file_.Fail(offset, "the end of the packed array", "more of it");
    file_.Fail(offset, stream_.msg != nullptr ? stream_.msg : "an error of zlib", "a sound file");
  }
  return done;
}

void ArrayFile::ExpectEnd() {
  std::byte extra;
  if (deflated_ ? Inflate(&extra, 1) > 0 : next_ != end_) {
    file_.Fail(next_, "more bytes", "the end of the array");
  }
  if (has_checksum_ && checksum_ != expected_checksum_) {
    file_.Refuse("the content of the array has not the checksum that the archive has for it");
  }
}

}  // namespace sgdscope
