#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/commit.h"
#include "core/files.h"
#include "tests/temp_folder.h"

namespace sgdscope {

/// What `sgdscope --version` prints.
inline std::string VersionLine() {
  return std::string(SGDSCOPE_VERSION " (commit ").append(Commit()) + ")\n";
}

/// How a process ended.
struct Ended {
  int status;  // exit status, or minus the signal that ended it
  std::string out;
  std::string err;
};

/// The sgdscope executable as a process of its own, killed at the latest when this object goes.
class Process {
 public:
  /// Signals start with their default actions, whatever they are in this process. `program`:
  /// another one, such as a shell that starts sgdscope.
  explicit Process(const std::vector<std::string>& arguments,
                   const char* program = SGDSCOPE_BINARY) {
    std::vector<char*> argv = {const_cast<char*>(program)};
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.data()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, (folder_ / "out").c_str(), O_WRONLY | O_CREAT,
                                     0600);
    posix_spawn_file_actions_addopen(&files, 2, (folder_ / "err").c_str(), O_WRONLY | O_CREAT,
                                     0600);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int error = posix_spawn(&id_, program, &files, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) throw std::runtime_error(std::string("cannot start ") + program);
    descriptor_ = static_cast<int>(syscall(SYS_pidfd_open, id_, 0));
  }
  ~Process() {
    if (id_ > 0) {
      kill(id_, SIGKILL);
      waitpid(id_, nullptr, 0);
    }
    close(descriptor_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Signal(int signal) const { kill(id_, signal); }

  /// Waits until the process has ended (true), or until `descriptor` has something to read (false).
  bool EndedBefore(int descriptor) const {
    pollfd events[] = {{descriptor_, POLLIN, 0}, {descriptor, POLLIN, 0}};
    constexpr int kLongest = 120'000;  // ms, for a process that hangs
    if (poll(events, 2, kLongest) <= 0) throw std::runtime_error("the process hangs");
    return (events[1].revents & POLLIN) == 0;
  }

  Ended Wait() {
    int status = 0;
    waitpid(id_, &status, 0);
    id_ = 0;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return {code, ReadFile(folder_ / "out"), ReadFile(folder_ / "err")};
  }

 private:
  TempFolder folder_;
  pid_t id_ = 0;
  int descriptor_ = -1;  // becomes readable when the process ends
};

inline Ended RunProgram(const std::vector<std::string>& arguments) {
  return Process(arguments).Wait();
}

/// What /bin/sh is to be given for a line in which "$0" is the executable, and $1, $2 ... these
/// arguments.
inline std::vector<std::string> ShellLine(const std::string& line,
                                          const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"-c", line, SGDSCOPE_BINARY};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

inline Ended RunShell(const std::string& line, const std::vector<std::string>& arguments) {
  return Process(ShellLine(line, arguments), "/bin/sh").Wait();
}

}  // namespace sgdscope
