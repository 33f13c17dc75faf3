#pragma once

#include <algorithm>
#include <cctype>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"

// Random damage to JSON texts, for fuzz tests: a pure function of the text and the stream.

namespace sgdscope {

/// One of the places where a text of JSON can be changed so that it is likely to stay JSON.
struct TextRange {
  size_t begin;
  size_t end;
};

/// The contents of all keys ("key":), without their quotes.
inline std::vector<TextRange> KeysIn(const std::string& text) {
  std::vector<TextRange> keys;
  for (size_t colon = text.find("\":"); colon != std::string::npos;
       colon = text.find("\":", colon + 1)) {
    const size_t quote = colon == 0 ? std::string::npos : text.rfind('"', colon - 1);
    if (quote != std::string::npos) keys.push_back({quote + 1, colon});
  }
  return keys;
}

/// All runs of characters of which numbers are made, outside of words.
inline std::vector<TextRange> NumbersIn(const std::string& text) {
  const auto is_word = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
  const auto is_number = [](unsigned char c) {
    return std::isdigit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
  };
  std::vector<TextRange> numbers;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts = text[i] == '-' || std::isdigit(static_cast<unsigned char>(text[i]));
    if (!starts || (i > 0 && (is_word(text[i - 1]) || text[i - 1] == '"'))) continue;
    size_t end = i + 1;
    while (end < text.size() && is_number(text[end])) ++end;
    numbers.push_back({i, end});
    i = end;
  }
  return numbers;
}

inline std::vector<std::string> WordsIn(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

/// The text with one random change: a flipped bit, a character of JSON's syntax, a deletion, a
/// duplication, a renamed key or another number.
inline std::string MutateOnce(std::string text, Stream& stream) {
  static const std::vector<std::string> kValues = WordsIn(
      "1 2 7 1e2 0.5 0.25 0 -1 -0.0 1.5 1e18 1e999 1e-320 9223372036854775807 9223372036854775808 "
      "-9223372036854775808 99999999999999999999 null true [] {} [1,2] {\"x\":1} \"x\"");
  static const std::string kSyntax = "{}[]\",:/*\\ \n0-.e";
  const auto pick = [&stream](const auto& list) { return list[stream.Below(list.size())]; };
  const auto any_range = [&]() -> TextRange {
    const size_t begin = stream.Below(text.size());
    return {begin, begin + std::min<size_t>(text.size() - begin, 1 + stream.Below(16))};
  };
  const auto replace = [&text](TextRange range, const std::string& by) {
    return text.replace(range.begin, range.end - range.begin, by);
  };
  if (text.empty()) return "{";
  const auto keys = KeysIn(text);
  const auto numbers = NumbersIn(text);
  const TextRange range = any_range();
  const std::string part = text.substr(range.begin, range.end - range.begin);
  switch (stream.Below(12)) {
    case 0:
      text[range.begin] = static_cast<char>(text[range.begin] ^ 1 << stream.Below(8));
      return text;
    case 1:
      text[range.begin] = pick(kSyntax);
      return text;
    case 2:
      return replace(range, "");
    case 3:
      return text.insert(stream.Below(text.size() + 1), part);
    case 4: {  // one letter of a key
      if (keys.empty()) return text;
      const TextRange key = pick(keys);
      if (key.begin == key.end) return replace(key, "x");
      text[key.begin + stream.Below(key.end - key.begin)] =
          static_cast<char>('a' + stream.Below(26));
      return text;
    }
    case 5: {  // a key by the name of another
      if (keys.empty()) return text;
      const TextRange other = pick(keys);
      return replace(pick(keys), text.substr(other.begin, other.end - other.begin));
    }
    default:  // the likeliest, because the other damage is mostly refused
      return numbers.empty() ? text : replace(pick(numbers), pick(kValues));
  }
}

/// The text with one random change, or, every other time, two or three.
inline std::string Mutate(std::string text, Stream& stream) {
  const uint64_t count = stream.Below(2) == 0 ? 1 : 2 + stream.Below(2);
  for (uint64_t i = 0; i < count; ++i) text = MutateOnce(std::move(text), stream);
  return text;
}

}  // namespace sgdscope
