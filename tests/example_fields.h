#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/fields.h"
#include "config/json.h"
#include "config/registry.h"
#include "config/value.h"

// Leaves with allowed values, made from what they declare of their fields alone: tests over a
// registry include every newcomer.

namespace sgdscope {

/// Gives each required field an allowed value; the others keep their defaults.
class FillRequired : public FieldVisitor {
 public:
  void VisitValue(const Field& field, AnyValue& value) override {
    if (!field.required) return;
    const TypeWords words = value.words();
    const Json example = words.element.empty() ? Allowed(field, words.schema)
                                               : Json::array({Allowed(field, words.element)});
    value.Read(example, {field, field.name, AllowedText(field, words)});
  }
  void OptionalGroup(const Field&, bool&, const FieldsFunction&) override {}
  void Group(const Field&, const FieldsFunction& fields) override { fields(*this); }
  void Choose(const Field& field, AnyChoice& choice) override {
    if (!field.required) return;
    const std::string leaf = choice.shorthand().leaf;
    choice.Select(leaf.empty() ? choice.names().front() : leaf);
    choice.leaf().Fields(*this);
  }
  void ChooseList(const Field&, AnyChoiceList&) override {}

 private:
  static Json Allowed(const Field& field, const std::string& type) {
    if (type == "boolean") return true;
    if (type == "string") return field.allowed.empty() ? "text" : field.allowed[0];
    const double number = std::clamp(type == "integer" ? 2 : 0.05, field.min, field.max);
    return type == "integer" ? Json(static_cast<int64_t>(number)) : Json(number);
  }
};

/// The leaf `name` with its required fields filled in, then `overrides` (an object) read on top.
template <class Interface>
Json ExampleFields(const std::string& name, const Json& overrides = Json::object()) {
  const auto leaf = Registry<Interface>::entries().at(name).make();
  FillRequired fill;
  leaf->Fields(fill);
  Json fields = WriteFields([&](FieldVisitor& visitor) { leaf->Fields(visitor); });
  for (const auto& [key, value] : overrides.items()) fields[key] = value;
  return fields;
}

template <class Interface>
std::unique_ptr<Interface> MakeExample(const std::string& name,
                                       const Json& overrides = Json::object()) {
  auto leaf = Registry<Interface>::entries().at(name).make();
  const Json fields = ExampleFields<Interface>(name, overrides);
  ReadFields(fields, name, [&](FieldVisitor& visitor) { leaf->Fields(visitor); });
  leaf->Check(name);
  return leaf;
}

/// The fields of the leaf `name` with the base of its TestFields.
template <class Interface>
Json BaseFields(const std::string& name) {
  return ExampleFields<Interface>(name,
                                  Json::parse(Registry<Interface>::entries().at(name).tests.base));
}

/// A leaf, by name, with its fields.
struct LeafCase {
  std::string name;
  Json fields;
  std::string Text() const { return name + " " + fields.dump(); }
};

/// Every registered leaf with the base of its TestFields, and with each of their variants.
template <class Interface>
std::vector<LeafCase> AllLeaves() {
  std::vector<LeafCase> leaves;
  for (const auto& [name, entry] : Registry<Interface>::entries()) {
    leaves.push_back({name, BaseFields<Interface>(name)});
    for (const std::string& variant : entry.tests.variants) {
      leaves.push_back({name, BaseFields<Interface>(name)});
      leaves.back().fields.update(Json::parse(variant));
    }
  }
  return leaves;
}

}  // namespace sgdscope
