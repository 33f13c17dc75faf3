#include <utility>

#include "config/json.h"
#include "config/text.h"
#include "config/value.h"

namespace sgdscope {
namespace {

/// Collects what fields with `limits_memory_of` say, also those of the leaves that are chosen.
class MemoryLines : public FieldVisitor {
 public:
  void VisitValue(const Field& field, AnyValue& value) override {
    if (field.limits_memory_of.empty()) return;
    const Json most = value.Write(field);
    if (most.is_null()) return;
    lines_.push_back(std::string(field.limits_memory_of) + " at most " + ShortText(most) + " " +
                     field.unit + " (" + JoinPath(path_, field.name) + ")");
  }

  void Group(const Field& field, const FieldsFunction& fields) override {
    Descend(JoinPath(path_, field.name), fields);
  }
  void OptionalGroup(const Field& field, bool& given, const FieldsFunction& fields) override {
    if (given) Descend(JoinPath(path_, field.name), fields);
  }
  void Choose(const Field& field, AnyChoice& choice) override {
    Descend(JoinPath(path_, field.name), choice);
  }
  void ChooseList(const Field& field, AnyChoiceList& choices) override {
    size_t index = 0;
    for (AnyChoice* choice : choices.items()) {
      Descend(JoinPath(path_, field.name) + "[" + std::to_string(index++) + "]", *choice);
    }
  }

  const std::vector<std::string>& lines() const { return lines_; }

 private:
  void Descend(const std::string& path, AnyChoice& choice) {
    if (choice.selected().empty()) return;
    Descend(path, [&](FieldVisitor& visitor) { choice.leaf().Fields(visitor); });
  }
  void Descend(const std::string& path, const FieldsFunction& fields) {
    const std::string outer = std::exchange(path_, path);
    fields(*this);
    path_ = outer;
  }

  std::string path_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> MemoryLimits(const FieldsFunction& fields) {
  MemoryLines visitor;
  fields(visitor);
  return visitor.lines();
}

}  // namespace sgdscope
