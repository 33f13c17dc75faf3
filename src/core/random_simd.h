#pragma once

#include <array>
#include <cstdint>

// Many random numbers at a time, with the instructions of the processor that is found at run time.
// No product is fused with a sum, so that each instruction set gives the same bits.

namespace sgdscope {

/// numbers[2 j], numbers[2 j + 1] = what two calls of Stream::Uniform make of the stream's block
/// `first` + j, for j = 0 ... blocks-1.
void PhiloxUniforms(std::array<uint32_t, 2> key, uint64_t index, uint64_t first, int64_t blocks,
                    double* numbers);

/// Makes of each pair of uniforms u, v in [0, 1) two independent normals,
///   sqrt(-2 log(1 - u)) cos(2 pi v)  and  sqrt(-2 log(1 - u)) sin(2 pi v),
/// each to within 4 units of its last place.
void BoxMuller(double* numbers, int64_t pairs);

}  // namespace sgdscope
