#pragma once

#include <exception>
#include <string>
#include <utility>

namespace sgdscope {

/// What went wrong, as the exit status that `main` returns for it (src/README.md).
enum class ErrorKind {
  kInternal = 1,
  kConfig = 2,
  kData = 3,
  kDiverged = 4,
  kResource = 5,
};

/// The one exception of the libraries: where, what, and what to do next. Only `main` prints it.
class Error : public std::exception {
 public:
  /// `where`: a JSON path, a file, a file and offset. `what`: what was found and what is allowed.
  /// `hint`: what the reader can do about it; may be empty.
  Error(ErrorKind kind, std::string where, std::string what, std::string hint = "")
      : kind_(kind), message_(std::move(where)) {
    if (!message_.empty()) message_ += ": ";
    message_ += what;
    if (!hint.empty()) message_ += "\n  " + hint;
  }

  const char* what() const noexcept override { return message_.c_str(); }
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
  std::string message_;
};

}  // namespace sgdscope
