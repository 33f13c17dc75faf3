#include "run/metrics_log.h"

#include <cmath>
#include <limits>

namespace sgdscope {
namespace {

constexpr int64_t kRows = 256;

/// step, epoch and perhaps learning_rate, which the device need not know.
size_t HostColumns(const Experiment& experiment) {
  return experiment.config().update->LearningRateVaries() ? 3 : 2;
}

}  // namespace

std::vector<std::string> MetricsLog::Columns(const Experiment& experiment) {
  std::vector<std::string> columns = {"step", "epoch", "loss"};
  if (experiment.config().update->LearningRateVaries()) columns.emplace_back("learning_rate");
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
      width_(static_cast<int64_t>(Columns(experiment).size() - HostColumns(experiment))),
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
  std::vector<double> line;
  for (size_t i = 0; i < steps_.size() && !diverged_; ++i, values += width_) {
    if (!std::isfinite(values[0])) {
      diverged_ = steps_[i];
      break;
    }
    last_loss_ = values[0];
    line = {static_cast<double>(steps_[i]), experiment_.sampler().EpochAt(steps_[i]), values[0]};
    const UpdateRule& update = *experiment_.config().update;
    if (update.LearningRateVaries()) line.push_back(update.LearningRate(steps_[i]));
    line.insert(line.end(), values + 1, values + width_);
    csv_.Row(line);
  }
  steps_.clear();
  csv_.Flush();
  return diverged_;
}

}  // namespace sgdscope
