#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "config/json.h"
#include "config/text.h"
#include "core/error.h"

namespace sgdscope {
namespace {

constexpr double kMaxExactInteger = 0x1p53;  // beyond it, a double stands for several whole numbers

/// Where a value stands and what it may be, for the errors about it.
struct Place {
  const Field& field;
  std::string path;
  std::string allowed;  // "a whole number > 0"

  [[noreturn]] void Fail(const Json& found, const std::string& hint = "") const {
    const std::string& next = hint.empty() ? field.help : hint;
    throw Error(ErrorKind::kConfig, path, "found " + ShortText(found) + ", must be " + allowed,
                next);
  }
  Place Element(size_t i, const std::string& allowed_there) const {
    return {field, path + "[" + std::to_string(i) + "]", allowed_there};
  }
};

std::string AllowedText(const Field& field, const TypeWords& words) {
  const bool list = !words.element.empty();
  if (!field.allowed.empty()) {
    return (list ? words.text + ", each one of " : "one of ") + Join(field.allowed, "\"");
  }
  const std::string range = RangeText(field);
  if (range.empty()) return words.text;
  return words.text + (list ? ", each " : " ") + range;
}

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

// One Convert for each type of field.

void Convert(const Json& json, const Place& place, bool& value) {
  if (!json.is_boolean()) place.Fail(json);
  value = json.get<bool>();
}

void Convert(const Json& json, const Place& place, double& value) {
  if (!json.is_number() || !std::isfinite(json.get<double>())) {
    place.Fail(json, NumberHint<double>(json));
  }
  CheckRange(json, json.get<double>(), place);
  value = json.get<double>();
}

void Convert(const Json& json, const Place& place, int64_t& value) {
  const double number = json.is_number() ? json.get<double>() : 0;
  if (!json.is_number() || number != std::trunc(number)) {
    place.Fail(json, NumberHint<int64_t>(json));
  }
  if (!FitsInt64(json))
    place.Fail(json, "It must be below 2^63, and below 2^53 with a point or exponent.");
  CheckRange(json, number, place);
  value = json.get<int64_t>();
}

void Convert(const Json& json, const Place& place, std::string& value) {
  const auto& allowed = place.field.allowed;
  if (!json.is_string()) {
    const std::string quoted = std::string("\"").append(ShortText(json)).append("\"");
    const bool would_do = json.is_primitive() && allowed.empty();
    place.Fail(json, would_do ? "Write it in quotes: " + quoted + "; on the command line '" +
                                    place.path + "=" + quoted + "'."
                              : "");
  }
  const auto text = json.get<std::string>();
  if (text.find('\0') != std::string::npos) {
    throw Error(ErrorKind::kConfig, place.path,
                "found " + ShortText(json) + ", which holds a NUL character",
                "Remove the \\u0000: it would end a file name.");
  }
  if (!allowed.empty() && std::ranges::find(allowed, text) == allowed.end()) {
    place.Fail(json, DidYouMean(text, allowed));
  }
  value = text;
}

template <class T>
void Convert(const Json& json, const Place& place, std::vector<T>& value);

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
      Convert(reading, place, ignored);
    } catch (const Error&) {
      continue;
    }
    return "Write it as a list: " + ShortText(reading) + ".";
  }
  return "";
}

template <class T>
void Convert(const Json& json, const Place& place, std::vector<T>& value) {
  if (!json.is_array()) place.Fail(json, ListHint<T>(json, place));
  std::vector<T> elements(json.size());
  const std::string allowed = AllowedText(place.field, WordsOf(T()));
  for (size_t i = 0; i < json.size(); ++i) Convert(json[i], place.Element(i, allowed), elements[i]);
  value = std::move(elements);
}

template <class T>
void Convert(const Json& json, const Place& place, std::optional<T>& value) {
  T present{};
  Convert(json, place, present);
  value = present;
}

/// Fills the fields of one object.
class Reader : public FieldVisitor {
 public:
  Reader(const Json& object, std::string path, std::vector<std::string> known = {})
      : object_(object), path_(std::move(path)), known_(std::move(known)) {}

  /// For a bare number that stands for an object of one field: errors then name the number's path.
  void HideFieldNames() { hide_field_names_ = true; }

  void Visit(const Field& field, bool& value) override { Read(field, value); }
  void Visit(const Field& field, int64_t& value) override { Read(field, value); }
  void Visit(const Field& field, double& value) override { Read(field, value); }
  void Visit(const Field& field, std::string& value) override { Read(field, value); }
  void Visit(const Field& field, std::vector<int64_t>& value) override { Read(field, value); }
  void Visit(const Field& field, std::vector<std::string>& value) override { Read(field, value); }
  void Visit(const Field& field, std::optional<bool>& value) override { Read(field, value); }
  void Visit(const Field& field, std::optional<int64_t>& value) override { Read(field, value); }
  void Visit(const Field& field, std::optional<double>& value) override { Read(field, value); }
  void Visit(const Field& field, std::optional<std::string>& value) override { Read(field, value); }

  void Group(const Field& field, const FieldsFunction& fields) override {
    const Place place = PlaceOf(field, "an object");
    if (const Json* json = Find(place)) {
      ReadFields(*json, place.path, fields);
    } else {
      ReadAbsent([&] { ReadFields(Json::object(), place.path, fields); });
    }
  }

  void OptionalGroup(const Field& field, bool& given, const FieldsFunction& fields) override {
    const Place place = PlaceOf(field, "an object");
    const Json* json = Find(place);
    given = json != nullptr;
    if (given) ReadFields(*json, place.path, fields);
  }

  void Choose(const Field& field, AnyChoice& choice) override {
    const Place place = PlaceOf(field, AllowedText(choice));
    if (const Json* json = Find(place)) {
      ReadChoice(*json, place, choice);
    } else if (!choice.selected().empty()) {
      ReadAbsent([&] { ReadChoice(Json::object(), place, choice); });
    }
  }

  void ChooseList(const Field& field, AnyChoiceList& choices) override {
    const Place list = PlaceOf(field, "a list of objects");
    const Json* json = Find(list);
    if (json == nullptr) return;
    if (!json->is_array()) list.Fail(*json);
    choices.Clear();
    for (size_t i = 0; i < json->size(); ++i) {
      AnyChoice& choice = choices.Append();
      ReadChoice((*json)[i], list.Element(i, AllowedText(choice)), choice);
    }
  }

  /// Reports what was left: keys that no field has read, then fields that no key gave. In this
  /// order, because a misspelt key is the likely reason for a missing one.
  void Finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::ranges::find(known_, key) != known_.end()) continue;
      const std::string meant = DidYouMean(key, known_);
      throw Error(ErrorKind::kConfig, JoinPath(path_, key),
                  "unknown key, its value is " + ShortText(value),
                  (meant.empty() ? "" : meant + " ") + "Known keys: " + Join(known_) + ".");
    }
    if (missing_) throw *missing_;
  }

 private:
  template <class T>
  void Read(const Field& field, T& value) {
    const Place place = PlaceOf(field, sgdscope::AllowedText(field, WordsOf(value)));
    if (const Json* json = Find(place)) Convert(*json, place, value);
  }

  Place PlaceOf(const Field& field, const std::string& allowed) const {
    return {field, hide_field_names_ ? path_ : JoinPath(path_, field.name), allowed};
  }

  static std::string AllowedText(const AnyChoice& choice) {
    const std::string number = choice.shorthand().leaf.empty() ? "" : "a number or ";
    return number + "an object with the key name: one of " + Join(choice.names(), "\"");
  }

  // The field's value, or nothing where it is absent; remembers the field either way.
  const Json* Find(const Place& place) {
    const std::string& name = place.field.name;
    if (std::ranges::find(known_, name) != known_.end()) {
      throw Error(ErrorKind::kInternal, place.path, "the field is declared twice");
    }
    known_.push_back(name);
    const auto found = object_.find(name);
    if (found != object_.end()) {
      if (found->is_null()) place.Fail(*found, "To use the default, leave it out instead.");
      return &*found;
    }
    if (place.field.required) {
      Missing(Error(ErrorKind::kConfig, place.path, "is missing, must be " + place.allowed,
                    place.field.help));
    }
    return nullptr;
  }

  void Missing(const Error& error) {
    if (!missing_) missing_ = error;
  }

  // What an absent object lacks is reported only after unknown keys.
  template <class F>
  void ReadAbsent(const F& read) {
    try {
      read();
    } catch (const Error& error) {
      Missing(error);
    }
  }

  static void ReadChoice(const Json& json, const Place& place, AnyChoice& choice) {
    const AnyChoice::Shorthand shorthand = choice.shorthand();
    if (json.is_number() && !shorthand.leaf.empty()) {
      choice.Select(shorthand.leaf);
      Json object;
      object[shorthand.field] = json;
      Reader reader(object, place.path);
      reader.HideFieldNames();
      choice.leaf().Fields(reader);
      reader.Finish();
      return choice.leaf().Check(place.path);
    }
    if (!json.is_object()) place.Fail(json, NameHint(json, choice));
    SelectByName(json, place, choice);
    Reader reader(json, place.path, {"name"});
    choice.leaf().Fields(reader);
    reader.Finish();
    choice.leaf().Check(place.path);
  }

  // For "model": "mlp", a name in place of the object that it picks.
  static std::string NameHint(const Json& json, const AnyChoice& choice) {
    if (!json.is_string()) return "";
    const auto names = choice.names();
    const auto name = json.get<std::string>();
    if (std::ranges::find(names, name) == names.end()) return DidYouMean(name, names);
    return "Write {\"name\": \"" + name + "\"}.";
  }

  static void SelectByName(const Json& object, const Place& place, AnyChoice& choice) {
    const auto found = object.find("name");
    if (found == object.end()) {
      if (!choice.selected().empty()) return;
      throw Error(ErrorKind::kConfig, JoinPath(place.path, "name"),
                  "is missing, must be one of " + Join(choice.names(), "\""), place.field.help);
    }
    Field field{.name = "name", .help = place.field.help, .allowed = choice.names()};
    std::string name;
    Convert(*found, {field, JoinPath(place.path, "name"), "one of " + Join(field.allowed, "\"")},
            name);
    choice.Select(name);
  }

  const Json& object_;
  std::string path_;
  std::vector<std::string> known_;
  std::optional<Error> missing_;  // the first error about something absent
  bool hide_field_names_ = false;
};

}  // namespace

void ReadFields(const Json& object, const std::string& path, const FieldsFunction& fields) {
  if (!object.is_object()) {
    throw Error(ErrorKind::kConfig, path.empty() ? "config" : path,
                "found " + ShortText(object) + ", must be an object",
                "Write {\"key\": value, ...}.");
  }
  Reader reader(object, path);
  fields(reader);
  reader.Finish();
}

}  // namespace sgdscope
