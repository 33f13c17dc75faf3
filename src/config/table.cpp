#include <algorithm>
#include <array>
#include <utility>

#include "config/json.h"
#include "config/text.h"
#include "config/value.h"

namespace sgdscope {
namespace {

constexpr size_t kColumns = 7;
using Cells = std::array<std::string, kColumns>;
using Lines = std::vector<std::string>;
const Cells kTitles = {"name", "type", "default", "allowed", "unit", "help", "paper"};
// Longer cells are wrapped. A name is not, since it is to be copied.
constexpr std::array<size_t, kColumns> kMaxWidth = {1000, 20, 24, 26, 12, 46, 24};

/// Collects a row for each field; those of a group stand under it, as group.field.
class TableRows : public FieldVisitor {
 public:
  void VisitValue(const Field& field, AnyValue& value) override {
    const TypeWords words = value.words();
    const Json json = value.Write(field);
    AddRow(field, words.element.empty() ? words.schema : "list of " + words.element,
           json.is_null() ? "absent" : ShortText(json),
           field.allowed.empty() ? RangeText(field) : Join(field.allowed));
  }

  void Group(const Field& field, const FieldsFunction& fields) override {
    AddObject(field, "", fields);
  }

  void OptionalGroup(const Field& field, bool&, const FieldsFunction& fields) override {
    AddObject(field, "absent", fields);
  }

  void Choose(const Field& field, AnyChoice& choice) override {
    const bool number = !choice.shorthand().leaf.empty();
    AddRow(field, number ? "number or object" : "object",
           choice.selected().empty() ? "" : ShortText(WriteChoice(choice)),
           "name: " + Join(choice.names()));
  }

  void ChooseList(const Field& field, AnyChoiceList& choices) override {
    AddRow(field, "list of object", "[]", "name: " + Join(choices.MakeEmpty()->names()));
  }

  const std::vector<Cells>& rows() const { return rows_; }

 private:
  void AddObject(const Field& field, const std::string& value, const FieldsFunction& fields) {
    AddRow(field, "object", value, "");
    const std::string outer = std::exchange(path_, JoinPath(path_, field.name));
    fields(*this);
    path_ = outer;
  }

  void AddRow(const Field& field, const std::string& type, const std::string& value,
              const std::string& allowed) {
    rows_.push_back({JoinPath(path_, field.name), type, field.required ? "required" : value,
                     allowed, field.unit, field.help, field.paper});
  }

  std::string path_;
  std::vector<Cells> rows_;
};

// The text in lines of at most `width` characters, broken at spaces; a longer word is left whole.
Lines Wrap(const std::string& text, size_t width) {
  Lines lines = {""};
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (lines.back().empty()) {
      lines.back() = word;
    } else if (lines.back().size() + 1 + word.size() <= width) {
      lines.back() += ' ' + word;
    } else {
      lines.push_back(word);
    }
    begin = end + 1;
  }
  return lines;
}

/// The rows as text, each column as wide as it must be; columns without any content are left out.
std::string Layout(const std::vector<Cells>& rows) {
  std::vector<std::array<Lines, kColumns>> wrapped;
  std::array<size_t, kColumns> width{};
  for (const Cells& row : rows) {
    auto& cells = wrapped.emplace_back();
    for (size_t c = 0; c < kColumns; ++c) {
      cells[c] = Wrap(row[c], kMaxWidth[c]);
      for (const std::string& line : cells[c]) width[c] = std::max(width[c], line.size());
    }
  }
  std::string text;
  for (const auto& cells : wrapped) {
    const size_t height = std::ranges::max(cells, {}, &Lines::size).size();
    for (size_t i = 0; i < height; ++i) {
      std::string line;
      for (size_t c = 0; c < kColumns; ++c) {
        if (width[c] == 0) continue;
        std::string cell = i < cells[c].size() ? cells[c][i] : "";
        cell.resize(width[c] + 2, ' ');
        line += cell;
      }
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + '\n';
    }
  }
  return text;
}

}  // namespace

std::string FieldTable(const FieldsFunction& fields) {
  TableRows collector;
  fields(collector);
  std::vector<Cells> rows = collector.rows();
  if (rows.empty()) return "";
  Cells titles = kTitles;
  for (size_t c = 0; c < kColumns; ++c) {
    const auto empty = [c](const Cells& row) { return row[c].empty(); };
    if (std::ranges::all_of(rows, empty)) titles[c] = "";
  }
  rows.insert(rows.begin(), titles);
  return Layout(rows);
}

}  // namespace sgdscope
