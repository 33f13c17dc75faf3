#include "data/dataset.h"

#include "data/normalize.h"

namespace sgdscope {

void Dataset::Fields(FieldVisitor& visitor) {
  OwnFields(visitor);
  visitor.Visit(
      {.name = "normalize",
       .help = "how the inputs are scaled: unit x/255, dataset (mean and standard deviation "
               "of each channel), per_image, or none",
       .allowed = NormalizeNames()},
      normalize_);
}

}  // namespace sgdscope
