#include "config/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.h"

namespace sgdscope {
namespace {

constexpr double kMaxExactInteger = 0x1p53;  // beyond it, a double stands for several whole numbers

void CheckRange(const Json& json, double value, const Place& place) {
  const Field& field = place.field;
  if (value < field.min || (field.above_min && value <= field.min)) place.Fail(json);
  if (value > field.max || (field.below_max && value >= field.max)) place.Fail(json);
}

// Whether the number, a whole one, is the same as int64_t.
bool FitsInt64(const Json& json) {
  if (json.is_number_unsigned()) return std::in_range<int64_t>(json.get<uint64_t>());
  return json.is_number_integer() || std::abs(json.get<double>()) <= kMaxExactInteger;
}

// What to write in place of a string that holds a number, ".5" or "0.1".
template <class T>
std::string NumberHint(const Json& json) {
  if (!json.is_string()) return "";
  const auto text = json.get<std::string>();
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return "";
  const Json meant = number;
  return meant.dump() == "null" ? "" : "Write it as JSON does, without quotes: " + meant.dump();
}

// ---- The types: what each is called, how it is read, and, where it isn't as Json has it, written.

/// How a type is called, and several of its values.
struct Words : TypeWords {
  std::string several = "";
};

template <class T>
Json ToJson(const Field&, const T& value) {
  return value;
}

Words WordsOf(const bool&) { return {{"true or false", "boolean"}}; }

void Read(const Json& json, const Place& place, bool& value) {
  if (!json.is_boolean()) place.Fail(json);
  value = json.get<bool>();
}

Words WordsOf(const double&) { return {{"a number", "number"}, "numbers"}; }

void Read(const Json& json, const Place& place, double& value) {
  if (!json.is_number() || !std::isfinite(json.get<double>())) {
    place.Fail(json, NumberHint<double>(json));
  }
  CheckRange(json, json.get<double>(), place);
  value = json.get<double>();
}

Json ToJson(const Field& field, double value) {
  if (!std::isfinite(value)) {  // JSON has no such number: it would be written as null
    throw Error(ErrorKind::kInternal, field.name, "the value is not finite");
  }
  return value;
}

Words WordsOf(const int64_t&) { return {{"a whole number", "integer"}, "whole numbers"}; }

void Read(const Json& json, const Place& place, int64_t& value) {
  const double number = json.is_number() ? json.get<double>() : 0;
  if (!json.is_number() || number != std::trunc(number)) {
    place.Fail(json, NumberHint<int64_t>(json));
  }
  if (!FitsInt64(json))
    place.Fail(json, "It must be below 2^63, and below 2^53 with a point or exponent.");
  CheckRange(json, number, place);
  value = json.get<int64_t>();
}

Words WordsOf(const std::string&) { return {{"a string", "string"}, "strings"}; }

void Read(const Json& json, const Place& place, std::string& value) {
  value = ReadString(json, place);
}

template <class T>
Words WordsOf(const std::vector<T>&) {
  const Words element = WordsOf(T());
  return {{"a list of " + element.several, "array", element.schema}};
}

template <class T>
void Read(const Json& json, const Place& place, std::vector<T>& value);

// What may be meant by something that is no list: its one element; or, by the text "64,64", the
// elements of a list or strings between commas.
std::vector<Json> ReadingsAsList(const Json& json) {
  constexpr size_t kLongest = 60;  // characters of a text that can be shown
  if (!json.is_string() || json.get_ref<const std::string&>().size() > kLongest) {
    return {Json::array({json})};
  }
  const auto text = json.get<std::string>();
  Json strings = Json::array();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    strings.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return {
      Json::parse(std::string("[").append(text).append("]"), nullptr, /*allow_exceptions=*/false),
      strings};
}

// The first of these that would be taken.
template <class T>
std::string ListHint(const Json& json, const Place& place) {
  for (const Json& reading : ReadingsAsList(json)) {
    std::vector<T> ignored;
    try {
      if (!reading.is_array() || reading.empty()) continue;
      Read(reading, place, ignored);
    } catch (const Error&) {
      continue;
    }
    return "Write it as a list: " + ShortText(reading) + ".";
  }
  return "";
}

template <class T>
void Read(const Json& json, const Place& place, std::vector<T>& value) {
  if (!json.is_array()) place.Fail(json, ListHint<T>(json, place));
  std::vector<T> elements(json.size());
  const std::string allowed = AllowedText(place.field, WordsOf(T()));
  for (size_t i = 0; i < json.size(); ++i) Read(json[i], place.Element(i, allowed), elements[i]);
  value = std::move(elements);
}

template <class T>
Json ToJson(const Field& field, const std::vector<T>& value) {
  Json list = Json::array();
  for (const T& element : value) list.push_back(ToJson(field, element));
  return list;
}

template <class T>
Words WordsOf(const std::optional<T>&) {
  return WordsOf(T());
}

template <class T>
void Read(const Json& json, const Place& place, std::optional<T>& value) {
  T present{};
  Read(json, place, present);
  value = present;
}

template <class T>
Json ToJson(const Field& field, const std::optional<T>& value) {
  return value ? ToJson(field, *value) : Json();
}

template <class T>
class ValueOf : public AnyValue {
 public:
  explicit ValueOf(T& value) : value_(value) {}

  TypeWords words() const override { return WordsOf(value_); }
  Json Write(const Field& field) const override { return ToJson(field, value_); }
  void Read(const Json& json, const Place& place) override { sgdscope::Read(json, place, value_); }

 private:
  T& value_;
};

}  // namespace

std::string AllowedText(const Field& field, const TypeWords& words) {
  const bool list = !words.element.empty();
  if (!field.allowed.empty()) {
    return (list ? words.text + ", each one of " : "one of ") + Join(field.allowed, "\"");
  }
  const std::string range = RangeText(field);
  if (range.empty()) return words.text;
  return words.text + (list ? ", each " : " ") + range;
}

void Place::Fail(const Json& found, const std::string& hint) const {
  throw Error(ErrorKind::kConfig, path, "found " + ShortText(found) + ", must be " + allowed,
              hint.empty() ? field.help : hint);
}

std::string ReadString(const Json& json, const Place& place) {
  const auto& allowed = place.field.allowed;
  if (!json.is_string()) {
    const std::string quoted = std::string("\"").append(ShortText(json)).append("\"");
    const bool would_do = json.is_primitive() && allowed.empty();
    place.Fail(json, would_do ? "Write it in quotes: " + quoted + "; on the command line '" +
                                    place.path + "=" + quoted + "'."
                              : "");
  }
  auto text = json.get<std::string>();
  if (text.find('\0') != std::string::npos) {
    throw Error(ErrorKind::kConfig, place.path,
                "found " + ShortText(json) + ", which holds a NUL character",
                "Remove the \\u0000: it would end a file name.");
  }
  if (!allowed.empty() && std::ranges::find(allowed, text) == allowed.end()) {
    place.Fail(json, DidYouMean(text, allowed));
  }
  return text;
}

template <class T>
void FieldVisitor::Visit(const Field& field, T& value) {
  ValueOf<T> erased(value);
  VisitValue(field, erased);
}

// A new type of field is a line here; one that is no list or optional also needs its functions
// above.
template void FieldVisitor::Visit(const Field&, bool&);
template void FieldVisitor::Visit(const Field&, int64_t&);
template void FieldVisitor::Visit(const Field&, double&);
template void FieldVisitor::Visit(const Field&, std::string&);
template void FieldVisitor::Visit(const Field&, std::vector<int64_t>&);
template void FieldVisitor::Visit(const Field&, std::vector<double>&);
template void FieldVisitor::Visit(const Field&, std::vector<std::string>&);
template void FieldVisitor::Visit(const Field&, std::optional<bool>&);
template void FieldVisitor::Visit(const Field&, std::optional<int64_t>&);
template void FieldVisitor::Visit(const Field&, std::optional<double>&);
template void FieldVisitor::Visit(const Field&, std::optional<std::string>&);

}  // namespace sgdscope
