#pragma once

#include <cstdint>

namespace sgdscope {

/// Bytes that this process could have at the most: the machine's memory and swap, less where a
/// control group (a container, a batch system) or RLIMIT_AS (`ulimit -v`) allows less.
int64_t MemoryLimit();

/// Error kResource at `threads` if the system refuses to start so many threads at once: OpenMP, at
/// its first loop, would end the process.
void CheckThreads(int64_t threads);

/// Seconds since the system started this process, to a hundredth; 0 where it doesn't say.
double SecondsOfProcess();

}  // namespace sgdscope
