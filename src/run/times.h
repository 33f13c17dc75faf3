#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "config/json.h"

namespace sgdscope {

/// Where the time of a run goes: at any moment one part is charged, so that the parts add up to the
/// whole. It is the host's time: of a GPU's work that part is charged which waits for it. What
/// several parts share (StepView::AlongStep) is charged to the first that asks.
class Times {
 public:
  /// Begins with the first part. `probes`: their labels.
  explicit Times(std::vector<std::string> probes)
      : probes_(std::move(probes)), seconds_(kNames.size() + probes_.size()) {}

  /// Parts; the probes follow.
  enum Part : size_t { kStart, kBatches, kSteps, kRows, kEvaluations, kCheckpoints };
  /// Their names, in this order.
  static constexpr std::array<const char*, 6> kNames = {"start", "batches",     "steps",
                                                        "rows",  "evaluations", "checkpoints"};
  static size_t OfProbe(size_t i) { return kNames.size() + i; }

  /// What follows is charged to `part`; returns what was charged before.
  size_t Switch(size_t part) {
    if (part != part_) Settle();
    return std::exchange(part_, part);
  }

  /// Charges a part for as long as it lives, then again the part before. times: may be null.
  class Charge {
   public:
    Charge(Times* times, size_t part)
        : times_(times), before_(times == nullptr ? 0 : times->Switch(part)) {}
    ~Charge() { To(before_); }
    Charge(const Charge&) = delete;
    Charge& operator=(const Charge&) = delete;
    /// From now on another part.
    void To(size_t part) {
      if (times_ != nullptr) times_->Switch(part);
    }

   private:
    Times* times_;
    size_t before_;
  };

  /// Adds what was spent before this object began.
  void Add(size_t part, double seconds) { seconds_[part] += seconds; }
  /// Adds what ToJson gave in an earlier process of the same run.
  void Add(const Json& earlier);
  /// Seconds by part up to now; "probes" holds those of each probe by its label.
  Json ToJson();

 private:
  using Clock = std::chrono::steady_clock;

  void Settle() {
    const Clock::time_point now = Clock::now();
    seconds_[part_] += std::chrono::duration<double>(now - since_).count();
    since_ = now;
  }

  std::vector<std::string> probes_;
  std::vector<double> seconds_;
  size_t part_ = kStart;
  Clock::time_point since_ = Clock::now();
};

}  // namespace sgdscope
