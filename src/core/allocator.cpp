#include "core/allocator.h"

#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <sys/mman.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

// LibTorch 2.3 made `allocate` non-const and added `copy_data`.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 3)
#define SGDSCOPE_ALLOCATE_CONST
#define SGDSCOPE_HAS_COPY_DATA 1
#else
#define SGDSCOPE_ALLOCATE_CONST const
#define SGDSCOPE_HAS_COPY_DATA 0
#endif

namespace sgdscope {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSmallest = size_t{1} << 20;  // smaller blocks are malloc's
constexpr size_t kSlack = size_t{2} << 30;

/// Free blocks by size. Its life is the process's: tensors in static storage may outlive main.
///
/// With those in use they are at most kSlack bytes more than were ever in use at once: all that a step
/// frees is there for the next one. A step of 6 GiB, of which 2 were kept, took 1.4 times as long, since the
/// system clears each page that it gives.
class BlockPool {
 public:
  void* Take(size_t bytes) {
    const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    if (size < bytes) throw std::bad_alloc();
    const std::lock_guard lock(mutex_);
    auto& kept = free_[size];
    void* block = nullptr;
    if (kept.empty()) {
      Shrink(std::max(most_in_use_, in_use_ + size) + kSlack - in_use_ - size);
      block = Fresh(size);
    } else {
      block = kept.back();
      kept.pop_back();
      kept_bytes_ -= size;
    }
    sizes_[block] = size;
    in_use_ += size;
    most_in_use_ = std::max(most_in_use_, in_use_);
    return block;
  }

  /// False if the block isn't one of ours.
  bool Return(void* block) {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(block);
    if (found == sizes_.end()) return false;
    const size_t size = found->second;
    sizes_.erase(found);
    free_[size].push_back(block);
    kept_bytes_ += size;
    in_use_ -= size;
    return true;
  }

 private:
  /// Gives blocks back to the system, the largest first, until at most so many bytes are kept.
  void Shrink(size_t bytes) {
    for (auto of_size = free_.rbegin(); of_size != free_.rend() && kept_bytes_ > bytes; ++of_size) {
      auto& [size, blocks] = *of_size;
      for (; !blocks.empty() && kept_bytes_ > bytes; blocks.pop_back()) {
        std::free(blocks.back());
        kept_bytes_ -= size;
      }
    }
  }

  void* Fresh(size_t size) {
    void* block = std::aligned_alloc(kHugePage, size);
    if (block == nullptr) {  // all that is left is in blocks of other sizes
      Shrink(0);
      block = std::aligned_alloc(kHugePage, size);
    }
    if (block == nullptr) throw std::bad_alloc();
    madvise(block, size,
            MADV_HUGEPAGE);  // only advice: a kernel without huge pages serves small ones
    return block;
  }

  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
  std::unordered_map<void*, size_t> sizes_;  // of the blocks in use
  size_t kept_bytes_ = 0;
  size_t in_use_ = 0;  // bytes
  size_t most_in_use_ = 0;
};

BlockPool& Pool() {
  static BlockPool* const pool = new BlockPool;
  return *pool;
}

class HugePageAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) SGDSCOPE_ALLOCATE_CONST override {
    if (bytes < kSmallest) return Small()->allocate(bytes);
    void* block = Pool().Take(bytes);
    return {block, block, &Free, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &Free; }

#if SGDSCOPE_HAS_COPY_DATA
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
#endif

 private:
  /// LibTorch's own allocator, which ours stands before.
  static c10::Allocator* Small() {
    static c10::Allocator* const small = c10::GetDefaultCPUAllocator();
    return small;
  }

  static void Free(void* block) {
    if (!Pool().Return(block)) Small()->raw_deleter()(block);
  }
};

}  // namespace

void UseHugePageAllocator() {
  static HugePageAllocator* const allocator = [] {
#ifdef __GLIBC__
    // So that malloc keeps small blocks: as it comes, it returns to the system what lies free at the
    // end of its memory, and a step of half-MiB tensors then takes page faults for all of them.
    mallopt(M_MMAP_THRESHOLD, 4 * kSmallest);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
    auto* made = new HugePageAllocator;
    c10::SetCPUAllocator(made, /*priority=*/1);
    return made;
  }();
  (void)allocator;
}

}  // namespace sgdscope
