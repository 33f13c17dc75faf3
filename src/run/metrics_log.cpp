#include "run/metrics_log.h"

#include <cmath>
#include <limits>

namespace sgdscope {
namespace {

constexpr int64_t kRows = 256;
constexpr int64_t kHostColumns = 2;  // step and epoch, which the device need not know

}  // namespace

std::vector<std::string> MetricsLog::Columns(const Experiment& experiment) {
  std::vector<std::string> columns = {"step", "epoch", "loss"};
  for (const auto& probe : experiment.config().probes.choices()) {
    for (const std::string& value : (*probe)->Values()) {
      columns.push_back((*probe)->label() + "." + value);
    }
  }
  return columns;
}

MetricsLog::MetricsLog(const Experiment& experiment, CsvWriter& csv)
    : experiment_(experiment),
      csv_(csv),
      width_(static_cast<int64_t>(Columns(experiment).size()) - kHostColumns),
      buffer_(at::full({kRows, width_}, kNotMeasured,
                       at::device(experiment.device()).dtype(at::kDouble))),
      last_loss_(std::numeric_limits<double>::quiet_NaN()) {}

bool MetricsLog::RowDue(int64_t step) const {
  if (experiment_.config().log.At(step)) return true;
  for (const auto& probe : experiment_.config().probes.choices()) {
    if ((*probe)->LogsAt(step) && !(*probe)->Values().empty()) return true;
  }
  return false;
}

std::optional<int64_t> MetricsLog::Add(int64_t step, const Stepper::Measured& measured) {
  if (diverged_ || !RowDue(step)) return diverged_;
  const auto place = static_cast<int64_t>(steps_.size());
  steps_.push_back(step);
  at::Tensor row = buffer_.select(0, place);
  row.fill_(kNotMeasured);
  row.select(0, 0).copy_(measured.loss);
  int64_t begin = 1;
  const auto& probes = experiment_.config().probes.choices();
  for (size_t i = 0; i < probes.size(); ++i) {
    const auto count = static_cast<int64_t>((*probes[i])->Values().size());
    if (measured.probes[i].defined() && (*probes[i])->LogsAt(step) && count > 0) {
      row.narrow(0, begin, count).copy_(measured.probes[i]);
    }
    begin += count;
  }
  if (place + 1 == kRows) Flush();
  return diverged_;
}

std::optional<int64_t> MetricsLog::Flush() {
  if (steps_.empty() || diverged_) return diverged_;
  const at::Tensor rows =
      buffer_.narrow(0, 0, static_cast<int64_t>(steps_.size())).to(at::kCPU).contiguous();
  const double* values = rows.data_ptr<double>();
  std::vector<double> line(static_cast<size_t>(kHostColumns + width_));
  for (size_t i = 0; i < steps_.size() && !diverged_; ++i, values += width_) {
    if (!std::isfinite(values[0])) {
      diverged_ = steps_[i];
      break;
    }
    last_loss_ = values[0];
    line[0] = static_cast<double>(steps_[i]);
    line[1] = experiment_.sampler().EpochAt(steps_[i]);
    std::copy(values, values + width_, line.begin() + kHostColumns);
    csv_.Row(line);
  }
  steps_.clear();
  csv_.Flush();
  return diverged_;
}

}  // namespace sgdscope
