#include "gradients/gauss_newton.h"

#include <torch/csrc/autograd/autograd.h>

namespace sgdscope {

GaussNewton::GaussNewton(const Oracle& oracle, const Batch& batch, const at::Tensor& theta)
    : oracle_(oracle), inputs_(batch.inputs), theta_(theta) {
  at::AutoGradMode enable(true);
  z_ = oracle.network().root->Forward(inputs_, {theta, &taps_});
  logits_ = z_.detach().requires_grad_();
  const at::Tensor loss = oracle.loss().Losses(logits_, batch.labels).mean();
  d_ = torch::autograd::grad({loss}, {logits_}, {}, true, /*create_graph=*/true)[0];
}

at::Tensor GaussNewton::Product(const at::Tensor& v) const {
  at::NoGradGuard no_grad;
  const at::Tensor slope =
      oracle_.network()
          .root->ForwardLine({inputs_, {}, {}, {}}, {theta_, v, 1, /*curvature=*/false, &taps_})
          .slope;  // J v, [n, classes]
  const at::Tensor bent = torch::autograd::grad({d_}, {logits_}, {slope}, true)[0];
  torch::autograd::variable_list places;
  for (const Tap& tap : taps_) places.push_back(tap.output);
  const auto by_output = torch::autograd::grad({z_}, places, {bent}, true);
  const at::Tensor product = at::empty_like(theta_);
  for (size_t l = 0; l < taps_.size(); ++l) {
    taps_[l].layer->WriteGradient(taps_[l], by_output[l], product);
  }
  return product;
}

}  // namespace sgdscope
