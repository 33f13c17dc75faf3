#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/error.h"

// What files.cpp, csv.cpp and data/data_file.cpp share; the rest of the program has no need of file
// descriptors.

namespace sgdscope {

/// Owns a file descriptor; -1: none.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

/// open(2) with close-on-exec, repeated where a signal interrupts it; -1 and errno if it fails.
int OpenFile(const std::filesystem::path& path, int flags);

/// Writes all of `text` and returns how much of it was written; where that is less, errno says why.
size_t WriteAll(int descriptor, std::string_view text);

/// An error with the system's reason, errno being still that of the failed call, and with what to
/// do. `action` completes "cannot ...".
Error SystemError(ErrorKind kind, const std::filesystem::path& path, const std::string& action,
                  const std::string& hint);
/// The same for what a run writes: kResource, and what to do by the system's reason.
Error WriteError(const std::filesystem::path& path, const std::string& action);

}  // namespace sgdscope
