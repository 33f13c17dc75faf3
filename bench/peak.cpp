// Compiled once for each instruction set by foreach_target.h; the processor's best is picked at run
// time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

#include "bench/peak.h"

HWY_BEFORE_NAMESPACE();
namespace sgdscope::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

float MultiplyAndAddImpl(int64_t operations) {
  constexpr int kSums = 12;  // enough that none waits for its last addition
  const hn::ScalableTag<float> d;
  hn::Vec<decltype(d)> sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  const auto factor = hn::Set(d, 0.5F), term = hn::Set(d, 1.0F);
  const auto each = static_cast<int64_t>(2 * kSums * hn::Lanes(d));
  for (int64_t done = 0; done < operations; done += each) {
    HWY_UNROLL(12)
    for (int i = 0; i < kSums; ++i) sums[i] = hn::MulAdd(sums[i], factor, term);
  }
  auto sum = hn::Zero(d);
  for (int i = 0; i < kSums; ++i) sum = hn::Add(sum, sums[i]);
  return hn::GetLane(sum);
}

}  // namespace sgdscope::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sgdscope::bench {

HWY_EXPORT(MultiplyAndAddImpl);

float MultiplyAndAdd(int64_t operations) {
  return HWY_DYNAMIC_DISPATCH(MultiplyAndAddImpl)(operations);
}

}  // namespace sgdscope::bench
#endif  // HWY_ONCE
