#include "config/text.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include "core/csv.h"

namespace sgdscope {
namespace {

bool IsPlainKey(const std::string& key) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; };
  return !key.empty() && std::ranges::all_of(key, plain);
}

std::string LowerCase(std::string word) {
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
  return word;
}

// Insertions, deletions, replacements and swaps of neighbours that make b out of a (the 'optimal
// string alignment' distance), by rows of the usual table.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before_last, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

}  // namespace

std::string JoinPath(const std::string& path, const std::string& key) {
  // An odd key is shown as JSON does it: escapes keep control characters off the terminal.
  if (!IsPlainKey(key)) return path + "[" + ShortText(Json(key)) + "]";
  return path.empty() ? key : path + "." + key;
}

std::string ShortText(const Json& value, size_t limit) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;  // never cut through a UTF-8 sequence
  return text.substr(0, end) + "...";
}

std::string Join(const std::vector<std::string>& words, const std::string& quote) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += ", ";
    text += quote + word + quote;
  }
  return text;
}

std::string RangeText(const Field& field) {
  std::string text;
  if (std::isfinite(field.min)) {
    text += field.above_min ? "> " : ">= ";
    AppendNumber(field.min, text);
  }
  if (std::isfinite(field.max)) {
    if (!text.empty()) text += " and ";
    text += field.below_max ? "< " : "<= ";
    AppendNumber(field.max, text);
  }
  return text;
}

std::string DidYouMean(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(word, candidates);
  return nearest.empty() ? "" : "Did you mean '" + nearest + "'?";
}

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  const size_t limit = std::max<size_t>(2, word.size() / 3);
  const std::string wanted = LowerCase(word);
  std::string nearest;
  size_t smallest = limit + 1;
  for (const std::string& candidate : candidates) {
    const size_t longer = std::max(word.size(), candidate.size());
    if (longer - std::min(word.size(), candidate.size()) > limit) continue;
    const size_t distance = EditDistance(wanted, LowerCase(candidate));
    // Words without a letter in common are not near, however short they are.
    if (distance < smallest && distance < longer) {
      smallest = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace sgdscope
