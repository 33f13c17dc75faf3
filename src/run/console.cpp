#include "run/console.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "core/error.h"

namespace sgdscope {
namespace {

std::shared_ptr<spdlog::logger> MakeFileLogger(const std::filesystem::path& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    auto logger = std::make_shared<spdlog::logger>("file", std::move(sink));
    logger->set_pattern("%Y-%m-%d %H:%M:%S %l: %v");
    logger->flush_on(spdlog::level::info);
    // A full disk must not end a run through its log.
    logger->set_error_handler([](const std::string&) {});
    return logger;
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(
        ErrorKind::kResource, path.string(), error.what(),
        "Check that there is space and that you may write to it, or choose another --output.");
  }
}

std::string Text(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

}  // namespace

std::string DurationText(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return std::to_string(whole) + " s";
  char text[64];
  const auto minutes = static_cast<long long>(whole / 60);
  if (whole < 3600) {
    std::snprintf(text, sizeof(text), "%lld min %02lld s", minutes,
                  static_cast<long long>(whole % 60));
  } else {
    std::snprintf(text, sizeof(text), "%lld h %02lld min", minutes / 60, minutes % 60);
  }
  return text;
}

Console::Console(const std::filesystem::path& log_file, bool quiet)
    : terminal_(std::make_shared<spdlog::logger>(
          "terminal", std::make_shared<spdlog::sinks::stderr_color_sink_mt>())),
      file_(MakeFileLogger(log_file)),
      quiet_(quiet),
      is_terminal_(isatty(STDERR_FILENO) != 0),
      interval_(is_terminal_ ? 200 : 15000) {
  terminal_->set_pattern("%^%v%$");
  if (quiet_) terminal_->set_level(spdlog::level::warn);
}

void Console::Info(const std::string& message) {
  EndProgress();
  terminal_->info(message);
  file_->info(message);
}

void Console::Warn(const std::string& message) {
  EndProgress();
  terminal_->warn(message);
  file_->warn(message);
}

void Console::StartAt(int64_t step) {
  start_step_ = step;
  start_ = Clock::now();
}

bool Console::ProgressDue() const { return !quiet_ && Clock::now() - shown_ >= interval_; }

void Console::Progress(const Status& status) {
  if (!ProgressDue()) return;
  shown_ = Clock::now();
  const double seconds = std::chrono::duration<double>(shown_ - start_).count();
  const double speed = static_cast<double>(status.step - start_step_) / seconds;
  std::string line = "step " + std::to_string(status.step) + "/" + std::to_string(status.steps) +
                     "  epoch " + Text("%.2f", status.epoch) + "  loss " +
                     Text("%.4f", status.loss);
  if (!std::isnan(status.test_accuracy)) {
    line += "  test accuracy " + Text("%.2f %%", 100 * status.test_accuracy);
  }
  line += "  " + Text("%.0f", speed) + " steps/s";
  if (speed > 0) {
    line += "  " + DurationText(static_cast<double>(status.steps - status.step) / speed) + " left";
  }
  if (!is_terminal_) {
    terminal_->info(line);
    file_->info(line);
    return;
  }
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  line_open_ = true;
}

void Console::EndProgress() {
  if (!line_open_) return;
  std::fprintf(stderr, "\r\033[K");
  line_open_ = false;
}

}  // namespace sgdscope
