#include <algorithm>
#include <optional>
#include <utility>

#include "config/json.h"
#include "config/text.h"
#include "config/value.h"
#include "core/error.h"

namespace sgdscope {
namespace {

/// Fills the fields of one object.
class Reader : public FieldVisitor {
 public:
  Reader(const Json& object, std::string path, std::vector<std::string> known = {})
      : object_(object), path_(std::move(path)), known_(std::move(known)) {}

  /// For a bare number that stands for an object of one field: errors then name the number's path.
  void HideFieldNames() { hide_field_names_ = true; }

  void VisitValue(const Field& field, AnyValue& value) override {
    const Place place = PlaceOf(field, sgdscope::AllowedText(field, value.words()));
    if (const Json* json = Find(place)) value.Read(*json, place);
  }

  void Group(const Field& field, const FieldsFunction& fields) override {
    const Place place = PlaceOf(field, "an object");
    if (const Json* json = Find(place)) {
      ReadObject(*json, place, fields);
    } else {
      ReadAbsent([&] { ReadFields(Json::object(), place.path, fields); });
    }
  }

  void OptionalGroup(const Field& field, bool& given, const FieldsFunction& fields) override {
    const Place place = PlaceOf(field, "an object");
    const Json* json = Find(place);
    given = json != nullptr;
    if (given) ReadObject(*json, place, fields);
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
      // An override of the name alone leaves the keys of what was there before.
      const std::string left = !path_.empty() && object_.contains("name")
                                   ? " --set " + JoinPath(path_, key) + "=null takes it out."
                                   : "";
      throw Error(ErrorKind::kConfig, JoinPath(path_, key),
                  "unknown key, its value is " + ShortText(value),
                  (meant.empty() ? "" : meant + " ") + "Known keys: " + Join(known_) + "." + left);
    }
    if (missing_) throw *missing_;
  }

 private:
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

  /// What is no object meets the help of the group, which says what it is for.
  static void ReadObject(const Json& json, const Place& place, const FieldsFunction& fields) {
    if (!json.is_object()) place.Fail(json);
    ReadFields(json, place.path, fields);
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
    choice.Select(ReadString(
        *found, {field, JoinPath(place.path, "name"), "one of " + Join(field.allowed, "\"")}));
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
