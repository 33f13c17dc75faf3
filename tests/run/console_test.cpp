#include "run/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <limits>
#include <string>

#include "core/files.h"
#include "tests/expect_error.h"
#include "tests/run/small_run.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

TEST(Console, DurationsAreShort) {
  EXPECT_EQ(DurationText(0), "0 s");
  EXPECT_EQ(DurationText(12.4), "12 s");
  EXPECT_EQ(DurationText(59.4), "59 s");
  EXPECT_EQ(DurationText(59.6), "1 min 00 s");
  EXPECT_EQ(DurationText(200), "3 min 20 s");
  EXPECT_EQ(DurationText(3599), "59 min 59 s");
  EXPECT_EQ(DurationText(3720), "1 h 02 min");
  EXPECT_EQ(DurationText(100 * 3600), "100 h 00 min");
}

TEST(Console, MessagesGoToStandardErrorAndTheLog) {
  TempFolder folder;
  testing::internal::CaptureStderr();
  {
    Console console(folder / "log.txt", false);
    console.Info("resuming");
    console.Warn("look {} out");
    EXPECT_FALSE(console.ProgressDue()) << "not at once where there is no terminal";
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "resuming\nlook {} out\n");
  const auto log = Lines(ReadFile(folder / "log.txt"));
  ASSERT_EQ(log.size(), 2);
  EXPECT_TRUE(log[0].ends_with(" info: resuming")) << log[0];
  EXPECT_TRUE(log[1].ends_with(" warning: look {} out")) << log[1];
}

TEST(Console, QuietShowsWarningsOnlyAndLogsAll) {
  TempFolder folder;
  testing::internal::CaptureStderr();
  {
    Console console(folder / "log.txt", true);
    console.Info("resuming");
    console.Warn("look out");
    EXPECT_FALSE(console.ProgressDue());
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "look out\n");
  EXPECT_EQ(Lines(ReadFile(folder / "log.txt")).size(), 2);
}

TEST(Console, TheLogIsAppendedTo) {
  TempFolder folder;
  testing::internal::CaptureStderr();
  Console(folder / "log.txt", true).Info("first");
  Console(folder / "log.txt", true).Info("second");
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(Lines(ReadFile(folder / "log.txt")).size(), 2);
}

TEST(Console, ALogThatCannotBeMadeIsAnError) {
  ExpectError(ErrorKind::kResource, {"/proc/nowhere/log.txt", "--output"},
              [] { Console("/proc/nowhere/log.txt", true); });
}

/// Makes standard error a terminal for as long as it lives.
class TerminalForStderr {
 public:
  TerminalForStderr()
      : saved_(dup(STDERR_FILENO)), master_(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)) {
    if (master_ < 0 || grantpt(master_) != 0 || unlockpt(master_) != 0) return;
    const int terminal = open(ptsname(master_), O_RDWR | O_NOCTTY);
    if (terminal < 0) return;
    dup2(terminal, STDERR_FILENO);
    close(terminal);
    works_ = true;
  }
  ~TerminalForStderr() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    close(master_);
  }
  TerminalForStderr(const TerminalForStderr&) = delete;
  TerminalForStderr& operator=(const TerminalForStderr&) = delete;

  /// False where there are no pseudo-terminals, as in a chroot without /dev/pts.
  bool works() const { return works_; }

  /// What was shown so far.
  std::string Shown() const {
    std::string shown(10000, '\0');
    const ssize_t count = read(master_, shown.data(), shown.size());
    shown.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return shown;
  }

 private:
  int saved_;
  int master_;
  bool works_ = false;
};

TEST(Console, ATerminalShowsOneProgressLineThatTheLogLacks) {
  TempFolder folder;
  constexpr double kNotYet = std::numeric_limits<double>::quiet_NaN();
  std::string progress;
  std::string after;
  {
    const TerminalForStderr terminal;
    if (!terminal.works()) GTEST_SKIP() << "no pseudo-terminals here";
    Console console(folder / "log.txt", false);
    console.StartAt(100);
    console.Progress({101, 1000, 1.0, 0.5, kNotYet});
    EXPECT_EQ(terminal.Shown(), "") << "too early";
    while (!console.ProgressDue()) sched_yield();  // for a fifth of a second
    console.Progress({150, 1000, 1.5, 0.25, 0.875});
    console.Progress({151, 1000, 1.5, 0.25, kNotYet});
    progress = terminal.Shown();
    console.Info("done");
    after = terminal.Shown();
  }
  EXPECT_TRUE(progress.starts_with("\r\033[K")) << "the line renews itself";
  for (const std::string part : {"step 150/1000", "epoch 1.50", "loss 0.2500",
                                 "test accuracy 87.50 %", " steps/s", " left"}) {
    EXPECT_NE(progress.find(part), std::string::npos) << part << " is missing in " << progress;
  }
  EXPECT_EQ(progress.find("151"), std::string::npos) << "too early for another one";
  EXPECT_EQ(progress.find('\n'), std::string::npos);
  EXPECT_TRUE(after.starts_with("\r\033[K")) << "what follows starts on its own";
  EXPECT_NE(after.find("done"), std::string::npos);
  const std::string log = ReadFile(folder / "log.txt");
  EXPECT_TRUE(log.ends_with(" info: done\n")) << log;
  EXPECT_EQ(Lines(log).size(), 1);
}

}  // namespace
}  // namespace sgdscope
