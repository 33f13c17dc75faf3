#pragma once

namespace sgdscope {

/// Makes LibTorch keep large CPU blocks for the next tensor of their size, on huge pages. Without
/// it each step of a wide network returns its temporaries to the system and takes page faults for
/// new ones. Call it once, before the first tensor; further calls do nothing.
void UseHugePageAllocator();

}  // namespace sgdscope
