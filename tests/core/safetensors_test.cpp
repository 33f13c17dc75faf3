#include "core/safetensors.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "tests/expect_error.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

using Metadata = std::map<std::string, std::string>;
using Views = std::map<std::string, TensorView>;

template <class T>
TensorView View(DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  return {dtype, std::move(shape), std::as_bytes(std::span(values))};
}

template <class T>
std::vector<T> Values(const StoredTensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

// CRC-32 bit by bit, as its definition has it: the slow twin of zlib's.
uint32_t SlowCrc32(const std::string& text) {
  uint32_t crc = 0xffffffff;
  for (const unsigned char c : text) {
    crc ^= c;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

const std::string kZeros = "00000000";

// A whole file of this header and data, its checksum put in the place of the first eight zeros.
std::string FileOf(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  file += header + data;
  char hex[9];
  std::snprintf(hex, sizeof(hex), "%08x", SlowCrc32(file));
  const size_t place = file.find(kZeros, 8);
  if (place != std::string::npos) file.replace(place, 8, hex);
  return file;
}

// A file with these entries after the metadata.
std::string FileWith(const std::string& entries, const std::string& data) {
  return FileOf(R"({"__metadata__":{"crc32":"00000000"})" + entries + "}", data);
}

class SafetensorsTest : public testing::Test {
 protected:
  SafetensorsFile Read(const std::string& content) { return ParseSafetensors(content, "FILE"); }
  void ExpectRefused(const std::string& content, std::vector<std::string> parts) {
    parts.push_back("FILE: ");
    ExpectError(ErrorKind::kData, parts, [&] { Read(content); });
  }
  std::string Written(const Views& tensors, const Metadata& metadata) {
    WriteSafetensors(path_, tensors, metadata);
    return ReadFile(path_);
  }
  // With every dtype, a scalar and an empty tensor.
  std::string SmallFile() {
    return Written({{"b", View<uint8_t>(DType::kUint8, {3}, bytes_)},
                    {"d", View<double>(DType::kFloat64, {}, double_)},
                    {"e", View<float>(DType::kFloat32, {2, 0, 3}, {})},
                    {"f", View<float>(DType::kFloat32, {1, 2}, floats_)},
                    {"i", View<int64_t>(DType::kInt64, {2}, ints_)}},
                   {{"step", "12"}, {"note", "\"quoted\" \n \xc3\xa9"}});
  }

  TempFolder folder_;
  std::filesystem::path path_ = folder_ / "checkpoint.safetensors";
  std::vector<uint8_t> bytes_ = {0, 128, 255};
  std::vector<double> double_ = {-0.1};
  std::vector<float> floats_ = {1.5f, std::numeric_limits<float>::infinity()};
  std::vector<int64_t> ints_ = {-1, std::numeric_limits<int64_t>::max()};
};

TEST_F(SafetensorsTest, RoundTrip) {
  SmallFile();
  const SafetensorsFile file = ReadSafetensors(path_);
  EXPECT_EQ(file.metadata, (Metadata{{"step", "12"}, {"note", "\"quoted\" \n \xc3\xa9"}}));
  ASSERT_EQ(file.tensors.size(), 5u);
  const auto check = [&](const std::string& name, DType dtype, std::vector<int64_t> shape) {
    EXPECT_EQ(file.tensors.at(name).dtype, dtype) << name;
    EXPECT_EQ(file.tensors.at(name).shape, shape) << name;
  };
  check("b", DType::kUint8, {3});
  check("d", DType::kFloat64, {});
  check("e", DType::kFloat32, {2, 0, 3});
  check("f", DType::kFloat32, {1, 2});
  check("i", DType::kInt64, {2});
  EXPECT_EQ(Values<uint8_t>(file.tensors.at("b")), bytes_);
  EXPECT_EQ(Values<double>(file.tensors.at("d")), double_);
  EXPECT_EQ(Values<float>(file.tensors.at("e")), std::vector<float>());
  EXPECT_EQ(Values<float>(file.tensors.at("f")), floats_);
  EXPECT_EQ(Values<int64_t>(file.tensors.at("i")), ints_);
}

TEST_F(SafetensorsTest, RoundTripOfNothing) {
  const SafetensorsFile file = Read(Written({}, {}));
  EXPECT_TRUE(file.tensors.empty());
  EXPECT_TRUE(file.metadata.empty());
}

// The layout byte by byte: what other programs read.
TEST_F(SafetensorsTest, Layout) {
  const std::vector<uint8_t> a = {'x', 'y', 'z'};
  const std::vector<float> w = {1, -2};
  const std::string found = Written(
      {{"w", View<float>(DType::kFloat32, {2, 1}, w)}, {"a", View<uint8_t>(DType::kUint8, {3}, a)}},
      {{"step", "3"}});
  std::string header = R"({"__metadata__":{"crc32":"00000000","step":"3"},)"
                       R"("a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                       R"("w":{"dtype":"F32","shape":[2,1],"data_offsets":[3,11]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data("xyz\0\0\x80\x3f\0\0\0\xc0", 11);
  EXPECT_EQ(found, FileOf(header, data));
}

TEST_F(SafetensorsTest, DataIsAlignedWhateverTheHeader) {
  for (int length = 0; length < 9; ++length) {
    const std::string file = Written({{"i", View<int64_t>(DType::kInt64, {2}, ints_)}},
                                     {{"k", std::string(length, 'x')}});
    uint64_t header;
    std::memcpy(&header, file.data(), 8);
    EXPECT_EQ(header % 8, 0u);
    EXPECT_EQ(file.size(), 8 + header + 16);
    EXPECT_NE(file.substr(header, 8), std::string(8, ' '));  // no more padding than is needed
  }
}

TEST_F(SafetensorsTest, EveryFlippedBitIsFound) {
  const std::string good = SmallFile();
  EXPECT_NO_THROW(Read(good));
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string damaged = good;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    ExpectRefused(damaged, {});
    if (HasFailure()) FAIL() << "bit " << bit;
  }
}

TEST_F(SafetensorsTest, EveryTruncationIsFound) {
  const std::string good = SmallFile();
  EXPECT_NO_THROW(Read(good));
  for (size_t length = 0; length < good.size(); ++length) {
    ExpectRefused(good.substr(0, length), {});
    if (HasFailure()) FAIL() << "length " << length;
  }
  ExpectRefused(good + '\0', {"checksum"});
}

TEST_F(SafetensorsTest, RefusesBadLengths) {
  ExpectRefused("1234567", {"holds 7 bytes, expected at least 8", "Use another checkpoint"});
  ExpectRefused(std::string("\x09\0\0\0\0\0\0\0{\"a\":{}}", 16),
                {"the header has 9 bytes, expected at most 8"});
  ExpectRefused(std::string(16, '\xff'), {"18446744073709551615 bytes, expected at most 8"});
}

TEST_F(SafetensorsTest, RefusesHeadersBeyond100MB) {
  std::string file("\x01\xe1\xf5\x05\0\0\0\0", 8);  // 1e8 + 1
  file.resize(8 + 100'000'001, ' ');
  ExpectRefused(file, {"the header has 100000001 bytes, expected at most 100000000"});
}

TEST_F(SafetensorsTest, RefusesFilesWithoutOurChecksum) {
  ExpectRefused(FileOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"),
                {"offset 8", "no checksum"});
  ExpectRefused(FileOf(R"({"__metadata__":{"crc32":")", ""), {"no checksum"});
  std::string upper = FileWith("", "0123");
  const size_t place = 8 + std::string(R"({"__metadata__":{"crc32":")").size();
  for (size_t i = 0; i < 8; ++i)
    upper[place + i] = static_cast<char>(std::toupper(upper[place + i]));
  ExpectRefused(upper, {"checksum"});
}

// As safetensors.torch.save_file writes them.
TEST_F(SafetensorsTest, ReadsFilesOfOtherProgramsWhereTheyAreAllowed) {
  const std::string file = FileOf(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
      R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[2,6]}})",
      "abcdef");
  ExpectRefused(file, {"no checksum"});
  const SafetensorsFile read = ParseSafetensors(file, "FILE", WrittenBy::kAnyone);
  EXPECT_FALSE(read.checked);
  EXPECT_EQ(read.tensors.at("a").dtype, DType::kFloat16);
  EXPECT_EQ(Values<char>(read.tensors.at("b")), (std::vector<char>{'c', 'd', 'e', 'f'}));
  ExpectError(ErrorKind::kData, {"FILE: the tensors take 6 bytes", "save_file"},
              [&] { ParseSafetensors(file + "g", "FILE", WrittenBy::kAnyone); });
  // A checksum of ours that is there is looked at.
  std::string ours = SmallFile();
  EXPECT_TRUE(ParseSafetensors(ours, "FILE", WrittenBy::kAnyone).checked);
  ours.back() ^= 1;
  ExpectError(ErrorKind::kData, {"checksum"},
              [&] { ParseSafetensors(ours, "FILE", WrittenBy::kAnyone); });
}

// From here on the checksum is right, as a faulty writer would make it.

TEST_F(SafetensorsTest, AcceptsWhatTheTestsBelowAreMadeOf) {
  const auto file = Read(FileWith(
      R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})",
      "xyz"));
  EXPECT_EQ(Values<uint8_t>(file.tensors.at("a")), (std::vector<uint8_t>{'x', 'y'}));
  EXPECT_EQ(Values<uint8_t>(file.tensors.at("b")), (std::vector<uint8_t>{'z'}));
}

TEST_F(SafetensorsTest, RefusesBadHeaders) {
  ExpectRefused(FileOf(R"({"__metadata__":{"crc32":"00000000"}, "a")", ""), {"not JSON"});
  ExpectRefused(FileOf(R"({"__metadata__":{"crc32":"00000000"}} x)", ""), {"not JSON"});
  ExpectRefused(FileOf(R"({"__metadata__":{"crc32":"00000000","n":1}})", ""),
                {"'n' is not a string"});
  ExpectRefused(FileOf(R"({"__metadata__":{"crc32":"00000000"},"__metadata__":3})", ""),
                {"__metadata__ is not an object"});
}

TEST_F(SafetensorsTest, RefusesBadEntries) {
  const auto refuse = [&](const std::string& entry, const std::vector<std::string>& parts) {
    ExpectRefused(FileWith(R"(,"t":)" + entry, "12345678"), parts);
  };
  refuse("3", {"'t'", "needs dtype, shape and data_offsets"});
  refuse(R"({"shape":[8],"data_offsets":[0,8]})", {"needs dtype"});
  refuse(R"({"dtype":"U8","data_offsets":[0,8]})", {"needs dtype, shape"});
  refuse(R"({"dtype":"U8","shape":[8]})", {"and data_offsets"});
  refuse(R"({"dtype":"F8","shape":[8],"data_offsets":[0,8]})", {"dtype \"F8\"", "expected U8"});
  refuse(R"({"dtype":8,"shape":[4],"data_offsets":[0,8]})", {"dtype 8"});
  refuse(R"({"dtype":"U8","shape":8,"data_offsets":[0,8]})", {"found 8", "list of whole numbers"});
  refuse(R"({"dtype":"U8","shape":[-8],"data_offsets":[0,8]})", {"found [-8]", ">= 0"});
  refuse(R"({"dtype":"U8","shape":[8.0],"data_offsets":[0,8]})", {"found [8.0]"});
  refuse(R"({"dtype":"U8","shape":["8"],"data_offsets":[0,8]})", {"found [\"8\"]"});
}

TEST_F(SafetensorsTest, RefusesOverflowingShapes) {
  const auto refuse = [&](const std::string& shape) {
    ExpectRefused(
        FileWith(R"(,"t":{"dtype":"F64","shape":)" + shape + R"(,"data_offsets":[0,0]})", ""),
        {"'t'", "shape " + shape + " overflows"});
  };
  refuse("[4294967296,4294967296]");    // 2^64 elements: 0 if it wrapped
  refuse("[2305843009213693952]");      // 2^61 elements of 8 bytes
  refuse("[18446744073709551615]");     // -1 as int64
  refuse("[9223372036854775808,2,0]");  // 2^63
}

TEST_F(SafetensorsTest, RefusesBadOffsets) {
  const auto refuse = [&](const std::string& offsets, const std::string& part) {
    ExpectRefused(
        FileWith(R"(,"t":{"dtype":"F32","shape":[2],"data_offsets":)" + offsets + "}", "12345678"),
        {"'t'", part});
  };
  refuse("[0,7]", "expected a distance of 8 bytes");
  refuse("[0,9]", "expected a distance of 8 bytes");
  refuse("[8,0]", "expected a distance of 8 bytes");
  refuse("[0]", "expected a distance of 8 bytes");
  refuse("[0,8,16]", "expected a distance of 8 bytes");
  refuse("[1,9]", "begins at data offset 1, expected 0");
  refuse("[-8,0]", "list of whole numbers");
  refuse("[18446744073709551608,0]", "expected a distance of 8 bytes");  // 8 if it wrapped
}

TEST_F(SafetensorsTest, RefusesGapsOverlapsAndTrailingBytes) {
  const auto refuse = [&](int second_at, const std::string& data, const std::string& part) {
    const std::string offsets =
        "[" + std::to_string(second_at) + "," + std::to_string(second_at + 2) + "]";
    ExpectRefused(FileWith(R"(,"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                           R"("b":{"dtype":"U8","shape":[2],"data_offsets":)" +
                               offsets + "}",
                           data),
                  {part});
  };
  refuse(1, "123", "'b': begins at data offset 1, expected 2");
  refuse(3, "12345", "'b': begins at data offset 3, expected 2");
  refuse(2, "12345", "the tensors take 4 bytes, the file holds 5");
  refuse(2, "123", "the tensors take 4 bytes, the file holds 3");
}

// Three tensors of almost 2^63 bytes, which tile the data if their offsets may wrap to 0.
TEST_F(SafetensorsTest, RefusesOffsetsThatWrap) {
  const auto entry = [](const std::string& name, const std::string& size,
                        const std::string& offsets) {
    return R"(,")" + name + R"(":{"dtype":"U8","shape":[)" + size + R"(],"data_offsets":)" +
           offsets + "}";
  };
  ExpectRefused(
      FileWith(entry("a", "9223372036854775807", "[0,9223372036854775807]") +
                   entry("b", "9223372036854775807", "[9223372036854775807,18446744073709551614]") +
                   entry("c", "2", "[18446744073709551614,0]"),
               ""),
      {"'c'", "expected a distance of 2 bytes"});
}

TEST_F(SafetensorsTest, RefusesToWriteWhatItCouldNotRead) {
  const auto refuse = [&](const std::string& name, std::vector<int64_t> shape,
                          const Metadata& metadata, ErrorKind kind, const std::string& part) {
    ExpectError(kind, {part}, [&] {
      WriteSafetensors(path_, {{name, View<float>(DType::kFloat32, shape, floats_)}}, metadata);
    });
    EXPECT_FALSE(std::filesystem::exists(path_));
  };
  refuse("t", {3}, {}, ErrorKind::kInternal, "its shape does not fit its 8 bytes");
  refuse("t", {-2, -1}, {}, ErrorKind::kInternal, "its shape does not fit its 8 bytes");
  refuse("__metadata__", {2}, {}, ErrorKind::kInternal, "its name is taken");
  refuse("t", {2}, {{"crc32", "x"}}, ErrorKind::kInternal, "crc32");
  refuse("t", {2}, {{"path", "\xff"}}, ErrorKind::kData, "not valid UTF-8");
}

TEST_F(SafetensorsTest, AMissingFileIsNamed) {
  ExpectError(ErrorKind::kResource, {path_.string(), "No such file", "Nothing was changed"},
              [&] { ReadSafetensors(path_); });
}

}  // namespace
}  // namespace sgdscope
