// g_w = (1/n) sum_i clip(g_wi, l_w, u_w) for each weight w, where l_w and u_w are the c-th and the
// (100 - c)-th percentile of the batch's n values g_wi: coherent_gradients, section 3.1. Sorted and
// counted from 0, the c-th percentile stands at p = (n - 1) c / 100 and the other at n - 1 - p.
//   nearest  values of ranks k and n - 1 - k, k the whole number nearest to p and the lower of two:
//            the k smallest and the k largest values are moved to the next ones. With n = 100 and
//            a whole c below 50, k = c
//   linear   on the line between the values of the ranks around p, as far as p is
// The paper doesn't say which. NumPy's nearest takes the even one of two ranks as near, at both
// ends, which clips one value more at one end than at the other where n is even.

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
                           "moved to it; 0 is the mean, 50 the median (of an even number, the "
                           "mean of the two in the middle)",
                   .unit = "%",
                   .paper = "coherent_gradients, section 3.1",
                   .required = true,
                   .min = 0,
                   .max = 50},
                  percentile_);
    visitor.Visit({.name = "method",
                   .help = "a percentile between two values is the nearest of them (of two as "
                           "near, the one that moves fewer values), or lies on the line between "
                           "them",
                   .allowed = {kNearest, kLinear}},
                  method_);
    memory_.Fields(visitor);
  }

  bool NeedsSingleExamples() const override { return true; }
  bool NeedsWholeBatch() const override { return true; }

  at::Tensor Estimate(const EstimatorView& view) override {
    if (percentile_ == 0) return view.gradients.Mean();
    return PerExample(view.gradients, memory_).Reduce(Clip(view.gradients.losses.size(0)));
  }

 private:
  kernels::Reduction Clip(int64_t n) const {
    const double hundredths = percentile_ * static_cast<double>(n - 1);  // 100 p
    const double rest = std::fmod(hundredths, 100);
    const int64_t rank = std::llrint((hundredths - rest) / 100);
    if (method_ == kNearest) {
      constexpr double kRounding = 1e-9;  // of 100 p where it is meant to be halfway
      const int64_t k = rank + (rest > 50 + kRounding ? 1 : 0);
      return {kernels::Reduction::Kind::kClip, k, n - 1 - k};
    }
    if (rest == 0) return {kernels::Reduction::Kind::kClip, rank, n - 1 - rank};
    return {kernels::Reduction::Kind::kClip, rank, n - 2 - rank, rest / 100, 1 - rest / 100};
  }

  double percentile_ = 0;
  std::string method_ = kNearest;
  TileMemory memory_;
};

const Registration<Estimator, Winsorized> kRegistration(
    "winsorized", "each weight's extreme per-example gradients are moved to a percentile",
    {.variants = {R"({"method": "linear"})"}});

}  // namespace
}  // namespace sgdscope
