#pragma once

#include <string>

#include "config/json.h"
#include "config/text.h"

// What the visitors may do with the value of a field, whatever its type; value.cpp has the types.

namespace sgdscope {

/// How a type is called in an error, in the schema, and there for the elements of a list.
struct TypeWords {
  std::string text;
  std::string schema;
  std::string element = "";
};

/// What a value of this type may be, for the errors about it: "a whole number > 0".
std::string AllowedText(const Field& field, const TypeWords& words);

/// Where a value stands and what it may be, for the errors about it.
struct Place {
  const Field& field;
  std::string path;
  std::string allowed;

  [[noreturn]] void Fail(const Json& found, const std::string& hint = "") const;
  Place Element(size_t i, const std::string& allowed_there) const {
    return {field, path + "[" + std::to_string(i) + "]", allowed_there};
  }
};

/// The value of a field, its type erased for the visitors.
class AnyValue {
 public:
  virtual ~AnyValue() = default;
  virtual TypeWords words() const = 0;
  /// As JSON; null if an optional field has no value.
  virtual Json Write(const Field& field) const = 0;
  /// Takes the value over from `json`, or throws an Error of kind kConfig about `place`.
  virtual void Read(const Json& json, const Place& place) = 0;
};

/// A string, one of those that the field allows.
std::string ReadString(const Json& json, const Place& place);

}  // namespace sgdscope
