#pragma once

#include <vector>

#include "core/torch.h"

// Sums and linear combinations for each channel of activations [n, channels, ...], in float or
// double. Sums are in double and in an order that depends on the shape only, so that their bits do
// not depend on the number of threads.

namespace sgdscope {

/// h [n, channels, ...] with the channels of a position together in memory: h itself where they are.
at::Tensor ChannelsTogether(const at::Tensor& h);

/// A tensor for what becomes of h, with the channels together.
at::Tensor RoomFor(const at::Tensor& h);

/// sum a' and sum a' b' of each channel, [2, channels] in double, where a' = a - shift_a and b' = b
/// - shift_b; a shift [channels] is in double, and 0 where it is undefined.
at::Tensor ChannelSums(const at::Tensor& a, const at::Tensor& shift_a, const at::Tensor& b,
                       const at::Tensor& shift_b);

/// The same of a = d, or 0 where `positive` is at most 0, which is written to `out` in the same pass.
/// Those three and b have the channels together.
at::Tensor MaskedChannelSums(const at::Tensor& d, const at::Tensor& positive, const at::Tensor& b,
                             const at::Tensor& shift_b, const at::Tensor& out);

/// weight (x - shift); weight and shift: [channels] in double.
struct ChannelTerm {
  at::Tensor x;
  at::Tensor shift;
  at::Tensor weight;
};

/// Writes constant + the sum of one to three terms, or its positive part, to `out`, of their shape,
/// with its channels together. constant: [channels] in double.
void WriteCombination(const std::vector<ChannelTerm>& terms, const at::Tensor& constant,
                      const at::Tensor& out, bool positive = false);

/// [channels] in the shape that meets h [n, channels, ...].
at::Tensor PerChannel(const at::Tensor& numbers, const at::Tensor& h);

}  // namespace sgdscope
