#include "run/job_starter.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/posix.h"
#include "run/resolve.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr const char* kThisProgram = "/proc/self/exe";

struct Job {
  std::string id;
  std::string processors;  // as they were given, "0,2"; "-": all that this process may use
  std::string log;
  Words command;
};

[[noreturn]] void Refuse(int64_t line, const std::string& what) {
  throw Error(ErrorKind::kConfig, "standard input, line " + std::to_string(line), what,
              "A line is ID PROCESSORS LOG COMMAND..., or stop: see sgdscope start-jobs --help.");
}

Words WordsOf(const std::string& text, int64_t line) {
  try {
    return ShellWords(text);
  } catch (const Error& error) {
    Refuse(line, error.what());
  }
}

Job ParseJob(const Words& words, int64_t line) {
  constexpr size_t kBefore = 3;  // words before the command
  if (words.size() <= kBefore) Refuse(line, "has " + std::to_string(words.size()) + " words");
  return {words[0], words[1], words[2], {words.begin() + kBefore, words.end()}};
}

std::vector<size_t> Processors(const std::string& text) {
  std::vector<size_t> all;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data();; ++at) {
    const auto [rest, error] = std::from_chars(at, end, all.emplace_back());
    if (error != std::errc() || (rest != end && *rest != ',')) {
      throw Error(ErrorKind::kConfig, text, "is no list of processors", "Give one such as 0,2.");
    }
    if (rest == end) return all;
    at = rest;
  }
}

void KeepTo(const std::string& processors) {
  const std::vector<size_t> all = Processors(processors);
  std::vector<cpu_set_t> set(std::ranges::max(all) / CPU_SETSIZE + 1);
  const size_t bytes = set.size() * sizeof(cpu_set_t);
  for (const size_t processor : all) CPU_SET_S(processor, bytes, set.data());
  if (sched_setaffinity(0, bytes, set.data()) != 0) {
    throw SystemError(ErrorKind::kResource, "processors " + processors, "keep to these",
                      "Name some that this process may use, or none: -.");
  }
}

/// Nothing to read, and the log for all that is printed.
void TakeStreams(const std::string& log) {
  const Descriptor input(OpenFile("/dev/null", O_RDONLY));
  const Descriptor output(OpenFile(log, O_WRONLY | O_CREAT | O_APPEND));
  if (input.get() < 0 || output.get() < 0) throw WriteError(log, "open the log");
  dup2(input.get(), STDIN_FILENO);
  dup2(output.get(), STDOUT_FILENO);
  dup2(output.get(), STDERR_FILENO);
}

/// Becomes another program.
[[noreturn]] void Execute(Words command) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  throw SystemError(ErrorKind::kResource, command[0], "start it", "Look for it.");
}

/// As a shell has it: 128 and the signal's number for a process that a signal ended.
int ExitStatus(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

class JobStarter {
 public:
  JobStarter() {
    std::error_code unknown;
    const fs::directory_iterator tasks("/proc/self/task", unknown);
    const auto threads = std::distance(begin(tasks), end(tasks));
    copies_ = threads == 1;
    if (!copies_) {
      std::fprintf(stderr,
                   "warning: each job loads the program anew, which takes longer: its libraries "
                   "have begun threads, %lld in all\n",
                   static_cast<long long>(threads));
    }
    // SIGCHLD comes only where it is waited for.
    struct sigaction action{};
    action.sa_handler = [](int) {};
    sigaction(SIGCHLD, &action, nullptr);
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &unblocked_);
  }

  std::optional<Words> Run() {
    Say(fs::read_symlink(kThisProgram).string());
    while (listens_ || !running_.empty()) {
      pollfd input = {listens_ ? STDIN_FILENO : -1, POLLIN, 0};
      if (ppoll(&input, 1, nullptr, &unblocked_) > 0) {
        if (auto arguments = Listen()) return arguments;
      }
      TellOfEnded();
    }
    return {};
  }

 private:
  /// Takes what has come of standard input; in the process of a job its arguments.
  std::optional<Words> Listen() {
    char piece[4096];
    const ssize_t got = read(STDIN_FILENO, piece, sizeof(piece));
    if (got < 0 && errno == EINTR) return {};
    listens_ = got > 0;
    heard_.append(piece, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    for (size_t end; (end = heard_.find('\n')) != std::string::npos;) {
      const std::string line = heard_.substr(0, end);
      heard_.erase(0, end + 1);
      if (auto arguments = Take(line)) return arguments;
    }
    return {};
  }

  std::optional<Words> Take(const std::string& line) {
    const Words words = WordsOf(line, ++lines_);
    if (words == Words{"stop"}) {
      for (const auto& [process, id] : running_) kill(process, SIGTERM);
      return {};
    }
    const Job job = ParseJob(words, lines_);
    const pid_t process = fork();
    if (process < 0) {
      throw SystemError(ErrorKind::kResource, "job " + job.id, "begin a process",
                        "Allow more of them (ulimit -u), or more memory, or run fewer at a time.");
    }
    if (process == 0) return Begin(job);
    running_[process] = job.id;
    return {};
  }

  /// Makes this process that of the job, in a session of its own: a terminal's signals go to whoever
  /// asked for the job, and come as a 'stop' from there.
  Words Begin(const Job& job) const {
    setsid();
    std::signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &unblocked_, nullptr);
    TakeStreams(job.log);
    if (job.processors != "-") KeepTo(job.processors);
    Words command = job.command;
    if (command[0] != "sgdscope") Execute(std::move(command));
    if (!copies_) {
      command[0] = kThisProgram;
      Execute(std::move(command));
    }
    command.erase(command.begin());
    return command;
  }

  void TellOfEnded() {
    int status = 0;
    for (pid_t process; (process = waitpid(-1, &status, WNOHANG)) > 0;) {
      Say(running_[process] + " " + std::to_string(ExitStatus(status)));
      running_.erase(process);
    }
  }

  static void Say(const std::string& line) {
    if (WriteAll(STDOUT_FILENO, line + "\n") > line.size()) return;
    throw SystemError(ErrorKind::kResource, "standard output", "write", "Send it elsewhere.");
  }

  bool copies_ = false;  // whether a copy of this process is as good as the program started anew
  bool listens_ = true;
  int64_t lines_ = 0;
  std::string heard_;                     // a line of which the end has not come yet
  std::map<pid_t, std::string> running_;  // ids of jobs, by process
  sigset_t unblocked_;
};

}  // namespace

std::string JobProtocol() {
  return "Standard input has a line for each job, its words quoted as for a shell:\n"
         "  ID PROCESSORS LOG COMMAND...\n"
         "PROCESSORS: those that the job is kept to, as in 0,2; - for any. LOG: what it prints is\n"
         "added there. COMMAND: 'sgdscope ...', which begins as a copy of this process, or "
         "another\n"
         "program. The line 'stop' sends SIGTERM to all jobs that run.\n"
         "Standard output has the path of this program, and then a line for each job that ends:\n"
         "  ID STATUS\n"
         "its exit status, or 128 and the number of the signal that ended it.";
}

std::optional<std::vector<std::string>> StartJobs() { return JobStarter().Run(); }

}  // namespace sgdscope
