#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"
#include "config/json.h"

// Words and texts that the visitors of read.cpp, write.cpp, schema.cpp and table.cpp share.

namespace sgdscope {

/// How a type is called in an error, in the schema, and there for the elements of a list.
struct TypeWords {
  std::string text;
  std::string schema;
  std::string element = "";
};
inline TypeWords WordsOf(const bool&) { return {"true or false", "boolean"}; }
inline TypeWords WordsOf(const int64_t&) { return {"a whole number", "integer"}; }
inline TypeWords WordsOf(const double&) { return {"a number", "number"}; }
inline TypeWords WordsOf(const std::string&) { return {"a string", "string"}; }
inline TypeWords WordsOf(const std::vector<int64_t>&) {
  return {"a list of whole numbers", "array", "integer"};
}
inline TypeWords WordsOf(const std::vector<std::string>&) {
  return {"a list of strings", "array", "string"};
}
template <class T>
TypeWords WordsOf(const std::optional<T>&) {
  return WordsOf(T());
}

/// "probes[0]" and "every" make "probes[0].every".
std::string JoinPath(const std::string& path, const std::string& key);

/// A value as JSON text of at most `limit` characters or so.
std::string ShortText(const Json& value, size_t limit = 60);

/// "a, b, c", each between `quote`s.
std::string Join(const std::vector<std::string>& words, const std::string& quote = "");

/// "> 0 and <= 50"; empty without limits.
std::string RangeText(const Field& field);

/// "Did you mean 'x'?", or empty.
std::string DidYouMean(const std::string& word, const std::vector<std::string>& candidates);

/// A choice as JSON: its shorthand where that says everything, else an object with its name.
Json WriteChoice(AnyChoice& choice);

}  // namespace sgdscope
