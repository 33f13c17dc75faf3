#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/fields.h"

namespace sgdscope {

/// Which examples form a batch, and how each is augmented.
struct Examples {
  at::Tensor indices;  // [n] int64, CPU
  /// [n, 3] int64, CPU, for each example: mirrored (0 or 1), rows down, columns to the right.
  /// Undefined: the examples as they are.
  at::Tensor moves = {};
};

/// The parts one after the other. Either all have moves or none.
Examples Joined(const std::vector<Examples>& parts);

/// What a config says about augmentation of the training batches: the usual one for CIFAR. An image
/// is mirrored with probability 1/2, then a window of its own size is cut out of it and `pad` black
/// pixels around it, at a uniformly random place. This happens to the raw pixels: what comes in
/// from the edges is black (0), and is normalized like every other pixel.
struct Augment {
  int64_t pad = 4;
  bool flip = true;

  void Fields(FieldVisitor& visitor);
  /// Error kConfig at `path` if examples of this shape are no images [channels, height, width], or
  /// if the fields ask for nothing or for images that may be all padding.
  void Check(const std::vector<int64_t>& shape, const std::string& path) const;
  /// The moves of the n examples of the batch of a step, as in Examples: a pure function of the
  /// arguments.
  at::Tensor MovesAt(uint64_t seed, int64_t step, int64_t n) const;
};

/// Raw images [n, channels, height, width] moved by `moves` (as in Examples; at most `height` rows
/// and `width` columns), with 0 where nothing was:
///   out[i, c, y, x] = m[i, c, y + down, x + right], where m is the image, mirrored or not
at::Tensor MoveImages(const at::Tensor& images, const at::Tensor& moves);
/// MoveImages in a few operations on whole batches, for any device.
at::Tensor MoveImagesByIndex(const at::Tensor& images, const at::Tensor& moves);

}  // namespace sgdscope
