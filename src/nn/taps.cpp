#include "nn/taps.h"

#include <algorithm>

namespace sgdscope {

at::Tensor Recorded(const ParameterLayer& layer, const at::Tensor& h, const at::Tensor& z,
                    const Pass& pass) {
  if (pass.taps == nullptr) return z;
  // The first layer's output depends on nothing differentiable; it becomes the leaf.
  if (pass.back == nullptr && !z.requires_grad()) z.requires_grad_(true);
  pass.taps->push_back({&layer, h, z});
  return z;
}

void AddStep(const Pass& pass, WayBack::Step step) {
  if (pass.back == nullptr || pass.back->steps.empty()) return;
  pass.back->steps.push_back(std::move(step));
}

void AddWayBack(const Pass& pass, WayBack::Step step) {
  WayBack& back = *pass.back;
  const bool first = back.steps.empty();
  back.steps.emplace_back(
      [&back, first, tap = pass.taps->size() - 1, step = std::move(step)](const at::Tensor& d) {
        back.output_gradients[tap] = d;
        const at::Tensor by_input = first ? at::Tensor() : step(d);
        if (back.passed) back.passed(tap);
        return by_input;
      });
  back.output_gradients.resize(pass.taps->size());
}

at::Tensor ValueOnLine(const ParameterLayer& layer, const at::Tensor& h, const LinePass& pass,
                       const std::function<at::Tensor(const at::Tensor&)>& forward) {
  if (pass.known == nullptr) return forward(h);
  const auto tap =
      std::ranges::find_if(*pass.known, [&](const Tap& t) { return t.layer == &layer; });
  if (!tap->output.defined()) return forward(h);
  const at::Tensor known = tap->output.detach();
  const int64_t rest = h.size(0) - known.size(0);
  if (rest == 0) return known;
  return at::cat({known, forward(h.narrow(0, known.size(0), rest))});
}

}  // namespace sgdscope
