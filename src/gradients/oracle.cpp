#include "gradients/oracle.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "core/error.h"
#include "nn/add_multiple.h"
#include "nn/reduce.h"

namespace sgdscope {

Batch Part(const Batch& batch, int64_t begin, int64_t size) {
  return {batch.indices.narrow(0, begin, size), batch.inputs.narrow(0, begin, size),
          batch.labels.narrow(0, begin, size),
          batch.moves.defined() ? batch.moves.narrow(0, begin, size) : batch.moves};
}

Batch Joined(const Batch& first, const Batch& second) {
  const auto [indices, moves] = Joined({first.examples(), second.examples()});
  return {indices,
          at::cat({first.inputs, second.inputs}),
          at::cat({first.labels, second.labels}),
          moves,
          {first.size(), second.size()}};
}

Oracle::Oracle(const Network& network, const Loss& loss, const Split& split,
               const Normalizer& normalizer, int64_t piece_size)
    : network_(network),
      loss_(loss),
      split_(split),
      normalizer_(normalizer),
      piece_size_(piece_size) {}

Batch Oracle::Load(const Examples& examples) const {
  const auto& [indices, moves] = examples;
  const at::Tensor on_device = indices.to(split_.labels.device(), /*non_blocking=*/true);
  const at::Tensor inputs =
      moves.defined()
          ? normalizer_.Normalize(MoveImages(split_.inputs.index_select(0, on_device), moves))
          : normalizer_.Gather(split_, indices);
  return {indices, inputs, split_.labels.index_select(0, on_device), moves};
}

namespace {

std::vector<int64_t> PartsOf(const Batch& batch) {
  return batch.parts.empty() ? std::vector<int64_t>{batch.size()} : batch.parts;
}

/// d(mean loss)/dL_i [n]: 1 over the examples of the batch, or of its part.
at::Tensor MeanWeights(const Batch& batch, const at::TensorOptions& options) {
  const at::Tensor weights = at::empty({batch.size()}, options);
  int64_t begin = 0;
  for (const int64_t size : PartsOf(batch)) {
    weights.narrow(0, begin, size).fill_(1.0 / static_cast<double>(size));
    begin += size;
  }
  return weights;
}

at::Tensor PartOf(const at::Tensor& weights, int64_t begin, const Batch& piece) {
  return weights.narrow(0, begin, piece.size());
}

/// Whether the layers with parameters are fully connected ones.
bool HasOnlyDenseParameters(const Layer& root) {
  bool only = true;
  ForEachLayer(root, [&](const Layer& layer) {
    const bool has = dynamic_cast<const ParameterLayer*>(&layer) != nullptr;
    only = only && (!has || dynamic_cast<const DenseLayer*>(&layer) != nullptr);
  });
  return only;
}

/// What MoveStatistics needs of a tap: the shape of the input and the moments, but no activations.
Tap WithoutActivations(const Tap& tap) {
  return {tap.layer, tap.input.new_empty({1}).expand(tap.input.sizes()), {}, tap.moments};
}

/// Sums of [p] over pieces, in double: so many pieces as there may be, none is lost beside the rest.
class SumOverPieces {
 public:
  void Add(const at::Tensor& part) {
    at::NoGradGuard no_grad;
    if (!sum_.defined()) sum_ = at::zeros_like(part, part.options().dtype(at::kDouble));
    sum_.add_(part);
  }
  at::Tensor Rounded(const at::TensorOptions& options) const { return sum_.to(options.dtype()); }

 private:
  at::Tensor sum_;
};

/// The losses of all pieces.
LineLosses Joined(const std::vector<LineLosses>& pieces) {
  const auto all = [&](at::Tensor LineLosses::* field) {
    std::vector<at::Tensor> values;
    for (const LineLosses& piece : pieces) values.push_back(piece.*field);
    return values.front().defined() ? at::cat(values) : at::Tensor();
  };
  return {all(&LineLosses::value), all(&LineLosses::slope), all(&LineLosses::curvature),
          all(&LineLosses::moved)};
}

}  // namespace

void Oracle::ForEachPiece(
    const Batch& batch, const std::function<void(int64_t begin, const Batch& piece)>& visit) const {
  if (!InPieces(batch)) return visit(0, batch);
  int64_t begin = 0;
  for (const int64_t part : PartsOf(batch)) {
    for (const int64_t end = begin + part; begin < end;) {
      const int64_t size = std::min(piece_size_, end - begin);
      visit(begin, Part(batch, begin, size));
      begin += size;
    }
  }
}

Gradients Oracle::Evaluate(const Batch& batch, const at::Tensor& theta, bool keep_graph) const {
  if (InPieces(batch)) return EvaluateInPieces(batch, theta);
  return EvaluatePiece(batch, theta, MeanWeights(batch, theta.options()), keep_graph);
}

Gradients Oracle::EvaluateInPieces(const Batch& batch, const at::Tensor& theta) const {
  Gradients all;
  std::vector<at::Tensor> losses, logits;
  SumOverPieces mean;
  all.in_pieces_ = {this, batch, theta};
  all.parameters = theta.size(0);
  const at::Tensor weights = MeanWeights(batch, theta.options());
  ForEachPiece(batch, [&](int64_t begin, const Batch& piece) {
    const Gradients of_piece =
        EvaluatePiece(piece, theta, PartOf(weights, begin, piece), /*keep_graph=*/false);
    losses.push_back(of_piece.losses);
    logits.push_back(of_piece.logits);
    mean.Add(of_piece.Mean());
    for (const Tap& tap : of_piece.taps) {
      if (tap.moments.defined()) all.normalized_.push_back(WithoutActivations(tap));
    }
  });
  all.losses = at::cat(losses);
  all.logits = at::cat(logits);
  all.mean_ = mean.Rounded(theta.options());
  return all;
}

Gradients Oracle::EvaluatePiece(const Batch& piece, const at::Tensor& theta,
                                const at::Tensor& weights, bool keep_graph) const {
  if (network_.root->KnowsWayBack() && !keep_graph) return EvaluateByLayers(piece, theta, weights);
  std::vector<Tap> taps;
  at::Tensor losses;
  at::AutoGradMode enable(true);
  const at::Tensor z = network_.root->Forward(piece.inputs, {theta, &taps});
  losses = loss_.Losses(z, piece.labels);
  torch::autograd::variable_list places;
  for (const Tap& tap : taps) places.push_back(tap.output);
  if (keep_graph) {
    for (const Tap& tap : taps) {
      if (tap.input.requires_grad()) places.push_back(tap.input);
    }
  }
  auto by_place = torch::autograd::grad({losses}, places, {weights}, keep_graph, keep_graph);

  Gradients gradients;
  gradients.losses = losses.detach();
  gradients.logits = z.detach();
  gradients.output_gradients.assign(by_place.begin(), by_place.begin() + taps.size());
  auto next = by_place.begin() + taps.size();
  for (const Tap& tap : taps) {
    if (!keep_graph) break;
    gradients.input_gradients.push_back(tap.input.requires_grad() ? *next++ : at::Tensor());
  }
  gradients.taps = std::move(taps);
  gradients.parameters = theta.size(0);
  return gradients;
}

Gradients Oracle::EvaluateAndMove(const Batch& batch, const at::Tensor& theta, double scale) const {
  const bool by_layers = network_.root->KnowsWayBack() && theta.is_cpu() && !InPieces(batch);
  if (by_layers && HasOnlyDenseParameters(*network_.root)) {
    return EvaluateByLayers(batch, theta, MeanWeights(batch, theta.options()), &scale);
  }
  Gradients gradients = Evaluate(batch, theta);
  AddMultiple(gradients.Mean(), scale, theta);
  return gradients;
}

Gradients Oracle::EvaluateByLayers(const Batch& piece, const at::Tensor& theta,
                                   const at::Tensor& weights, const double* scale) const {
  at::NoGradGuard no_grad;
  Gradients gradients;
  WayBack back;
  if (scale != nullptr) {
    back.passed = [&](size_t tap) {
      const Tap& of = gradients.taps[tap];
      static_cast<const DenseLayer*>(of.layer)->AddGradient(of, back.output_gradients[tap], *scale,
                                                            theta);
    };
  }
  gradients.logits =
      network_.root->Forward(piece.inputs, {theta, &gradients.taps, {}, &back}).detach();
  auto [losses, d] = loss_.WithGradient(gradients.logits, piece.labels, weights);
  gradients.losses = losses;
  WayBack::Go(back.steps, d);
  gradients.output_gradients = std::move(back.output_gradients);
  gradients.parameters = theta.size(0);
  return gradients;
}

void Oracle::MoveStatistics(const Gradients& evaluated, const at::Tensor& running) const {
  at::NoGradGuard no_grad;
  for (const Tap& tap : evaluated.in_pieces_ ? evaluated.normalized_ : evaluated.taps) {
    tap.layer->MoveStatistics(tap, network_.statistics_momentum, running);
  }
}

void Gradients::ForEachPiece(
    const std::function<void(int64_t begin, const Gradients& piece)>& visit,
    bool keep_graph) const {
  if (!in_pieces_) return visit(0, *this);
  const auto& [oracle, batch, theta] = *in_pieces_;
  const at::Tensor weights = MeanWeights(batch, theta.options());
  oracle->ForEachPiece(batch, [&](int64_t begin, const Batch& piece) {
    visit(begin, oracle->EvaluatePiece(piece, theta, PartOf(weights, begin, piece), keep_graph));
  });
}

const at::Tensor& Gradients::Mean() const {
  if (mean_.defined()) return mean_;
  at::NoGradGuard no_grad;
  if (in_pieces_) {
    SumOverPieces sum;
    ForEachPiece([&](int64_t, const Gradients& piece) { sum.Add(piece.Mean()); });
    return mean_ = sum.Rounded(losses.options());
  }
  mean_ = at::empty({parameters}, losses.options());
  for (size_t i = 0; i < taps.size(); ++i) {
    taps[i].layer->WriteGradient(taps[i], output_gradients[i], mean_);
  }
  return mean_;
}

at::Tensor Gradients::Weighted(const at::Tensor& weights) const {
  at::NoGradGuard no_grad;
  if (in_pieces_) {
    SumOverPieces sum;
    ForEachPiece([&](int64_t begin, const Gradients& piece) {
      sum.Add(piece.Weighted(weights.narrow(0, begin, piece.losses.size(0))));
    });
    return sum.Rounded(losses.options());
  }
  const at::Tensor sum = at::empty({parameters}, losses.options());
  for (size_t i = 0; i < taps.size(); ++i) {
    Tap tap = taps[i];
    tap.sums.reset();  // of the unweighted
    tap.layer->WriteGradient(tap, WeightedRows(output_gradients[i], weights), sum);
  }
  return sum;
}

Gradients Gradients::OfPart(int64_t begin, int64_t size) const {
  if (in_pieces_) {
    throw Error(ErrorKind::kInternal, "Gradients::OfPart", "the batch was evaluated in pieces");
  }
  at::NoGradGuard no_grad;
  Gradients part;
  part.losses = losses.narrow(0, begin, size);
  part.logits = logits.narrow(0, begin, size);
  for (size_t i = 0; i < taps.size(); ++i) {
    const at::Tensor& output = taps[i].output;
    part.taps.push_back({taps[i].layer, taps[i].input.detach().narrow(0, begin, size),
                         output.defined() ? output.detach().narrow(0, begin, size) : output});
    part.output_gradients.push_back(output_gradients[i].narrow(0, begin, size));
  }
  part.parameters = parameters;
  return part;
}

at::Tensor Oracle::Logits(const Batch& batch, const at::Tensor& theta,
                          const at::Tensor& running) const {
  at::NoGradGuard no_grad;
  if (!InPieces(batch)) return network_.root->Forward(batch.inputs, {theta, nullptr, running});
  std::vector<at::Tensor> logits;
  ForEachPiece(
      batch, [&](int64_t, const Batch& piece) { logits.push_back(Logits(piece, theta, running)); });
  return at::cat(logits);
}

at::Tensor Oracle::LossesOf(const at::Tensor& logits, const Batch& batch) const {
  at::NoGradGuard no_grad;
  return loss_.Losses(logits, batch.labels);
}

at::Tensor Oracle::Losses(const Batch& batch, const at::Tensor& theta) const {
  return LossesOf(Logits(batch, theta), batch);
}

// With d_l = dL/dz_l and e_l = dL/dh_l, by the output and the input of each tap, the gradient's
// product with v is  S = <g, v> = sum_l <d_l, u_l>,  where u_l is the output's slope along v with
// the input held. Then, as theta moves along v,  dS/de_l = h_l'  and  dS/dz_l = d_l',  from which
// each layer knows the slope of its part of g: the second backward pass forms no weight's gradient.
at::Tensor Oracle::HessianVectorProduct(const Gradients& evaluated, const at::Tensor& v,
                                        bool again) const {
  if (evaluated.in_pieces_) {
    SumOverPieces sum;
    const auto add = [&](int64_t, const Gradients& piece) {
      sum.Add(HessianVectorProduct(piece, v));
    };
    evaluated.ForEachPiece(add, /*keep_graph=*/true);
    return sum.Rounded(v.options());
  }
  const std::vector<Tap>& taps = evaluated.taps;
  torch::autograd::variable_list factors, others, places;
  {
    at::AutoGradMode enable(true);
    for (size_t l = 0; l < taps.size(); ++l) {
      const at::Tensor slope = taps[l].layer->OutputSlope(taps[l], v);
      const at::Tensor& d = evaluated.output_gradients[l];
      factors.push_back(d);
      others.push_back(slope.detach());
      places.push_back(taps[l].output);
      if (!slope.requires_grad()) continue;  // of the network's input
      factors.push_back(slope);
      others.push_back(d.detach());
    }
    for (const at::Tensor& e : evaluated.input_gradients) {
      if (e.defined()) places.push_back(e);
    }
  }
  const auto slopes = torch::autograd::grad(factors, places, others, again);
  at::NoGradGuard no_grad;
  const at::Tensor product = at::empty({evaluated.parameters}, v.options());
  auto input_slope = slopes.begin() + taps.size();
  for (size_t l = 0; l < taps.size(); ++l) {
    const bool first = !evaluated.input_gradients[l].defined();
    taps[l].layer->WriteGradientSlope(taps[l], first ? at::Tensor() : *input_slope++,
                                      evaluated.output_gradients[l].detach(), slopes[l], product);
  }
  return product;
}

at::Tensor Oracle::GradientDifference(const Batch& batch, const at::Tensor& theta,
                                      const Gradients& evaluated, double r) const {
  at::NoGradGuard no_grad;
  const at::Tensor& g = evaluated.Mean();
  return Evaluate(batch, theta.add(g, r)).Mean().sub(g).div(r);
}

LineLosses Oracle::AlongLine(const Batch& batch, const at::Tensor& theta,
                             const at::Tensor& direction, double scale, bool curvature,
                             const Gradients* evaluated) const {
  at::NoGradGuard no_grad;
  if (InPieces(batch)) {
    std::vector<LineLosses> pieces;
    ForEachPiece(batch, [&](int64_t, const Batch& piece) {
      pieces.push_back(AlongLine(piece, theta, direction, scale, curvature));
    });
    return Joined(pieces);
  }
  const std::vector<Tap>* known = evaluated == nullptr ? nullptr : &evaluated->taps;
  const Line z = network_.root->ForwardLine(
      {batch.inputs, {}, {}, {}}, {theta, direction, scale, curvature, known, batch.parts});
  return loss_.AlongLine(z, batch.labels, curvature);
}

at::Tensor Oracle::MeanChange(const Batch& batch, const Gradients& evaluated,
                              const at::Tensor& moved) const {
  const auto mean = [&](const at::Tensor& z) { return LossesOf(z.to(at::kDouble), batch).mean(); };
  return mean(Logits(batch, moved)).sub(mean(evaluated.logits));
}

}  // namespace sgdscope
