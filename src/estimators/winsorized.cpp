// g_w = (1/n) sum_i clip(g_wi, l_w, u_w) for each weight w, where l_w and u_w are the c-th and the
// (100 - c)-th percentile of the batch's n values g_wi: coherent_gradients, section 3.1. With n =
// 100 and c = 2, the 2 smallest and 2 largest values of each weight are moved to the next ones.

#include <cmath>

#include "config/registry.h"
#include "estimators/estimator.h"
#include "gradients/per_example.h"

namespace sgdscope {
namespace {

constexpr const char* kNearest = "nearest";
constexpr const char* kLinear = "linear";

class Winsorized : public Estimator {
 public:
  void Fields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "percentile",
                   .help = "c: values below the c-th and above the (100 - c)-th percentile are "
                           "moved to it; 0 is the mean, 50 the median",
                   .unit = "%",
                   .paper = "coherent_gradients, section 3.1",
                   .required = true,
                   .min = 0,
                   .max = 50},
                  percentile_);
    visitor.Visit({.name = "method",
                   .help = "a percentile between two values is the nearest of them (the even one "
                           "of two as near), or lies on the line between them",
                   .allowed = {kNearest, kLinear}},
                  method_);
    memory_.Fields(visitor);
  }

  bool NeedsSingleExamples() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    if (percentile_ == 0) return view.gradients.Mean();
    return PerExample(view.gradients, memory_).Reduce(Clip(view.gradients.losses.size(0)));
  }

 private:
  kernels::Reduction Clip(int64_t n) const {
    const auto last = static_cast<double>(n - 1);
    const double low = percentile_ / 100 * last;
    const double high = (100 - percentile_) / 100 * last;
    kernels::Reduction how{kernels::Reduction::Kind::kClip};
    if (method_ == kNearest) {
      how.low = std::llrint(low);
      how.high = std::llrint(high);
      return how;
    }
    how.low = static_cast<int64_t>(low);
    how.high = static_cast<int64_t>(high);
    how.low_part = static_cast<float>(low - static_cast<double>(how.low));
    how.high_part = static_cast<float>(high - static_cast<double>(how.high));
    return how;
  }

  double percentile_ = 0;
  std::string method_ = kNearest;
  TileMemory memory_;
};

const Registration<Estimator, Winsorized> kRegistration(
    "winsorized", "each weight's extreme per-example gradients are moved to a percentile");

}  // namespace
}  // namespace sgdscope
