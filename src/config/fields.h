#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// A config field is declared once, in its owner's `Fields`; reading, writing, checking, `list` and
// `schema` are visitors over that declaration (config/json.h).

namespace sgdscope {

/// The declaration of one config field. The value beside it is the default until it is read.
struct Field {
  std::string name;
  std::string help;
  std::string unit = "";
  std::string paper = "";  // paper and equation that define it
  bool required = false;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;                  // min itself is excluded
  bool below_max = false;                  // max itself is excluded
  std::vector<std::string> allowed = {};   // for strings and lists of strings; empty: anything
  std::string_view limits_memory_of = "";  // whose memory the value, in `unit`, is the most of
};

class AnyValue;
class AnyChoice;
class AnyChoiceList;

/// Receives the fields of an object in their order of declaration.
class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;

  /// A value of one of the types at the end of config/value.cpp; with another one the program does
  /// not link. An optional field is absent from the config when it has no value.
  template <class T>
  void Visit(const Field& field, T& value);
  /// The same, with the type erased (config/value.h).
  virtual void VisitValue(const Field& field, AnyValue& value) = 0;
  /// An object with fields of its own.
  virtual void Group(const Field& field, const std::function<void(FieldVisitor&)>& fields) = 0;
  /// An object with fields of its own that may be absent; `given`: whether the config has it.
  virtual void OptionalGroup(const Field& field, bool& given,
                             const std::function<void(FieldVisitor&)>& fields) = 0;
  /// An object whose key `name` picks a registered leaf.
  virtual void Choose(const Field& field, AnyChoice& choice) = 0;
  /// A list of objects, each of which picks a registered leaf by its key `name`.
  virtual void ChooseList(const Field& field, AnyChoiceList& choices) = 0;
};

/// Something with config fields: every registered leaf is one.
class Configurable {
 public:
  virtual ~Configurable() = default;
  /// Shows each field, with its value, to `visitor`.
  virtual void Fields(FieldVisitor& visitor) { (void)visitor; }
  /// Throws an Error of kind kConfig if fields contradict each other; called when all of them are
  /// read. `path`: JSON path of this object.
  virtual void Check(const std::string& path) const { (void)path; }
};

/// One leaf picked by name from a registry, its type erased for the visitors.
class AnyChoice {
 public:
  virtual ~AnyChoice() = default;
  virtual std::vector<std::string> names() const = 0;
  virtual std::string HelpOf(const std::string& name) const = 0;
  /// A leaf of that name with default values, for `list` and `schema`.
  virtual std::unique_ptr<Configurable> MakeDefault(const std::string& name) const = 0;
  /// Picks the leaf; `name` must be one of names().
  virtual void Select(const std::string& name) = 0;
  virtual const std::string& selected() const = 0;  // empty: none yet
  virtual Configurable& leaf() = 0;                 // only after Select
  /// The leaf and the field that a bare number stands for ({"", ""}: none).
  struct Shorthand {
    std::string leaf;
    std::string field;
  };
  virtual Shorthand shorthand() const { return {}; }
};

/// A list of leaves of one kind.
class AnyChoiceList {
 public:
  virtual ~AnyChoiceList() = default;
  virtual AnyChoice& Append() = 0;
  virtual std::vector<AnyChoice*> items() = 0;
  virtual void Clear() = 0;
  virtual std::unique_ptr<AnyChoice> MakeEmpty() const = 0;
};

}  // namespace sgdscope
