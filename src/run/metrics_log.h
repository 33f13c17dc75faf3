#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/csv.h"
#include "core/torch.h"
#include "run/experiment.h"
#include "run/stepper.h"

namespace sgdscope {

/// Rows of metrics.csv. Values stay in a buffer on the device until a flush fetches them all at
/// once, so that logging never makes the device wait.
class MetricsLog {
 public:
  /// `csv` has the columns of Columns(experiment).
  MetricsLog(const Experiment& experiment, CsvWriter& csv);

  /// step, epoch, loss, learning_rate if it is not constant, then "<label>.<value>" for each probe.
  static std::vector<std::string> Columns(const Experiment& experiment);

  /// Adds the row of a step, if one is due. Returns the step of the first loss that is not finite
  /// once a flush has found one; a full buffer is flushed here.
  std::optional<int64_t> Add(int64_t step, const Stepper::Measured& measured);

  /// Fetches the buffered rows and writes them, up to the first whose loss is not finite. Returns
  /// the step of that one, if there is one; nothing is written from then on.
  std::optional<int64_t> Flush();

  double last_loss() const { return last_loss_; }  // of the last row flushed; NaN before

 private:
  bool RowDue(int64_t step) const;

  const Experiment& experiment_;
  CsvWriter& csv_;
  int64_t width_;
  at::Tensor buffer_;  // [kRows, width] double, on the device: loss, then the probes' values
  std::vector<int64_t> steps_;  // of the buffered rows
  std::optional<int64_t> diverged_;
  double last_loss_;
};

}  // namespace sgdscope
