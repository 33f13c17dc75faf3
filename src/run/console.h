#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace sgdscope {

/// What a run shows: messages on the terminal and, without colours, in log.txt; and its progress,
/// as one line that renews itself on a terminal, or a plain line now and then elsewhere.
class Console {
 public:
  /// `log_file` is appended to. `quiet`: warnings and errors only.
  Console(const std::filesystem::path& log_file, bool quiet);
  /// Ends the progress line, so that what follows starts on its own.
  ~Console() { EndProgress(); }
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  void Info(const std::string& message);
  void Warn(const std::string& message);

  struct Status {
    int64_t step;
    int64_t steps;
    double epoch;
    double loss;
    double test_accuracy;  // NaN: not yet evaluated
  };
  /// Shows the status if it is time for it.
  void Progress(const Status& status);
  /// Whether Progress would show something now, so that its numbers need fetching.
  bool ProgressDue() const;
  /// Sets the step from which speed is measured.
  void StartAt(int64_t step);

 private:
  void EndProgress();

  using Clock = std::chrono::steady_clock;

  std::shared_ptr<spdlog::logger> terminal_;
  std::shared_ptr<spdlog::logger> file_;
  bool quiet_;
  bool is_terminal_;
  bool line_open_ = false;
  int64_t start_step_ = 0;
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = Clock::now();
  std::chrono::milliseconds interval_;
};

/// "1 h 02 min", "3 min 20 s", "12 s".
std::string DurationText(double seconds);

}  // namespace sgdscope
