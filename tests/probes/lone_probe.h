#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/sampler.h"
#include "probes/probe.h"
#include "tests/example_fields.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"

namespace sgdscope {

/// Steps whose batches the test gives; they come again every epoch.
class GivenBatches : public Sampler {
 public:
  explicit GivenBatches(std::vector<at::Tensor> batches) : batches_(std::move(batches)) {}

  void Prepare(uint64_t, int64_t, int64_t, const std::string&) override {}
  at::Tensor At(int64_t step) override {
    return batches_[static_cast<size_t>(step % steps_per_epoch())].clone();
  }
  int64_t steps_per_epoch() const override { return static_cast<int64_t>(batches_.size()); }
  int64_t batch_size() const override { return batches_.front().size(0); }
  double EpochAt(int64_t step) const override {
    return static_cast<double>(step) / static_cast<double>(steps_per_epoch());
  }

 private:
  std::vector<at::Tensor> batches_;
};

/// A probe on batches that the test chooses. What the estimator and the update rule make of the
/// step's gradients is 0; the test set is the training set.
class LoneProbe {
 public:
  /// Keeps a reference.
  LoneProbe(const std::string& name, const Json& fields, const OracleUnderTest& it,
            uint64_t seed = 1, std::unique_ptr<Sampler> sampler = MakeExample<Sampler>("full"))
      : it_(it),
        sampler_(std::move(sampler)),
        probe_(MakeExample<Probe>(name, fields)),
        nothing_(at::zeros_like(it.theta)) {
    sampler_->Prepare(seed, it.oracle.size(), 0, "sampler");
    probe_->Prepare({.path = "probes[0]",
                     .run_folder = "unused",
                     .seed = seed,
                     .steps = 1000,
                     .examples = it.oracle.size(),
                     .test_size = it.oracle.size(),
                     .sampler = *sampler_,
                     .network = it.network(),
                     .label_noise = true});
    probe_->Allocate(it.theta);
  }

  /// The values at `step` on the examples `indices` of the training set.
  std::map<std::string, double> Measure(int64_t step, const at::Tensor& indices) {
    at::NoGradGuard no_grad;
    const Batch batch = it_.oracle.Load(indices);
    const Gradients gradients = it_.oracle.Evaluate(batch, it_.theta);
    const Update update{nothing_, 1};
    const auto mean = [&](const Batch& on, int64_t) {
      return it_.oracle.Evaluate(on, it_.theta).Mean();
    };
    return ByName(*probe_, probe_->Measure({.step = step,
                                            .batch = batch,
                                            .gradients = gradients,
                                            .theta = it_.theta,
                                            .g = nothing_,
                                            .update = update,
                                            .oracle = it_.oracle,
                                            .test = it_.oracle,
                                            .sampler = *sampler_,
                                            .estimate = mean,
                                            .extras = {}}));
  }
  /// The same on the sampler's batch.
  std::map<std::string, double> Measure(int64_t step) { return Measure(step, sampler_->At(step)); }

 private:
  const OracleUnderTest& it_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Probe> probe_;
  at::Tensor nothing_;
};

}  // namespace sgdscope
