#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"
#include "config/json.h"
#include "config/registry.h"

// Leaves with allowed values, made from their declared fields alone: tests over a registry include
// every newcomer.

namespace sgdscope {

/// Gives each required field an allowed value; the others keep their defaults.
class FillRequired : public FieldVisitor {
 public:
  void Visit(const Field&, bool&) override {}
  void Visit(const Field& field, int64_t& value) override {
    if (field.required) value = Whole(field);
  }
  void Visit(const Field& field, double& value) override {
    if (field.required) value = std::clamp(0.05, field.min, field.max);
  }
  void Visit(const Field& field, std::string& value) override {
    if (field.required) value = field.allowed.empty() ? "text" : field.allowed[0];
  }
  void Visit(const Field& field, std::vector<int64_t>& value) override {
    if (field.required) value = {Whole(field)};
  }
  void Visit(const Field& field, std::vector<std::string>& value) override {
    if (field.required) value = field.allowed;
  }
  void Visit(const Field& field, std::optional<bool>& value) override {
    if (field.required) value = true;
  }
  void Visit(const Field& field, std::optional<int64_t>& value) override {
    if (field.required) value = Whole(field);
  }
  void Visit(const Field& field, std::optional<double>& value) override {
    if (field.required) value = std::clamp(0.05, field.min, field.max);
  }
  void Visit(const Field& field, std::optional<std::string>& value) override {
    if (field.required) value = field.allowed.empty() ? "text" : field.allowed[0];
  }
  void OptionalGroup(const Field&, bool&, const std::function<void(FieldVisitor&)>&) override {}
  void Group(const Field&, const std::function<void(FieldVisitor&)>& fields) override {
    fields(*this);
  }
  void Choose(const Field& field, AnyChoice& choice) override {
    if (!field.required) return;
    const std::string leaf = choice.shorthand().leaf;
    choice.Select(leaf.empty() ? choice.names().front() : leaf);
    choice.leaf().Fields(*this);
  }
  void ChooseList(const Field&, AnyChoiceList&) override {}

 private:
  static int64_t Whole(const Field& field) {
    return static_cast<int64_t>(std::clamp(2.0, field.min, field.max));
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

}  // namespace sgdscope
