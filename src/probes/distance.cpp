// How far training has gone, in weights and in loss.
//   start           |theta - theta_0|, theta_0 the weights at step 0
//   start_relative  the same over |theta_0|
//   step_cosine     of the angle between theta - theta_0 and this step's delta
//   other           |theta - theta'|, theta' the weights in the file that `to` names
// And with `barrier_points` k the mean loss L at theta_s = (1 - s) theta + s theta', at s = j / (k +
// 1) for j = 0 ... k + 1, where theta' is theta_0 unless `to` names another:
//   loss, end_loss  at s = 0 and s = 1
//   barrier         the largest L(theta_s) - [(1 - s) L(theta) + s L(theta')] of the k points
//                   between: negative where the loss lies below the chord throughout; Entezari et
//                   al., The role of permutation invariance in linear mode connectivity of neural
//                   networks (2022), definition 2.1
//   barrier_at      the s of that point
// Under batch normalization each piece of examples is normalized by its own statistics, at every
// point anew: those of the ends would say nothing of the weights between.

#include "config/registry.h"
#include "models/weights.h"
#include "nn/reduce.h"
#include "probes/loss_choice.h"

namespace sgdscope {
namespace {

/// |v| of v [p], a scalar in double.
at::Tensor Norm(const at::Tensor& v) { return Dot(v, v).sqrt(); }

class Distance : public Probe {
 public:
  Distance() : Probe(Cadence::EveryEpochs(1)) {}

  void Check(const std::string& path) const override {
    if (points_ > 0) return loss_.Check(path);
    loss_.CheckUnused(path, "barrier_points is 0, so that no loss is taken",
                      "set " + path + ".barrier_points to 1 or more");
  }

  void CheckNetwork(const Network& network, const std::string& path) const override {
    if (!to_.empty()) ReadWeights(to_, network, path + ".to");
  }

  std::vector<std::filesystem::path> InputFiles() const override {
    if (to_.empty()) return {};
    return {to_};
  }

  std::vector<int64_t> OwnBatches() const override {
    return points_ > 0 ? loss_.OwnBatches() : std::vector<int64_t>();
  }

  void Allocate(const at::Tensor& theta) override {
    start_ = theta.clone();
    if (!to_.empty()) other_ = ReadWeights(to_, *network_, to_path_).theta.to(theta.options());
  }

  std::map<std::string, at::Tensor> State() const override { return {{"start", start_}}; }

  std::vector<std::string> Values() const override {
    std::vector<std::string> values = {"start", "start_relative", "step_cosine"};
    if (!to_.empty()) values.emplace_back("other");
    if (points_ > 0) values.insert(values.end(), {"loss", "end_loss", "barrier", "barrier_at"});
    return values;
  }

  at::Tensor Measure(const StepView& view) override {
    const at::Tensor gone = view.theta.sub(start_);
    const at::Tensor delta = view.update.Delta();
    const at::Tensor length = Norm(gone);
    std::vector<at::Tensor> values = {length, Ratio(length, Norm(start_)),
                                      Ratio(Dot(gone, delta), length.mul(Norm(delta)))};
    if (other_.defined()) values.push_back(Norm(view.theta.sub(other_)));
    if (points_ > 0) values.push_back(Barrier(view));
    return at::hstack(values);
  }

 protected:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit(
        {.name = "to",
         .help = "the other end: a file of the same network's weights, as init.from takes "
                 "it; empty: none"},
        to_);
    visitor.Visit({.name = "barrier_points",
                   .help = "also the mean loss at so many points between theta and that of `to`, "
                           "or of step 0 without it, and at both ends; 0: not",
                   .min = 0,
                   .max = 1e6},
                  points_);
    loss_.Fields(visitor);
  }

  void OwnPrepare(const ProbeContext& context) override {
    to_path_ = context.path + ".to";
    network_ = &context.network;
    loss_.Prepare(context, "distance.examples");
  }

 private:
  /// loss, end_loss, barrier and barrier_at [4].
  at::Tensor Barrier(const StepView& view) const {
    const at::Tensor& end = other_.defined() ? other_ : start_;
    const at::Tensor places =  // [points + 2]
        at::arange(points_ + 2, start_.options().dtype(at::kDouble))
            .div(static_cast<double>(points_ + 1));
    std::vector<at::Tensor> losses;
    for (int64_t j = 0; j < points_ + 2; ++j) {
      const double s = static_cast<double>(j) / static_cast<double>(points_ + 1);
      losses.push_back(loss_.LossAt(view, view.theta.mul(1 - s).add(end, s)));
    }
    const at::Tensor chord = at::rsub(places, 1).mul(losses.front()).add(places.mul(losses.back()));
    const auto [barrier, at] = at::stack(losses).sub(chord).narrow(0, 1, points_).max(0);
    return at::stack({losses.front(), losses.back(), barrier,
                      at.add(1).to(at::kDouble).div(static_cast<double>(points_ + 1))});
  }

  std::string to_;
  std::string to_path_;
  const Network* network_ = nullptr;
  int64_t points_ = 0;
  LossChoice loss_;
  at::Tensor start_;  // [p]
  at::Tensor other_;  // [p], undefined without `to`
};

const Registration<Probe, Distance> kRegistration(
    "distance",
    "how far theta is from its start or another run's, and the loss along the line between them",
    {.variants = {R"({"barrier_points": 2, "examples": 9, "piece_size": 5})"}});

}  // namespace
}  // namespace sgdscope
