#pragma once

#include <string>
#include <vector>

#include "config/fields.h"
#include "config/json.h"

// Words and texts that the visitors of read.cpp, write.cpp, schema.cpp and table.cpp share.

namespace sgdscope {

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
