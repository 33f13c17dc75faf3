#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sgdscope {

/// Philox4x32-10 of Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (2011).
/// A bijection of 128-bit counters for each 64-bit key.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// Random numbers as a pure function of (seed, name, index, position). Streams of another seed,
/// name or index are independent; nothing global is read or moved.
class Stream {
 public:
  /// `name`: the use ("init", "order", ...); `index`: which one of them (an epoch, a tensor, a
  /// step).
  Stream(uint64_t seed, std::string_view name, uint64_t index = 0);

  uint32_t Bits32();
  uint64_t Bits64();
  /// Uniform in [0, 1) with 53 random bits.
  double Uniform();
  /// numbers[0 ... size-1] = what so many calls of Uniform() would return; faster.
  void Uniforms(double* numbers, int64_t size);
  /// Standard normal, by Box and Muller's method.
  double Normal();
  /// Uniform in {0, ..., bound - 1} without bias; bound > 0.
  uint64_t Below(uint64_t bound);

 private:
  std::array<uint32_t, 2> key_;
  uint64_t index_;
  uint64_t block_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
  double spare_normal_ = 0;
  bool has_spare_ = false;
};

/// A uniformly random order of 0 ... n-1 (Fisher and Yates).
std::vector<int64_t> Permutation(Stream& stream, int64_t n);

}  // namespace sgdscope
