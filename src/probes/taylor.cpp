// First- and higher-order parts of a step's change in loss, on the updating batch (u), a recent (r)
// and a long-ago batch (a): equations 10 and 11 of `inherent_noise`. For a batch X and the step
// delta:
//   dot           -<grad L_X, delta>: eta <grad L_X, grad L_u> under plain SGD
//   delta_loss    L_X(theta) - L_X(theta + delta)
//   penalty       delta_loss - dot: the paper's -L^h
//   second_order  1/2 <delta, H_X delta>, exact (if `hessian`)
//   remainder     penalty + second_order: third order and beyond
// and cum_*: their running sums from step 0. All come from forward sweeps along the line
// theta + s delta (Oracle::AlongLine), one over the earlier batches together and one over the
// updating batch, which other probes may share: no gradient of X is formed. Of the updating batch
// the gradient is known, so that without `hessian` its losses at theta + delta will do.

#include "config/registry.h"
#include "nn/reduce.h"
#include "probes/probe.h"

namespace sgdscope {
namespace {

class Taylor : public Probe {
 public:
  std::vector<std::string> Values() const override {
    std::vector<std::string> values;
    for (const std::string& batch : batches_.names) {
      for (const std::string& term : Terms()) values.push_back(batch + "." + term);
      if (!cumulative_.Kept()) continue;
      for (const std::string& term : Terms()) values.push_back(batch + ".cum_" + term);
    }
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    std::vector<int64_t> present;  // places in batches_ whose batch exists at this step
    std::vector<Examples> batches;
    for (int64_t i = 0; i < batches_.size(); ++i) {
      const std::optional<Examples> examples = batches_.ExamplesAt(view, i);
      if (!examples) continue;
      present.push_back(i);
      batches.push_back(*examples);
    }
    const at::Tensor row = EmptyRow(view.theta);
    if (present.empty()) return row.flatten();
    const at::Tensor terms = TermsOf(view, batches);  // [present, terms]
    for (size_t i = 0; i < present.size(); ++i) {
      WriteTerms(terms[static_cast<int64_t>(i)], present[i], row);
    }
    return row.flatten();
  }

  void Allocate(const at::Tensor& theta) override {
    sums_ = at::zeros({batches_.size(), TermCount()}, theta.options().dtype(at::kDouble));
  }

  std::map<std::string, at::Tensor> State() const override {
    if (!cumulative_.Kept()) return {};
    return {{"sums", sums_}};
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    batches_.Fields(visitor);
    visitor.Visit({.name = "hessian",
                   .help = "also split the penalty into its exact second-order part and the rest"},
                  hessian_);
    cumulative_.Fields(visitor, "running sums", "inherent_noise figure 3");
  }

  void OwnPrepare(const ProbeContext& context) override { batches_.Check(context); }

  bool EveryStep() const override { return cumulative_.EveryStep(); }

 private:
  std::vector<std::string> Terms() const {
    std::vector<std::string> terms = {"dot", "delta_loss", "penalty"};
    if (hessian_) terms.insert(terms.end(), {"second_order", "remainder"});
    return terms;
  }
  int64_t TermCount() const { return hessian_ ? 5 : 3; }

  at::Tensor EmptyRow(const at::Tensor& theta) const {
    const int64_t groups = cumulative_.Kept() ? 2 : 1;
    return at::full({batches_.size(), groups, TermCount()}, kNotMeasured,
                    theta.options().dtype(at::kDouble));
  }

  /// Means over each batch of the terms: [batches, terms].
  at::Tensor TermsOf(const StepView& view, const std::vector<Examples>& batches) const {
    if (!batches.front().indices.is_same(view.batch.indices)) return AlongLine(view, batches);
    const at::Tensor updating = OfUpdating(view).unsqueeze(0);
    if (batches.size() == 1) return updating;
    return at::cat({updating, AlongLine(view, {batches.begin() + 1, batches.end()})});
  }

  /// The terms [terms] of the updating batch, whose gradient is known, and with it the slope.
  at::Tensor OfUpdating(const StepView& view) const {
    if (hessian_) return Columns(view.AlongStep()).mean(1);
    const Update& update = view.update;
    const at::Tensor change = view.oracle.MeanChange(
        view.batch, view.gradients, view.theta.add(update.direction, update.scale));
    const at::Tensor dot = Dot(view.gradients.Mean(), update.direction).mul(-update.scale);
    return at::stack(Terms(dot, change.neg()));
  }

  /// The values from a sweep along the line.
  at::Tensor AlongLine(const StepView& view, const std::vector<Examples>& batches) const {
    Batch all = view.oracle.Load(Joined(batches));
    for (const Examples& batch : batches) all.parts.push_back(batch.indices.size(0));
    const at::Tensor columns = Columns(
        view.oracle.AlongLine(all, view.theta, view.update.direction, view.update.scale, hessian_));
    std::vector<at::Tensor> means;
    int64_t begin = 0;
    for (const int64_t size : all.parts) {
      means.push_back(columns.narrow(1, begin, size).mean(1));
      begin += size;
    }
    return at::stack(means);
  }

  /// dot, delta_loss and penalty.
  static std::vector<at::Tensor> Terms(const at::Tensor& dot, const at::Tensor& delta_loss) {
    return {dot, delta_loss, delta_loss.sub(dot)};
  }

  /// The terms of losses [n]: [terms, n].
  at::Tensor Columns(const LineLosses& losses) const {
    std::vector<at::Tensor> terms = Terms(losses.slope.neg(), losses.value.sub(losses.moved));
    if (hessian_) {
      const at::Tensor second_order = losses.curvature.mul(0.5);
      terms.push_back(second_order);
      terms.push_back(terms[2].add(second_order));
    }
    return at::stack(terms);
  }

  void WriteTerms(const at::Tensor& terms, int64_t place, const at::Tensor& row) {
    row[place][0].copy_(terms);
    if (!cumulative_.Kept()) return;
    at::Tensor sum = sums_[place];
    sum.add_(terms);
    row[place][1].copy_(sum);
  }

  BatchChoice batches_;
  bool hessian_ = false;
  Cumulative cumulative_;
  at::Tensor sums_;  // [batches, terms]
};

const Registration<Probe, Taylor> kRegistration(
    "taylor",
    "first-order and higher-order change in loss of the updating, a recent and a long-ago batch",
    {.base = R"({"recent_lag": 2, "long_ago_lag": 9})",
     .variants = {R"({"hessian": true, "cumulative": "logged"})",
                  R"({"batches": ["long_ago"], "cumulative": "none"})"}});

}  // namespace
}  // namespace sgdscope
