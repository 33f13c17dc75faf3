#include "core/allocator.h"

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "core/torch.h"

namespace sgdscope {
namespace {

constexpr uintptr_t kHugePage = uintptr_t{2} << 20;

uintptr_t Address(const at::Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data_ptr());
}

at::Tensor Bytes(int64_t count) { return at::empty({count}, at::kByte); }

TEST(HugePageAllocator, KeepsALargeBlockForTheNextTensorOfItsSize) {
  UseHugePageAllocator();
  at::Tensor first = Bytes(3 << 20);
  const uintptr_t address = Address(first);
  EXPECT_EQ(address % kHugePage, 0U);
  EXPECT_NE(Address(Bytes(3 << 20)), address) << "the block is in use";
  first.reset();
  EXPECT_EQ(Address(Bytes(4 << 20)), address) << "3 and 4 MiB both take two huge pages";
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)  // whose malloc has other rules
/// What a step frees, the next one takes without a page fault, also below a MiB.
TEST(HugePageAllocator, SmallBlocksStayWithTheProcess) {
  UseHugePageAllocator();
  const auto faults = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
  };
  const auto step = [] {
    std::vector<at::Tensor> tensors;
    for (int i = 0; i < 40; ++i) tensors.push_back(Bytes(900 << 10).fill_(1));
  };
  for (int i = 0; i < 5; ++i) step();  // until the blocks lie as they are going to
  const auto before = faults();
  for (int i = 0; i < 10; ++i) step();
  EXPECT_LT(faults() - before, 40 * 225);  // a step's pages; as malloc comes it is more
}

/// Tensors of 256 MiB and a few bytes, each with a number at its beginning; pages that the system gives are
/// 0, and those that nobody writes cost nothing.
std::vector<at::Tensor> LargeTensors(int count, int64_t more, int* known) {
  std::vector<at::Tensor> tensors;
  for (int i = 0; i < count; ++i) {
    tensors.push_back(Bytes((256 << 20) + more));
    auto* const first = tensors.back().data_ptr<uint8_t>();
    *known += *first == 42 ? 1 : 0;
    *first = 42;
  }
  return tensors;
}

TEST(HugePageAllocator, AllThatAStepFreesIsThereForTheNextOne) {
  UseHugePageAllocator();
  int known = 0;
  for (const auto& tensor : LargeTensors(20, 0, &known)) EXPECT_TRUE(tensor.defined());
  known = 0;
  LargeTensors(20, 0, &known);  // 5 GiB
  EXPECT_EQ(known, 20);
}

TEST(HugePageAllocator, HoldsTwoGiBMoreThanWereInUseAtMost) {
  UseHugePageAllocator();
  int known = 0;
  LargeTensors(20, 0, &known);
  const auto others = LargeTensors(20, 4 << 20, &known);  // nothing of the former fits
  known = 0;
  LargeTensors(20, 0, &known);
  EXPECT_LE(known, 8);  // 2 GiB; the others were given back
  EXPECT_GE(known, 7);  // what other tests left is kept, too
}
#endif

TEST(HugePageAllocator, TensorsNeverShareMemory) {
  UseHugePageAllocator();
  Stream stream(1, "test");
  std::vector<at::Tensor> tensors(8);
  std::vector<int64_t> values(8, 0);
  for (int64_t turn = 0; turn < 200; ++turn) {
    const auto place = stream.Below(tensors.size());
    if (tensors[place].defined()) {
      EXPECT_TRUE(tensors[place].eq(values[place]).all().item<bool>()) << turn;
    }
    // Sizes on both sides of the smallest block that is kept.
    tensors[place] = Bytes(1 + static_cast<int64_t>(stream.Below(3 << 20)));
    values[place] = static_cast<int64_t>(stream.Below(256));
    tensors[place].fill_(values[place]);
  }
}

TEST(HugePageAllocator, RawMemoryOfEitherKindIsFreed) {
  UseHugePageAllocator();
  for (const size_t bytes : {size_t{100}, size_t{5} << 20}) {
    void* block = c10::GetCPUAllocator()->raw_allocate(bytes);
    ASSERT_NE(block, nullptr);
    c10::GetCPUAllocator()->raw_deallocate(block);
  }
}

}  // namespace
}  // namespace sgdscope
