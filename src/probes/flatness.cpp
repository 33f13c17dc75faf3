// How flat the mean loss L is around theta, beyond its second derivatives at theta itself.
//   loss                L(theta)
//   increase            the mean of (L(theta + d) + L(theta - d)) / 2 - L(theta) over `draws` random
//                       d, each number of which is normal with standard deviation `sigma`: about
//                       sigma^2 / 2 tr H. Both signs, so that the gradient adds nothing to it
//   increase_error      its standard error
//   relative_increase, relative_increase_error   the same where the deviation is relative_sigma
//                       times the root mean square of the weights of the number's unit (its filter,
//                       bias included), so that |d| of a unit is about relative_sigma times its
//                       norm: blind to scales that the next layer undoes; Li et al., Visualizing
//                       the loss landscape of neural nets (2018), section 4
//   sharpness           max L(theta + e) - L(theta) over |e| <= `radius`; Foret et al.,
//                       Sharpness-aware minimization (2021), equation 1
//   adaptive_sharpness  the same over |e / theta| <= `adaptive_radius`, number by number; Kwon et
//                       al., ASAM (2021), equation 5
// The maximum is sought by `ascent_steps` steps, each of which goes to that e of the ball's
// surface where <grad L(theta + e_before), e> is largest: e = r T T grad L / |T grad L|, with T the
// identity or |theta|. The first from e = 0 is SAM's; where L is convex none of them descends. What
// is given is the largest loss met: a lower bound of the maximum.

#include "config/registry.h"
#include "core/random_vectors.h"
#include "nn/reduce.h"
#include "probes/loss_choice.h"

namespace sgdscope {
namespace {

class Flatness : public Probe {
 public:
  Flatness() : Probe(Cadence::EveryEpochs(1)) {}

  void Check(const std::string& path) const override { loss_.Check(path); }

  std::vector<int64_t> OwnBatches() const override { return loss_.OwnBatches(); }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"loss"};
    if (sigma_ > 0) values.insert(values.end(), {"increase", "increase_error"});
    if (relative_sigma_ > 0) {
      values.insert(values.end(), {"relative_increase", "relative_increase_error"});
    }
    if (radius_ > 0) values.emplace_back("sharpness");
    if (adaptive_radius_ > 0) values.emplace_back("adaptive_sharpness");
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const at::Tensor loss = loss_.LossAt(view, view.theta);
    std::vector<at::Tensor> values = {loss};
    if (sigma_ > 0) values.push_back(Increase(view, loss, at::scalar_tensor(sigma_, at::kDouble)));
    if (relative_sigma_ > 0) {
      values.push_back(Increase(view, loss, UnitScales(view).mul(relative_sigma_)));
    }
    if (radius_ > 0)
      values.push_back(WorstIncrease(view, loss, at::scalar_tensor(1, at::kDouble), radius_));
    if (adaptive_radius_ > 0) {
      values.push_back(WorstIncrease(view, loss, view.theta.abs(), adaptive_radius_));
    }
    return at::hstack(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "sigma",
                   .help = "standard deviation of the noise on each number of theta; 0: not",
                   .min = 0},
                  sigma_);
    visitor.Visit({.name = "relative_sigma",
                   .help = "the same over the root mean square of the weights of each unit or "
                           "filter; 0: not",
                   .min = 0},
                  relative_sigma_);
    visitor.Visit({.name = "draws",
                   .help = "random directions for the noise, each at the cost of two forward "
                           "passes",
                   .min = 2,
                   .max = 1e6},
                  draws_);
    visitor.Visit({.name = "radius",
                   .help = "of the ball in which the largest loss is sought; 0: not",
                   .paper = "Foret et al. 2021",
                   .min = 0},
                  radius_);
    visitor.Visit({.name = "adaptive_radius",
                   .help = "of the ball in units of |theta|, number by number; 0: not",
                   .paper = "Kwon et al. 2021",
                   .min = 0},
                  adaptive_radius_);
    visitor.Visit({.name = "ascent_steps",
                   .help = "steps to the largest loss, each at the cost of a gradient; 1 is that "
                           "of sharpness-aware minimization",
                   .min = 1,
                   .max = 1e6},
                  ascent_steps_);
    loss_.Fields(visitor);
  }

  void OwnPrepare(const ProbeContext& context) override {
    seed_ = context.seed;
    loss_.Prepare(context, "flatness.examples");
  }

 private:
  /// For each number of theta, the root mean square of those of its unit [p].
  static at::Tensor UnitScales(const StepView& view) {
    const at::Tensor scales = at::empty_like(view.theta);
    for (const at::Tensor& block : view.oracle.table().Blocks(kUnit)) {
      const at::Tensor places = block.to(view.theta.device());
      scales.index_put_({places}, view.theta.index_select(0, places).square().mean().sqrt());
    }
    return scales;
  }

  /// The mean increase and its standard error [2] under noise with standard deviations `scales`,
  /// one or [p].
  at::Tensor Increase(const StepView& view, const at::Tensor& loss,
                      const at::Tensor& scales) const {
    Stream stream(seed_, "flatness", static_cast<uint64_t>(view.step));
    std::vector<at::Tensor> increases;
    for (int64_t i = 0; i < draws_; ++i) {
      const at::Tensor d = RandomNormals(stream, view.theta).mul(scales);
      const at::Tensor both =
          loss_.LossAt(view, view.theta.add(d)).add(loss_.LossAt(view, view.theta.sub(d)));
      increases.push_back(both.div(2).sub(loss));
    }
    return MeanWithError(at::stack(increases));
  }

  /// The largest increase found where |e / scales| <= radius; scales: one or [p].
  at::Tensor WorstIncrease(const StepView& view, const at::Tensor& loss, const at::Tensor& scales,
                           double radius) const {
    at::Tensor place = view.theta;
    at::Tensor worst;
    for (int64_t step = 0; step < ascent_steps_; ++step) {
      const auto [here, gradient] = loss_.SlopeAt(view, place);
      if (step > 0) worst = worst.defined() ? at::maximum(worst, here) : here;
      const at::Tensor up = gradient.mul(scales);
      const at::Tensor length = Dot(up, up).sqrt();
      const at::Tensor most = length.reciprocal().mul(radius).masked_fill(length.eq(0), 0);
      place = view.theta.add(up.mul(scales).mul(most));
    }
    const at::Tensor last = loss_.LossAt(view, place);
    return (worst.defined() ? at::maximum(worst, last) : last).sub(loss);
  }

  double sigma_ = 0.01;
  double relative_sigma_ = 0.1;
  int64_t draws_ = 5;
  double radius_ = 0.05;
  double adaptive_radius_ = 0.5;
  int64_t ascent_steps_ = 1;
  LossChoice loss_;
  uint64_t seed_ = 0;
};

const Registration<Probe, Flatness> kRegistration(
    "flatness", "how much the loss rises under noise on the weights, and at worst within a ball",
    {.base = R"({"draws": 2})",
     .variants = {R"({"ascent_steps": 3, "sigma": 0, "over": "batch"})"}});

}  // namespace
}  // namespace sgdscope
