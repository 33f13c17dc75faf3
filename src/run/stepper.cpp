#include "run/stepper.h"

#include <algorithm>

#include "nn/add_multiple.h"

namespace sgdscope {

Stepper::Stepper(Experiment& experiment, Times* times) : experiment_(experiment), times_(times) {
  const RunConfig& config = experiment.config();
  theta_ =
      InitialTheta(experiment.network(), static_cast<uint64_t>(config.seed), config.scalar_type())
          .to(experiment.device());
  running_ = InitialStatistics(experiment.network(), config.scalar_type()).to(experiment.device());
  config.update->Prepare(experiment.network().table);
  config.update->Allocate(theta_);
  for (const auto& probe : config.probes.choices()) (*probe)->Allocate(theta_);
}

Stepper::Measured Stepper::Step(int64_t step) {
  const RunConfig& config = experiment_.config();
  const Oracle& oracle = experiment_.train();
  at::NoGradGuard no_grad;
  Times::Charge charge(times_, Times::kBatches);
  const Batch batch = oracle.Load(experiment_.sampler().ExamplesAt(step));
  charge.To(Times::kSteps);
  if (OnlyScales(step)) return ScaledStep(step, batch);
  const auto estimated = [&](int64_t draw, const Batch& on, const at::Tensor& theta) {
    return config.gradient->EvaluateAndEstimate(draw, on, theta, oracle);
  };
  const auto [gradients, g, extras] = estimated(step, batch, theta_);
  const auto gradient_at = [&](const at::Tensor& theta) { return estimated(step, batch, theta).g; };
  const Update update =
      config.update->Next({step, batch, gradients, oracle, g, theta_, gradient_at});

  Measured measured{MeanLoss(gradients.losses), {}};
  const StepView view{
      .step = step,
      .batch = batch,
      .gradients = gradients,
      .theta = theta_,
      .g = g,
      .update = update,
      .oracle = oracle,
      .test = experiment_.test(),
      .sampler = experiment_.sampler(),
      .estimate = [&](const Batch& on, int64_t draw) { return estimated(draw, on, theta_).g; },
      .extras = extras};
  const auto& probes = config.probes.choices();
  measured.probes.resize(probes.size());
  for (size_t i = 0; i < probes.size(); ++i) {
    if (!(*probes[i])->MeasuresAt(step)) continue;
    charge.To(Times::OfProbe(i));
    measured.probes[i] = (*probes[i])->Measure(view);
  }
  charge.To(Times::kSteps);
  oracle.MoveStatistics(gradients, running_);
  AddMultiple(update.direction, update.scale, theta_);
  return measured;
}

bool Stepper::OnlyScales(int64_t step) const {
  const RunConfig& config = experiment_.config();
  return config.gradient->TakesMean() && config.update->OnlyScales() &&
         std::ranges::none_of(config.probes.choices(),
                              [&](const auto& probe) { return (*probe)->MeasuresAt(step); });
}

Stepper::Measured Stepper::ScaledStep(int64_t step, const Batch& batch) {
  const Oracle& oracle = experiment_.train();
  const RunConfig& config = experiment_.config();
  const Gradients gradients =
      oracle.EvaluateAndMove(batch, theta_, -config.update->LearningRate(step));
  oracle.MoveStatistics(gradients, running_);
  Measured measured{MeanLoss(gradients.losses), {}};
  measured.probes.resize(config.probes.choices().size());
  return measured;
}

std::map<std::string, at::Tensor> Stepper::State() const {
  std::map<std::string, at::Tensor> state = {{"theta", theta_}};
  if (experiment_.network().MixesExamples()) state["running"] = running_;
  const UpdateRule& update = *experiment_.config().update;
  for (const auto& [name, tensor] : update.State()) state["update." + name] = tensor;
  for (const auto& [name, tensor] : update.learning_rate().State()) {
    state["learning_rate." + name] = tensor;
  }
  for (const auto& probe : experiment_.config().probes.choices()) {
    for (const auto& [name, tensor] : (*probe)->State()) {
      state["probe." + (*probe)->label() + "." + name] = tensor;
    }
  }
  return state;
}

}  // namespace sgdscope
