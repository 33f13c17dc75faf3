#include "run/learned.h"

#include <utility>
#include <vector>

#include "core/files.h"

namespace sgdscope {
namespace {

constexpr int64_t kNever = -1;

using Column = std::pair<std::string, at::Tensor>;  // name, [N] int64

std::string CsvText(const std::vector<Column>& columns, int64_t rows) {
  std::string text = "example";
  std::vector<at::Tensor> on_cpu;  // keeps the memory alive that the values lie in
  std::vector<const int64_t*> values;
  for (const auto& [name, column] : columns) {
    text += "," + name;
    on_cpu.push_back(column.to(at::kCPU).contiguous());
    values.push_back(on_cpu.back().data_ptr<int64_t>());
  }
  text += '\n';
  for (int64_t i = 0; i < rows; ++i) {
    text += std::to_string(i);
    for (const int64_t* column : values) {
      text += ',';
      if (column[i] != kNever) text += std::to_string(column[i]);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

Learned::Learned(const Split& train)
    : train_(train),
      first_right_(at::full_like(train.labels, kNever)),
      last_right_(at::full_like(train.labels, kNever)) {}

void Learned::Add(int64_t step, const at::Tensor& right) {
  first_right_.masked_fill_(right.logical_and(first_right_.eq(kNever)), step);
  last_right_.masked_fill_(right, step);
}

std::map<std::string, at::Tensor> Learned::State() const {
  return {{"learned.first_right", first_right_}, {"learned.last_right", last_right_}};
}

void Learned::Write(const std::filesystem::path& path) const {
  std::vector<Column> columns;
  columns.emplace_back("label", train_.labels);
  if (train_.corrupt.defined()) {
    columns.emplace_back("original_label", train_.original_labels);
    columns.emplace_back("corrupt", train_.corrupt.to(at::kLong));
  }
  columns.emplace_back("first_right", first_right_);
  columns.emplace_back("last_right", last_right_);
  WriteFileAtomically(path, CsvText(columns, train_.size()));
}

}  // namespace sgdscope
