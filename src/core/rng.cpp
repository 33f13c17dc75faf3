#include "core/rng.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "core/random_simd.h"

namespace sgdscope {
namespace {

constexpr int kRounds = 10;

uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

// FNV-1a: the names are our own, so no more is asked of the hash than that few short texts differ.
uint64_t Hash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {High(product1) ^ counter[1] ^ key[0], Low(product1),
               High(product0) ^ counter[3] ^ key[1], Low(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

Stream::Stream(uint64_t seed, std::string_view name, uint64_t index) : index_(index) {
  const uint64_t hash = Hash(name);
  const auto words = Philox4x32({Low(hash), High(hash), 0, 0}, {Low(seed), High(seed)});
  key_ = {words[0], words[1]};
}

uint32_t Stream::Bits32() {
  if (used_ == 4) {
    words_ = Philox4x32({Low(block_), High(block_), Low(index_), High(index_)}, key_);
    ++block_;
    used_ = 0;
  }
  return words_[used_++];
}

uint64_t Stream::Bits64() {
  const uint64_t low = Bits32();
  const uint64_t high = Bits32();
  return high << 32 | low;
}

double Stream::Uniform() { return static_cast<double>(Bits64() >> 11) * 0x1p-53; }

void Stream::Uniforms(double* numbers, int64_t size) {
  int64_t i = 0;
  for (; i < size && used_ != 4; ++i) numbers[i] = Uniform();  // all, where blocks begin in between
  const int64_t blocks = (size - i) / 2;
  PhiloxUniforms(key_, index_, block_, blocks, numbers + i);
  block_ += static_cast<uint64_t>(blocks);
  for (i += 2 * blocks; i < size; ++i) numbers[i] = Uniform();
}

double Stream::Normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2 * std::log(1 - Uniform()));  // 1 - u lies in (0, 1]
  const double angle = 2 * std::numbers::pi * Uniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

uint64_t Stream::Below(uint64_t bound) {
  // The 2^64 mod bound lowest values are rejected; each remainder is then left equally often.
  const uint64_t rejected = -bound % bound;
  uint64_t bits = Bits64();
  while (bits < rejected) bits = Bits64();
  return bits % bound;
}

std::vector<int64_t> Permutation(Stream& stream, int64_t n) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(order[i], order[stream.Below(i + 1)]);
  }
  return order;
}

}  // namespace sgdscope
