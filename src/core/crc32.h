#pragma once

#include <zlib.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace sgdscope {

/// The CRC-32 of a content that comes in parts.
class Crc32 {
 public:
  void Add(std::string_view text) {
    if (text.empty()) return;  // it may have no address, which zlib takes for a restart
    value_ = crc32_z(value_, reinterpret_cast<const Bytef*>(text.data()), text.size());
  }
  /// Eight digits.
  std::string Hex() const {
    char text[9];
    std::snprintf(text, sizeof(text), "%08lx", value_);
    return text;
  }

 private:
  unsigned long value_ = crc32_z(0, nullptr, 0);
};

}  // namespace sgdscope
