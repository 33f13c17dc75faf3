#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/fields.h"

// Visitors between fields (config/fields.h) and JSON. Every Error is of kind kConfig and names the
// JSON path ("probes[0].recent_lag"), the value, what is allowed and, for a name, the nearest known
// one.

namespace sgdscope {

using Json = nlohmann::ordered_json;  // keeps the order of declaration
using FieldsFunction = std::function<void(FieldVisitor&)>;

/// Parses a config text. // and /* */ comments are allowed; a key given twice in one object, more
/// than 1000 keys in one, more than 64 levels of nesting, NUL characters, numbers that would become
/// 0, and more than 4 MiB are not. `where` names the file in errors, which give line and column.
Json ParseConfig(const std::string& text, const std::string& where);

/// Applies an override "model.hidden=[64]" or "probes[0].every=10": the value is JSON, or, where it
/// is not, a plain string. Missing objects on the way are made, and an index one past the end of a
/// list appends to it; unknown keys are found by ReadFields.
void ApplyOverride(Json& config, const std::string& assignment);

/// Fills the fields from `object`. Unknown keys, wrong types, values out of range, missing required
/// fields are errors. A whole number may be written 1e5. `path` is the prefix for errors.
/// An absent group reads as an empty one. An absent choice keeps its default leaf; a choice that
/// has none and is not required stays empty. A bare number may stand for a choice that has a
/// shorthand.
void ReadFields(const Json& object, const std::string& path, const FieldsFunction& fields);

/// The fields as JSON: reading it back gives the same values. Absent optional fields are left out.
Json WriteFields(const FieldsFunction& fields);

/// JSON Schema (draft 2020-12) of the fields, all registered leaves included, for editors.
Json SchemaOf(const FieldsFunction& fields);

/// A text table of the fields for `list`: name, type, default, range, unit, help, paper.
std::string FieldTable(const FieldsFunction& fields);

/// What the fields, those of chosen leaves included, say about memory: "tiles at most 256 MiB
/// (gradient.tile_memory)".
std::vector<std::string> MemoryLimits(const FieldsFunction& fields);

/// The candidate with the smallest edit distance to `word`; empty if none is near.
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace sgdscope
