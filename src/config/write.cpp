#include <utility>

#include "config/json.h"
#include "config/text.h"
#include "config/value.h"

namespace sgdscope {
namespace {

class Writer : public FieldVisitor {
 public:
  explicit Writer(Json object) : object_(std::move(object)) {}

  void VisitValue(const Field& field, AnyValue& value) override {
    Json json = value.Write(field);
    if (!json.is_null()) object_[field.name] = std::move(json);
  }
  void Group(const Field& field, const FieldsFunction& fields) override {
    object_[field.name] = WriteFields(fields);
  }
  void OptionalGroup(const Field& field, bool& given, const FieldsFunction& fields) override {
    if (given) object_[field.name] = WriteFields(fields);
  }
  void Choose(const Field& field, AnyChoice& choice) override {
    if (!choice.selected().empty()) object_[field.name] = WriteChoice(choice);
  }
  void ChooseList(const Field& field, AnyChoiceList& choices) override {
    Json list = Json::array();
    for (AnyChoice* choice : choices.items()) list.push_back(WriteChoice(*choice));
    object_[field.name] = std::move(list);
  }

  Json Take() { return std::move(object_); }

 private:
  Json object_;
};

}  // namespace

Json WriteFields(const FieldsFunction& fields) {
  Writer writer(Json::object());
  fields(writer);
  return writer.Take();
}

Json WriteChoice(AnyChoice& choice) {
  Json object;
  object["name"] = choice.selected();
  Writer writer(std::move(object));
  choice.leaf().Fields(writer);
  object = writer.Take();
  const AnyChoice::Shorthand shorthand = choice.shorthand();
  const bool says_all = object.size() == 2 && object.contains(shorthand.field);
  return choice.selected() == shorthand.leaf && says_all ? Json(object[shorthand.field]) : object;
}

}  // namespace sgdscope
