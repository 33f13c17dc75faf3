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
  visitor.OptionalGroup(
      {.name = "augment",
       .help = "random crops and mirror images for training batches; evaluations and probes of "
               "whole sets see the images as they are"},
      has_augment_, [this](FieldVisitor& group) { augment_.Fields(group); });
  visitor.OptionalGroup(
      {.name = "label_noise", .help = "wrong labels in the training set, not in the test set"},
      has_label_noise_, [this](FieldVisitor& group) { label_noise_.Fields(group); });
}

}  // namespace sgdscope
