#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "data/sampler.h"
#include "probes/probe.h"
#include "tests/example_fields.h"
#include "tests/experiment_helper.h"
#include "tests/random_mlp.h"

namespace sgdscope {

/// A probe on batches that the test chooses. What the estimator and the update rule make of the
/// gradients is 0.
class LoneProbe {
 public:
  /// Keeps a reference.
  LoneProbe(const std::string& name, const Json& fields, const OracleUnderTest& it,
            uint64_t seed = 1)
      : it_(it),
        sampler_(MakeExample<Sampler>("full")),
        probe_(MakeExample<Probe>(name, fields)),
        nothing_(at::zeros_like(it.theta)) {
    sampler_->Prepare(seed, it.oracle.size(), 0, "sampler");
    probe_->Prepare({"probes[0]", "unused", seed, 1000, *sampler_, true});
    probe_->Allocate(it.theta);
  }

  /// The values at `step` on the examples `indices` of the training set.
  std::map<std::string, double> Measure(int64_t step, const at::Tensor& indices) {
    at::NoGradGuard no_grad;
    const Batch batch = it_.oracle.Load(indices);
    const Gradients gradients = it_.oracle.Evaluate(batch, it_.theta);
    const Update update{nothing_, 1};
    return ByName(*probe_, probe_->Measure({step, batch, gradients, it_.theta, nothing_, update,
                                            it_.oracle, *sampler_}));
  }

 private:
  const OracleUnderTest& it_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Probe> probe_;
  at::Tensor nothing_;
};

}  // namespace sgdscope
