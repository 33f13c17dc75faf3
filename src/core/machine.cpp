#include "core/machine.h"

#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <latch>
#include <limits>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"

namespace sgdscope {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

int64_t PhysicalMemory() {
  struct sysinfo info{};
  if (sysinfo(&info) != 0) return kUnlimited;
  return static_cast<int64_t>((info.totalram + info.totalswap) * info.mem_unit);
}

int64_t AddressSpace() {
  rlimit limit{};
  const bool known = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return known ? static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kUnlimited)) : kUnlimited;
}

/// The least limit of a control group and of those around it; a file that is not there, or says
/// "max", sets none.
int64_t LimitOfGroup(const std::filesystem::path& root, std::filesystem::path group,
                     const std::string& name) {
  int64_t limit = kUnlimited;
  while (true) {
    std::ifstream file(root / group / name);
    int64_t bytes = 0;
    if (file >> bytes) limit = std::min(limit, bytes);
    if (group.empty()) return limit;
    group = group.parent_path();
  }
}

/// Of this process's control groups, of version 2 ("0::/path") and of version 1 ("4:memory:/path").
int64_t ControlGroups() {
  const std::string second = "0::/";
  const std::string first = ":memory:/";
  std::ifstream groups("/proc/self/cgroup");
  int64_t limit = kUnlimited;
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with(second)) {
      const std::string group = line.substr(second.size());
      limit = std::min(limit, LimitOfGroup("/sys/fs/cgroup", group, "memory.max"));
    }
    if (const size_t found = line.find(first); found != std::string::npos) {
      const std::string group = line.substr(found + first.size());
      limit =
          std::min(limit, LimitOfGroup("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
  }
  return limit;
}

}  // namespace

int64_t MemoryLimit() { return std::min({PhysicalMemory(), AddressSpace(), ControlGroups()}); }

void CheckThreads(int64_t threads) {
  std::vector<std::jthread> started;
  std::latch all_tried(1);
  try {
    while (static_cast<int64_t>(started.size()) + 1 < threads) {
      started.emplace_back([&all_tried] { all_tried.wait(); });
    }
  } catch (const std::system_error& error) {
    all_tried.count_down();
    throw Error(ErrorKind::kResource, "threads",
                std::to_string(threads) + " are asked for, but the system starts only " +
                    std::to_string(started.size() + 1) + ": " + error.code().message(),
                "Lower it, or raise the limit of processes or of memory (ulimit -u, ulimit -v).");
  }
  all_tried.count_down();
}

double SecondsOfProcess() {
  constexpr int kBefore = 19;  // fields between the program's name, in brackets, and the start
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < kBefore; ++i) fields >> skipped;
  double ticks = 0;
  timespec now{};
  if (!(fields >> ticks) || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  const double started = ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  const double up = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  return std::max(up - started, 0.0);
}

}  // namespace sgdscope
