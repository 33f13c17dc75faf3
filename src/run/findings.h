#pragma once

#include <string>
#include <vector>

#include "config/json.h"
#include "run/run_record.h"

namespace sgdscope {

/// A value that a config is proposed to have.
struct Setting {
  std::string path;
  Json is;  // null: by default
  Json value;
};

/// What is remarkable about a run.
struct Finding {
  std::string name;    // of its rule
  std::string says;    // what was found, with its numbers
  std::string advice;  // what to do
  std::vector<Setting> settings = {};
};

/// All that the rules find, in their order.
std::vector<Finding> FindingsOf(const RunRecord& run);

/// The rules and their borders, a line each.
std::string FindingRules();

/// The seconds that a run took after its start; 0 where an earlier version made it.
double SecondsAfterStart(const RunRecord& run);

/// 0.0123 as "1.2 %".
std::string PercentText(double share);
/// A number with three digits.
std::string NumberText(double value);

}  // namespace sgdscope
