#include "updates/update_rule.h"

namespace sgdscope {

void UpdateRule::Fields(FieldVisitor& visitor) {
  visitor.Choose(
      {.name = "learning_rate", .help = "step size: a number or a schedule", .required = true},
      learning_rate_);
  OwnFields(visitor);
}

}  // namespace sgdscope
