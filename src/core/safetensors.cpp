#include "core/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/crc32.h"
#include "core/error.h"
#include "core/files.h"

namespace sgdscope {
namespace {

using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

// The checksum stands first, so that its place is known before anything is parsed. It covers the
// whole file, with zeros in its own place.
constexpr std::string_view kPrefix = R"({"__metadata__":{"crc32":")";
constexpr std::string_view kNoChecksum = "00000000";
constexpr size_t kLengthBytes = 8;
constexpr size_t kChecksumAt = kLengthBytes + kPrefix.size();
constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation

struct DTypeInfo {
  DType dtype;
  const char* name;
  int64_t size;
};
constexpr DTypeInfo kDTypes[] = {{DType::kUint8, "U8", 1},    {DType::kInt64, "I64", 8},
                                 {DType::kFloat16, "F16", 2}, {DType::kBfloat16, "BF16", 2},
                                 {DType::kFloat32, "F32", 4}, {DType::kFloat64, "F64", 8}};

const DTypeInfo& InfoOf(DType dtype) {
  return *std::ranges::find(kDTypes, dtype, &DTypeInfo::dtype);
}

// -1 where the count overflows or a dimension is negative.
int64_t BytesOf(DType dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = SizeOf(dtype);
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return -1;
  }
  return bytes;
}

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Json HeaderOf(const std::map<std::string, TensorView>& tensors,
              const std::map<std::string, std::string>& metadata) {
  Json header;
  header["__metadata__"]["crc32"] = kNoChecksum;
  for (const auto& [key, value] : metadata) {
    if (key == "crc32") throw Error(ErrorKind::kInternal, "metadata crc32", "the name is taken");
    header["__metadata__"][key] = value;
  }
  int64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto bytes = static_cast<int64_t>(tensor.bytes.size());
    if (name == "__metadata__" || BytesOf(tensor.dtype, tensor.shape) != bytes) {
      throw Error(
          ErrorKind::kInternal, "tensor " + name,
          "its name is taken, or its shape does not fit its " + std::to_string(bytes) + " bytes");
    }
    header[name] = {{"dtype", InfoOf(tensor.dtype).name},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  return header;
}

// The length and the header, padded so that the data begins at a multiple of 8.
std::string HeaderText(const Json& header) {
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error&) {
    throw Error(ErrorKind::kData, "checkpoint metadata", "a text in it is not valid UTF-8",
                "Look for unusual characters in the config, its path and its labels.");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::string prefix(kLengthBytes, '\0');
  std::memcpy(prefix.data(), &length, kLengthBytes);
  return prefix + text;
}

/// Reads one file's content; each check throws with the file's name.
class Reader {
 public:
  Reader(std::string_view content, const std::string& where, WrittenBy by)
      : content_(content), where_(where), by_(by) {}

  SafetensorsFile Read() {
    const size_t data_at = kLengthBytes + HeaderLength();
    SafetensorsFile file;
    file.checked = by_ == WrittenBy::kUs || HasChecksum();
    if (file.checked) CheckChecksum();
    const Json header = Parse(content_.substr(0, data_at));
    std::vector<Place> places;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        file.metadata = Metadata(entry);
      } else {
        places.push_back(PlaceOf(name, entry, file.tensors[name]));
      }
    }
    CheckPlaces(places, content_.size() - data_at);
    for (const Place& place : places) {
      const auto* begin = reinterpret_cast<const std::byte*>(content_.data()) + data_at;
      file.tensors[place.name].bytes.assign(begin + place.begin, begin + place.end);
    }
    return file;
  }

 private:
  struct Place {
    uint64_t begin;
    uint64_t end;
    std::string name;
    auto operator<=>(const Place&) const = default;
  };

  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kData, where_, what,
                by_ == WrittenBy::kUs
                    ? "The file is damaged or was not written by sgdscope. Use another checkpoint."
                    : "The file is damaged or is no safetensors file. Copy or save it again: in "
                      "Python safetensors.torch.save_file(model.state_dict(), FILE).");
  }
  [[noreturn]] void FailTensor(const std::string& name, const std::string& what) const {
    Fail("tensor '" + name + "': " + what);
  }

  uint64_t HeaderLength() const {
    if (content_.size() < kLengthBytes) {
      Fail("holds " + std::to_string(content_.size()) + " bytes, expected at least 8");
    }
    uint64_t length;
    std::memcpy(&length, content_.data(), kLengthBytes);
    const uint64_t available = std::min(content_.size() - kLengthBytes, kMaxHeader);
    if (length > available) {
      Fail("offset 0: the header has " + std::to_string(length) + " bytes, expected at most " +
           std::to_string(available));
    }
    return length;
  }

  bool HasChecksum() const {
    return content_.size() >= kChecksumAt + kNoChecksum.size() &&
           content_.substr(kLengthBytes, kPrefix.size()) == kPrefix;
  }

  void CheckChecksum() const {
    const size_t after = kChecksumAt + kNoChecksum.size();
    if (!HasChecksum()) {
      Fail("offset 8: no checksum of ours, expected " + std::string(kPrefix));
    }
    Crc32 checksum;
    checksum.Add(content_.substr(0, kChecksumAt));
    checksum.Add(kNoChecksum);
    checksum.Add(content_.substr(after));
    const auto found = content_.substr(kChecksumAt, kNoChecksum.size());
    if (found != checksum.Hex()) {
      Fail("offset " + std::to_string(kChecksumAt) + ": the content has the checksum " +
           checksum.Hex() + ", expected " + std::string(found));
    }
  }

  Json Parse(std::string_view text) const {
    try {
      Json header = Json::parse(text.substr(kLengthBytes));
      if (header.is_object()) return header;
    } catch (const Json::exception& error) {
      Fail(std::string("offset 8: the header is not JSON: ") + error.what());
    }
    Fail("offset 8: the header is not a JSON object");
  }

  std::map<std::string, std::string> Metadata(const Json& entry) const {
    std::map<std::string, std::string> metadata;
    if (!entry.is_object()) Fail("__metadata__ is not an object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) Fail("__metadata__ '" + key + "' is not a string");
      if (key != "crc32") metadata[key] = value.get<std::string>();
    }
    return metadata;
  }

  // Checks the entry and fills dtype and shape.
  Place PlaceOf(const std::string& name, const Json& entry, StoredTensor& tensor) const {
    if (!entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets")) {
      FailTensor(name, "needs dtype, shape and data_offsets");
    }
    const auto* info = std::ranges::find(kDTypes, entry["dtype"], &DTypeInfo::name);
    if (info == std::end(kDTypes)) {
      FailTensor(name,
                 "dtype " + entry["dtype"].dump() + ", expected U8, I64, F16, BF16, F32 or F64");
    }
    const auto shape = Naturals(name, entry["shape"]);
    const auto offsets = Naturals(name, entry["data_offsets"]);
    tensor.dtype = info->dtype;
    tensor.shape.assign(shape.begin(), shape.end());
    const int64_t bytes = BytesOf(tensor.dtype, tensor.shape);
    if (bytes < 0) FailTensor(name, "shape " + entry["shape"].dump() + " overflows");
    if (offsets.size() != 2 || offsets[1] < offsets[0] ||
        offsets[1] - offsets[0] != static_cast<uint64_t>(bytes)) {
      FailTensor(name, "data_offsets " + entry["data_offsets"].dump() +
                           ", expected a distance of " + std::to_string(bytes) + " bytes");
    }
    return {offsets[0], offsets[1], name};
  }

  std::vector<uint64_t> Naturals(const std::string& name, const Json& list) const {
    const auto natural = [](const Json& item) { return item.is_number_unsigned(); };
    if (!list.is_array() || !std::ranges::all_of(list, natural)) {
      FailTensor(name, "found " + list.dump() + ", expected a list of whole numbers >= 0");
    }
    return list.get<std::vector<uint64_t>>();
  }

  // The tensors must tile the data: no gap, no overlap, nothing after them.
  void CheckPlaces(std::vector<Place> places, uint64_t size) const {
    std::ranges::sort(places);
    uint64_t end = 0;
    for (const Place& place : places) {
      if (place.begin != end) {
        FailTensor(place.name, "begins at data offset " + std::to_string(place.begin) +
                                   ", expected " + std::to_string(end));
      }
      end = place.end;
    }
    if (end != size) {
      Fail("the tensors take " + std::to_string(end) + " bytes, the file holds " +
           std::to_string(size) + " for them");
    }
  }

  std::string_view content_;
  const std::string& where_;
  WrittenBy by_;
};

}  // namespace

int64_t SizeOf(DType dtype) { return InfoOf(dtype).size; }

void WriteSafetensors(const std::filesystem::path& path,
                      const std::map<std::string, TensorView>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::string header = HeaderText(HeaderOf(tensors, metadata));
  // The tensors are hashed and written where they lie: checkpoints are large.
  std::vector<std::string_view> parts = {header};
  for (const auto& [name, tensor] : tensors) parts.push_back(TextOf(tensor.bytes));
  Crc32 checksum;
  for (const std::string_view part : parts) checksum.Add(part);
  header.replace(kChecksumAt, kNoChecksum.size(), checksum.Hex());
  parts[0] = header;
  WriteFileAtomically(path, parts);
}

SafetensorsFile ReadSafetensors(const std::filesystem::path& path, WrittenBy by) {
  return ParseSafetensors(ReadFile(path, ErrorKind::kResource, kMakeReadable), path.string(), by);
}

SafetensorsFile ParseSafetensors(std::string_view content, const std::string& where, WrittenBy by) {
  return Reader(content, where, by).Read();
}

}  // namespace sgdscope
