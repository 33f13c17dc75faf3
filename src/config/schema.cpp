#include <cmath>
#include <string>
#include <typeindex>
#include <typeinfo>
#include <utility>
#include <vector>

#include "config/json.h"
#include "config/text.h"
#include "config/value.h"

namespace sgdscope {
namespace {

/// A choice whose schema is being written. A leaf may hold a choice like the one that it stands in
/// (a schedule followed by a schedule): the inner one then refers to the outer one.
struct OpenChoice {
  OpenChoice(AnyChoice& choice, std::string its_place)
      : kind(typeid(choice)),
        number(choice.shorthand().leaf),
        selected(choice.selected()),
        place(std::move(its_place)) {}
  bool Like(const OpenChoice& other) const {
    return kind == other.kind && number == other.number && selected == other.selected;
  }

  std::type_index kind;
  std::string number;    // the leaf that a bare number stands for
  std::string selected;  // the default leaf
  std::string place;
};

/// The schema of one object.
class SchemaWriter : public FieldVisitor {
 public:
  /// `place`: of the object in the whole schema, as a URI fragment.
  explicit SchemaWriter(std::string place = "#", std::vector<OpenChoice> open = {})
      : place_(std::move(place)), open_(std::move(open)) {}

  void VisitValue(const Field& field, AnyValue& value) override {
    const TypeWords words = value.words();
    Json& schema = Property(field, field.required);
    schema["type"] = words.schema;
    if (!words.element.empty()) schema["items"]["type"] = words.element;
    AddLimits(field, words.element.empty() ? schema : schema["items"]);
    if (field.required) return;
    Json json = value.Write(field);
    if (!json.is_null()) schema["default"] = std::move(json);
  }

  void Group(const Field& field, const FieldsFunction& fields) override {
    SchemaWriter writer(PlaceOf(field), open_);
    fields(writer);
    // An absent group reads as an empty one, so it may be left out only if nothing in it is
    // required.
    Property(field, field.required || !writer.required_.empty()).update(writer.Object());
  }

  void OptionalGroup(const Field& field, bool&, const FieldsFunction& fields) override {
    SchemaWriter writer(PlaceOf(field), open_);
    fields(writer);
    Property(field, false).update(writer.Object());
  }

  void Choose(const Field& field, AnyChoice& choice) override {
    const bool required = field.required || RequiresFields(choice);
    Json& property = Property(field, required);
    property.update(ChoiceSchema(choice, PlaceOf(field)));
    if (!required && !choice.selected().empty()) property["default"] = WriteChoice(choice);
  }

  void ChooseList(const Field& field, AnyChoiceList& choices) override {
    Json& property = Property(field, field.required);
    property["type"] = "array";
    property["items"] = ChoiceSchema(*choices.MakeEmpty(), PlaceOf(field) + "/items");
    if (!field.required) property["default"] = Json::array();
  }

  Json Object() {
    Json object;
    object["type"] = "object";
    object["properties"] = std::move(properties_);
    if (!required_.empty()) object["required"] = std::move(required_);
    object["additionalProperties"] = false;
    return object;
  }

 private:
  std::string PlaceOf(const Field& field) const { return place_ + "/properties/" + field.name; }

  static Json NumberJson(double value) {
    if (value == std::trunc(value) && std::abs(value) < 0x1p53) return static_cast<int64_t>(value);
    return value;
  }

  static std::string Description(const Field& field) {
    std::string text = field.help;
    if (!field.unit.empty()) text += " [" + field.unit + "]";
    if (!field.paper.empty()) text += " (" + field.paper + ")";
    return text;
  }

  static void AddLimits(const Field& field, Json& schema) {
    if (std::isfinite(field.min)) {
      schema[field.above_min ? "exclusiveMinimum" : "minimum"] = NumberJson(field.min);
    }
    if (std::isfinite(field.max)) {
      schema[field.below_max ? "exclusiveMaximum" : "maximum"] = NumberJson(field.max);
    }
    if (!field.allowed.empty()) schema["enum"] = field.allowed;
  }

  Json& Property(const Field& field, bool required) {
    if (required) required_.push_back(field.name);
    Json& property = properties_[field.name];
    property["description"] = Description(field);
    return property;
  }

  bool RequiresFields(AnyChoice& choice) const {
    if (choice.selected().empty()) return false;
    SchemaWriter writer(place_, open_);
    choice.leaf().Fields(writer);
    return !writer.required_.empty();
  }

  // One alternative for each leaf, told apart by the constant `name`; the default leaf needs none.
  Json ChoiceSchema(AnyChoice& choice, const std::string& place) const {
    const OpenChoice here(choice, place);
    for (const OpenChoice& outer : open_) {
      if (outer.Like(here)) return Json::object({{"$ref", outer.place}});
    }
    std::vector<OpenChoice> open = open_;
    open.push_back(here);
    Json alternatives = Json::array();
    const AnyChoice::Shorthand shorthand = choice.shorthand();
    for (const std::string& name : choice.names()) {
      const size_t index = alternatives.size() + (name == shorthand.leaf ? 1 : 0);
      SchemaWriter leaf(place + "/oneOf/" + std::to_string(index), open);
      const Field field{.name = "name", .help = choice.HelpOf(name)};
      leaf.Property(field, name != choice.selected())["const"] = name;
      choice.MakeDefault(name)->Fields(leaf);
      if (name == shorthand.leaf) alternatives.push_back(leaf.properties_[shorthand.field]);
      alternatives.push_back(leaf.Object());
    }
    Json schema;
    schema["oneOf"] = std::move(alternatives);
    return schema;
  }

  std::string place_;
  std::vector<OpenChoice> open_;  // around this object, from the outermost on
  Json properties_ = Json::object();
  Json required_ = Json::array();
};

}  // namespace

Json SchemaOf(const FieldsFunction& fields) {
  SchemaWriter writer;
  fields(writer);
  Json schema;
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema.update(writer.Object());
  return schema;
}

}  // namespace sgdscope
