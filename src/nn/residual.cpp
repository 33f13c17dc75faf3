// A branch beside a shortcut, added up. Along a line the sum's parts are the sums of the parts.

#include "nn/residual.h"

#include <sstream>

namespace sgdscope {
namespace {

/// a + b, where an undefined one is zero.
at::Tensor Sum(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined()) return b;
  return b.defined() ? a.add(b) : a;
}

class Residual : public Layer {
 public:
  Residual(std::unique_ptr<Layer> branch, std::unique_ptr<Layer> shortcut)
      : branch_(std::move(branch)), shortcut_(std::move(shortcut)) {}

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    const at::Tensor skipped = shortcut_ ? shortcut_->Forward(h, pass) : h;
    return skipped.add(branch_->Forward(h, pass));
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
