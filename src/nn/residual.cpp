// A branch beside a shortcut, added up. Along a line the sum's parts are the sums of the parts, and
// the derivative by the input is the sum of both ways'.

#include "nn/residual.h"

#include <sstream>
#include <utility>

#include "nn/taps.h"

namespace sgdscope {
namespace {

/// a + b, where an undefined one is zero.
at::Tensor Sum(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined()) return b;
  return b.defined() ? a.add(b) : a;
}

using Steps = std::vector<WayBack::Step>;

class Residual : public Layer {
 public:
  Residual(std::unique_ptr<Layer> branch, std::unique_ptr<Layer> shortcut)
      : branch_(std::move(branch)), shortcut_(std::move(shortcut)) {}

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    if (!at::GradMode::is_enabled()) return ForwardTo({}, h, pass);
    // A node of its own, at which autograd adds up both ways before anything else comes to h.
    const at::Tensor input = h.requires_grad() ? at::alias(h) : h;
    const at::Tensor skipped = Skipped(input, pass);
    return skipped.add(branch_->Forward(input, pass));
  }

  at::Tensor ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const override {
    if (end.add.defined()) return Layer::ForwardTo(end, h, pass);
    WayBack none;
    Steps& steps = pass.back == nullptr ? none.steps : pass.back->steps;
    const Steps start = StartOf(steps);
    Steps before = std::exchange(steps, start);
    const at::Tensor skipped = Skipped(h, pass);
    Steps of_shortcut = std::exchange(steps, start);
    const at::Tensor out = branch_->ForwardTo({skipped, end.positive}, h, pass);
    Steps of_branch = std::exchange(steps, std::move(before));
    if (of_branch.empty() && of_shortcut.empty()) return out;
    steps.emplace_back([kept = end.positive ? out : at::Tensor(),
                        of_shortcut = std::move(of_shortcut),
                        of_branch = std::move(of_branch)](const at::Tensor& d) mutable {
      const at::Tensor by_sum = kept.defined() ? at::threshold_backward(d, kept, 0) : d;
      const at::Tensor by_branch = WayBack::Go(of_branch, by_sum);
      return Sum(by_branch, WayBack::Go(of_shortcut, by_sum));
    });
    return out;
  }

  bool KnowsWayBack() const override {
    return branch_->KnowsWayBack() && (!shortcut_ || shortcut_->KnowsWayBack());
  }

  Line ForwardLine(const Line& h, const LinePass& pass) const override {
    const Line skipped = shortcut_ ? shortcut_->ForwardLine(h, pass) : h;
    const Line branch = branch_->ForwardLine(h, pass);
    Line z{skipped.value.add(branch.value),
           Sum(skipped.slope, branch.slope),
           Sum(skipped.curvature, branch.curvature),
           {}};
    if (skipped.moved.defined() || branch.moved.defined())
      z.moved = MovedOf(skipped).add(MovedOf(branch));
    return z;
  }

  std::vector<const Layer*> Inside() const override {
    if (!shortcut_) return {branch_.get()};
    return {shortcut_.get(), branch_.get()};
  }

  std::string Describe() const override {
    std::string text = "residual" + Indented("branch", *branch_);
    return shortcut_ ? text + Indented("shortcut", *shortcut_) : text;
  }

 private:
  /// What the ways back through branch and shortcut begin with, where `steps` are those in front of
  /// them: a step that changes nothing where the derivative by their input is asked for.
  static Steps StartOf(const Steps& steps) {
    if (steps.empty()) return {};
    return {[](const at::Tensor& d) { return d; }};
  }

  at::Tensor Skipped(const at::Tensor& h, const Pass& pass) const {
    return shortcut_ ? shortcut_->Forward(h, pass) : h;
  }

  static at::Tensor MovedOf(const Line& line) {
    return line.moved.defined() ? line.moved : line.value;
  }

  static std::string Indented(const std::string& title, const Layer& layer) {
    std::string text = "\n  " + title;
    std::istringstream lines(layer.Describe());
    for (std::string line; std::getline(lines, line);) text += "\n    " + line;
    return text;
  }

  std::unique_ptr<Layer> branch_;
  std::unique_ptr<Layer> shortcut_;  // null: h itself
};

}  // namespace

std::unique_ptr<Layer> MakeResidual(std::unique_ptr<Layer> branch,
                                    std::unique_ptr<Layer> shortcut) {
  return std::make_unique<Residual>(std::move(branch), std::move(shortcut));
}

}  // namespace sgdscope
