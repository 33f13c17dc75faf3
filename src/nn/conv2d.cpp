// Convolution. With u [n, K, P] the unfolded input (im2col): u[i, k, p] is what weight k =
// (channel, row, column) of K = in * kernel^2 meets at position p of the P of an output image:
//   z[i, o, p] = sum_k W[o, k] u[i, k, p] + b[o]
// With dz = dL/dz [n, out, P]:  dL/dW = sum_i dz_i u_i^T [out, K],  dL/db = sum_ip dz[i, :, p]
// [out]. Along theta + s (dW, db), with h(s):  z' = h' * W + h * dW + db,  z'' = h'' * W + 2 h' *
// dW at s = 0.
//
// Single examples, g_i = (dz_i u_i^T, sum_p dz_ip):
//   <g_i, v>  = sum_op dz[i, o, p] (h_i * v)[o, p]: one convolution with v for weights
//   |g_i|^2   = sum_pq <dz_p, dz_q> (<u_p, u_q> + 1) where these P^2 (out + K) multiplications in
//               double are fewer than half of the P out K that g_i itself takes, else from tiles
//   <g_i, g_j>  from tiles
//
// A tile covers whole output channels, or a part of one where not even one fits. Beside the tile
// there is the unfolded input of as many examples as fit into max_numbers, at least one, of the
// input channels that the tile needs, and a second copy of it where groups have more than one
// example. It is kept from tile to tile where it holds everything, else made again for each.

#include "nn/conv2d.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "nn/channels.h"
#include "nn/few_channels.h"
#include "nn/few_pixels.h"
#include "nn/reduce.h"
#include "nn/taps.h"

namespace sgdscope {
namespace {

/// Numbers in a tile of Gram, which needs all examples at once, and of SquaredNorms, which does not
/// and had better stay in the cache.
constexpr int64_t kGramTile = 1 << 22;
constexpr int64_t kNormTile = 1 << 18;

struct Range {
  int64_t begin;
  int64_t size;
};

at::Tensor Narrow(const at::Tensor& tensor, int64_t dim, Range range) {
  return tensor.narrow(dim, range.begin, range.size);
}

/// Calls use(part) for parts of [0, size) of `most` numbers, in order; the last may be shorter.
template <class Use>
void ForEachPart(int64_t size, int64_t most, const Use& use) {
  for (int64_t begin = 0; begin < size; begin += most) {
    use(Range{begin, std::min(most, size - begin)});
  }
}

/// How many things of `each` numbers fit into `numbers`; at least 1, at most `all`.
int64_t Fitting(int64_t numbers, int64_t each, int64_t all) {
  return std::clamp<int64_t>(numbers / each, 1, all);
}

/// A batch cut into groups of examples that follow one another.
struct Groups {
  at::Tensor input;     // [groups, examples, in, height, width]
  at::Tensor d;         // [groups, examples, out, P]
  at::Tensor unfolded;  // [groups, examples * P, K], or undefined: too large
};

/// The sizes that a convolution's images and weights leave open.
struct Stride {
  int64_t stride;
  int64_t padding;
};

/// The order of memory that makes convolutions fastest.
at::MemoryFormat Packing(const at::Tensor& h) {
  return h.is_cpu() ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

at::Tensor Packed(const at::Tensor& h) { return h.contiguous(Packing(h)); }

/// Whether a convolution looks at single pixels and skips some. It is one with stride 1 of those
/// that it looks at, and is computed so: for few input channels oneDNN writes past its workspace
/// (issue 6035 there) where it is asked to skip.
bool SkipsPixels(const at::Tensor& weight, Stride how) {
  return weight.size(2) == 1 && how.stride > 1 && how.padding == 0;
}

/// The pixels of h that it looks at; a view.
at::Tensor Seen(const at::Tensor& h, Stride how) {
  return h.slice(2, 0, {}, how.stride).slice(3, 0, {}, how.stride);
}

at::Tensor Convolve(const at::Tensor& h, const at::Tensor& weight, const at::Tensor& bias,
                    Stride how) {
  if (SkipsPixels(weight, how)) return at::conv2d(Packed(Seen(h, how)), weight, bias);
  if (MakesFewChannels(h, weight, how.stride, how.padding)) return ConvolveToFew(h, weight, bias);
  return at::conv2d(Packed(h), weight, bias, {how.stride, how.stride}, {how.padding, how.padding});
}

/// The derivative of <d, h * W> by W, or by h, of which then only the shape counts.
at::Tensor Derivative(bool by_weight, const at::Tensor& d, const at::Tensor& h,
                      const at::Tensor& weight, Stride how) {
  if (SkipsPixels(weight, how)) {
    const at::Tensor some = Derivative(by_weight, d, Packed(Seen(h, how)), weight, {1, 0});
    if (by_weight) return some;
    const at::Tensor all = at::empty(h.sizes(), h.options(), Packing(h)).zero_();
    Seen(all, how).copy_(some);
    return all;
  }
  if (by_weight && MakesFewChannels(h, weight, how.stride, how.padding)) {
    return ByWeightToFew(h, d);
  }
  if (by_weight && HasFewPixels(d, weight)) {
    return ByWeightOfFewPixels(h, d, weight, how.stride, how.padding);
  }
  if (!by_weight && TakesFewChannels(d, weight, how.stride, how.padding)) {
    return ByFewInputs(d, weight, how.stride, h.sizes());
  }
  const auto [by_h, by_w, by_bias] = at::convolution_backward(
      Packed(d), h, weight, at::IntArrayRef({weight.size(0)}), {how.stride, how.stride},
      {how.padding, how.padding}, {1, 1}, /*transposed=*/false, {0, 0}, /*groups=*/1,
      {!by_weight, by_weight, false});
  return by_weight ? by_w : by_h;
}

/// The derivative of <d, h * W> by h of these sizes.
at::Tensor ByInput(const at::Tensor& d, at::IntArrayRef sizes, const at::Tensor& weight,
                   Stride how) {
  const at::Tensor shape = at::empty(sizes, d.options(), Packing(d));
  return Derivative(/*by_weight=*/false, d, shape, weight, how);
}

/// h * W + b for constant W and b, a linear map, or its transpose, which takes d [n, out, ...] to
/// [n, in, ...]; but for b, each is the other's derivative. ATen's own second derivative of a
/// convolution computes that by W as well, although nobody asks for it.
class ConvolutionMap : public torch::autograd::Function<ConvolutionMap> {
 public:
  struct Constants {  // not seen by autograd
    at::Tensor weight;
    at::Tensor bias;  // may be undefined
    Stride how;
    std::vector<int64_t> sizes;  // of h
    bool transposed;
  };

  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const Constants& map) {
    context->save_for_backward({map.weight});
    context->saved_data["stride"] = map.how.stride;
    context->saved_data["padding"] = map.how.padding;
    context->saved_data["sizes"] = map.sizes;
    context->saved_data["transposed"] = map.transposed;
    if (!map.transposed) return Convolve(x, map.weight, map.bias, map.how);
    return ByInput(x, map.sizes, map.weight, map.how);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& d) {
    const Constants other = {
        context->get_saved_variables()[0],
        {},
        {context->saved_data["stride"].toInt(), context->saved_data["padding"].toInt()},
        context->saved_data["sizes"].toIntVector(),
        !context->saved_data["transposed"].toBool()};
    return {apply(d[0], other), {}};
  }
};

class Conv2d : public ExampleLayer {
 public:
  Conv2d(ParameterTable& table, const std::string& name, int64_t in, int64_t out, int64_t kernel,
         int64_t stride, int64_t padding, bool bias)
      : in_(in), out_(out), kernel_(kernel), stride_(stride), padding_(padding), bias_(bias) {
    const int64_t area = kernel * kernel;
    weight_offset_ =
        table.Add(name + ".weight", {out, in, kernel, kernel}, in * area, out * area, false);
    if (bias) bias_offset_ = table.Add(name + ".bias", {out}, in * area, out * area, true);
  }

  at::Tensor Forward(const at::Tensor& h, const Pass& pass) const override {
    return Output(h, pass, /*positive=*/false);
  }

  at::Tensor ForwardTo(const End& end, const at::Tensor& h, const Pass& pass) const override {
    const bool asked = pass.back != nullptr && !pass.back->steps.empty();
    const bool one_pass = asked && end.positive && !end.add.defined() && bias_ && h.is_cpu();
    return one_pass ? Output(h, pass, /*positive=*/true) : Layer::ForwardTo(end, h, pass);
  }

  bool KnowsWayBack() const override { return true; }

  Line ForwardLine(const Line& h, const LinePass& pass) const override {
    const at::Tensor weight = PackedWeight(pass.theta);
    const at::Tensor weight_move = PackedWeight(pass.direction);
    Line z;
    z.value = ValueOnLine(*this, h.value, pass, [&](const at::Tensor& rest) {
      return Convolve(rest, weight, Bias(pass.theta));
    });
    z.slope = Convolve(h.value, weight_move, Bias(pass.direction)).mul(pass.scale);
    if (h.slope.defined()) z.slope = z.slope.add(Convolve(h.slope, weight, {}));
    if (pass.curvature && h.slope.defined()) {
      z.curvature = Convolve(h.slope, weight_move, {}).mul(2 * pass.scale);
      if (h.curvature.defined()) z.curvature = z.curvature.add(Convolve(h.curvature, weight, {}));
    }
    if (!h.moved.defined()) {
      // z is affine in (W, b): where the input stays, the slope is the whole change.
      z.moved = z.value.add(z.slope);
    } else {
      const at::Tensor bias = Bias(pass.theta);
      z.moved = Convolve(h.moved, weight.add(weight_move, pass.scale),
                         bias_ ? bias.add(Bias(pass.direction), pass.scale) : bias);
    }
    return z;
  }

  void WriteGradient(const Tap& tap, const at::Tensor& output_gradient,
                     const at::Tensor& gradient) const override {
    const at::Tensor d = Packed(output_gradient);
    Unpack(ByWeight(tap.input.detach(), d), Weight(gradient));
    if (!bias_) return;
    // In double: what ATen's convolution_backward would call adds them up one after another.
    if (d.is_cpu()) {
      Bias(gradient).copy_((tap.sums.defined() ? tap.sums : ChannelSums(d, {}, d, {}))[0]);
    } else {
      Bias(gradient).copy_(d.sum(at::IntArrayRef({0, 2, 3})));
    }
  }

  at::Tensor OutputSlope(const Tap& tap, const at::Tensor& v) const override {
    return Convolve(tap.input, PackedWeight(v), Bias(v));
  }

  void WriteGradientSlope(const Tap& tap, const at::Tensor& input_slope, const at::Tensor& d,
                          const at::Tensor& d_slope, const at::Tensor& slope) const override {
    WriteGradient(tap, d_slope, slope);
    if (!input_slope.defined()) return;
    const at::Tensor second = at::empty_like(Weight(slope));
    Unpack(ByWeight(Packed(input_slope), d), second);
    Weight(slope).add_(second);
  }

  at::Tensor SquaredNorms(const Tap& tap, const at::Tensor& d) const override {
    const int64_t positions = d[0][0].numel();
    const bool by_positions = 2 * positions * (out_ + fan_in()) < out_ * fan_in();
    const int64_t each = by_positions ? positions * (positions + fan_in()) : out_ * fan_in();
    const at::Tensor h = tap.input.detach();
    std::vector<at::Tensor> parts;
    ForEachPart(d.size(0), Fitting(kNormTile, each, d.size(0)), [&](Range examples) {
      const at::Tensor some_h = Narrow(h, 0, examples);
      const at::Tensor some_d = Narrow(d, 0, examples);
      parts.push_back(by_positions ? NormsByPositions(some_h, some_d)
                                   : NormsByTiles({this, some_h, {}}, some_d));
    });
    return at::cat(parts);
  }

  at::Tensor Dots(const Tap& tap, const at::Tensor& d, const at::Tensor& v) const override {
    return ExampleDots(d, Convolve(tap.input.detach(), PackedWeight(v), Bias(v)));
  }

  at::Tensor Gram(const Tap& tap, const at::Tensor& d) const override {
    at::Tensor gram = at::zeros({d.size(0), d.size(0)}, d.options().dtype(at::kDouble));
    ForEachTile(tap, d, d.size(0), kGramTile, [&](int64_t, const at::Tensor& tile) {
      const at::Tensor rows = tile.to(at::kDouble);
      gram.addmm_(rows, rows.t());
    });
    return gram;
  }

  void ForEachTile(const Tap& tap, const at::Tensor& d, int64_t groups, int64_t max_numbers,
                   const UseTile& use) const override {
    const Groups batch = Group(tap.input.detach(), d, groups, max_numbers);
    const int64_t most = std::max<int64_t>(1, max_numbers / groups);  // coordinates of a tile
    ForEachPart(out_, Fitting(most, fan_in(), out_), [&](Range channels) {
      ForEachPart(fan_in(), std::min(most, fan_in()), [&](Range weights) {
        const at::Tensor tile = WeightTile(batch, channels, weights, max_numbers);
        use(weight_offset_ + channels.begin * fan_in() + weights.begin, tile.flatten(1));
      });
    });
    if (!bias_) return;
    const at::Tensor sums = batch.d.sum(at::IntArrayRef({1, 3}));  // [groups, out]
    ForEachPart(out_, most, [&](Range channels) {
      use(bias_offset_ + channels.begin, Narrow(sums, 1, channels).contiguous());
    });
  }

  std::string Describe() const override {
    return "conv " + std::to_string(in_) + " -> " + std::to_string(out_) + ", " +
           std::to_string(kernel_) + " x " + std::to_string(kernel_) + ", stride " +
           std::to_string(stride_) + ", padding " + std::to_string(padding_) +
           (bias_ ? "" : " (no bias)");
  }

 private:
  /// h * W + b, or its positive part, behind which the way back masks the derivative and sums up the
  /// bias's gradient in one pass.
  at::Tensor Output(const at::Tensor& h, const Pass& pass, bool positive) const {
    const at::Tensor input = Packed(h);
    const at::Tensor weight = PackedWeight(pass.theta);
    const at::Tensor z = Recorded(*this, input, Convolve(input, weight, Bias(pass.theta)), pass);
    const at::Tensor out = positive ? ChannelsTogether(at::relu(z)) : z;
    if (pass.back == nullptr) return out;
    AddWayBack(pass, [how = Stride{stride_, padding_}, sizes = input.sizes().vec(), weight,
                      masked_by = positive ? out : at::Tensor(), &taps = *pass.taps,
                      &back = *pass.back, tap = pass.taps->size() - 1](const at::Tensor& given) {
      if (!masked_by.defined()) return ByInput(given, sizes, weight, how);
      const at::Tensor d = ChannelsTogether(given), dz = RoomFor(d);
      taps[tap].sums = MaskedChannelSums(d, masked_by, d, {}, dz);
      back.output_gradients[tap] = dz;
      return ByInput(dz, sizes, weight, how);
    });
    return out;
  }

  int64_t fan_in() const { return in_ * kernel_ * kernel_; }  // K

  at::Tensor Weight(const at::Tensor& theta) const {  // [out, in, kernel, kernel], a view
    return theta.narrow(0, weight_offset_, out_ * fan_in()).view({out_, in_, kernel_, kernel_});
  }
  at::Tensor Bias(const at::Tensor& theta) const {  // [out], a view; undefined without bias
    return bias_ ? theta.narrow(0, bias_offset_, out_) : at::Tensor();
  }

  /// W packed like images. ATen would do it for each convolution, and slowly.
  at::Tensor PackedWeight(const at::Tensor& theta) const {
    const at::Tensor weight = Weight(theta);
    if (Packing(weight) == at::MemoryFormat::Contiguous || weight.requires_grad()) return weight;
    const at::Tensor packed = at::empty(weight.sizes(), weight.options(), Packing(weight));
    Transpose(weight, in_, kernel_ * kernel_, packed);
    return packed;
  }

  /// Copies W's derivatives, packed or not, to `out` [out, in, kernel, kernel], contiguous.
  void Unpack(const at::Tensor& weight, const at::Tensor& out) const {
    if (weight.is_cpu() && weight.is_contiguous(at::MemoryFormat::ChannelsLast)) {
      Transpose(weight, kernel_ * kernel_, in_, out);
    } else {
      out.copy_(weight);
    }
  }

  /// The numbers of `from`, a matrix [rows, columns] for each output channel, to `to`, transposed.
  void Transpose(const at::Tensor& from, int64_t rows, int64_t columns,
                 const at::Tensor& to) const {
    const auto run = [&](auto* in, auto* out) {
      constexpr int64_t kGrain = 1 << 16;  // numbers worth a thread
      const int64_t each = rows * columns;
      at::parallel_for(0, out_, std::max<int64_t>(1, kGrain / each),
                       [&](int64_t begin, int64_t end) {
                         kernels::TransposeEach(in + begin * each, end - begin, rows, columns,
                                                out + begin * each);
                       });
    };
    if (from.scalar_type() == at::kDouble) {
      run(from.data_ptr<double>(), to.data_ptr<double>());
    } else {
      run(from.data_ptr<float>(), to.data_ptr<float>());
    }
  }

  /// h * W + b; derivatives by h only.
  at::Tensor Convolve(const at::Tensor& h, const at::Tensor& weight, const at::Tensor& bias) const {
    const Stride how = {stride_, padding_};
    const bool constant = !weight.requires_grad();
    if (!h.requires_grad() || !constant) return sgdscope::Convolve(h, weight, bias, how);
    return ConvolutionMap::apply(
        h, ConvolutionMap::Constants{weight, bias, how, h.sizes().vec(), /*transposed=*/false});
  }

  /// The losses' derivative by W, from d = dL/dz.
  at::Tensor ByWeight(const at::Tensor& h, const at::Tensor& d) const {
    // A weight is asked for, but only its shape and order count.
    const at::Tensor shape = at::empty({out_, in_, kernel_, kernel_}, h.options(), Packing(h));
    return Derivative(/*by_weight=*/true, d, h, shape, {stride_, padding_});
  }

  /// Rows `weights` of u [n, K, P].
  at::Tensor Unfold(const at::Tensor& h, Range weights) const {
    const Range channels = ChannelsOf(weights);
    const at::Tensor rows = at::im2col(Narrow(h, 1, channels), {kernel_, kernel_}, {1, 1},
                                       {padding_, padding_}, {stride_, stride_});
    return rows.narrow(1, weights.begin - channels.begin * kernel_ * kernel_, weights.size);
  }

  /// The input channels that some of the K weights of a unit see.
  Range ChannelsOf(Range weights) const {
    const int64_t area = kernel_ * kernel_;
    const int64_t first = weights.begin / area;
    return {first, (weights.begin + weights.size - 1) / area - first + 1};
  }

  /// |g_i|^2 [n] without g_i.
  at::Tensor NormsByPositions(const at::Tensor& h, const at::Tensor& d) const {
    const at::Tensor u = Unfold(h, {0, fan_in()}).to(at::kDouble);
    const at::Tensor dz = d.flatten(2).to(at::kDouble);
    const at::Tensor inputs = u.transpose(1, 2).bmm(u);  // [n, P, P]
    const at::Tensor outputs = dz.transpose(1, 2).bmm(dz);
    const at::Tensor norms =
        outputs.mul(bias_ ? inputs.add(1) : inputs).sum(at::IntArrayRef({1, 2}));
    return norms.clamp_min(0);  // rounding can make a zero negative
  }

  at::Tensor NormsByTiles(const Tap& tap, const at::Tensor& d) const {
    at::Tensor norms = at::zeros({d.size(0)}, d.options().dtype(at::kDouble));
    ForEachTile(tap, d, d.size(0), kNormTile,
                [&](int64_t, const at::Tensor& tile) { norms.add_(ExampleDots(tile, tile)); });
    return norms;
  }

  Groups Group(const at::Tensor& h, const at::Tensor& d, int64_t groups,
               int64_t max_numbers) const {
    const int64_t examples = h.size(0) / groups;
    Groups batch{
        h.unflatten(0, {groups, examples}), d.flatten(2).unflatten(0, {groups, examples}), {}};
    if (h.size(0) * fan_in() * batch.d.size(3) <= max_numbers) {
      batch.unfolded = UnfoldGroups(batch.input, {0, fan_in()});
    }
    return batch;
  }

  /// Groups of images [g, e, in, height, width] to the inputs of some weights [g, e * P, weights].
  at::Tensor UnfoldGroups(const at::Tensor& h, Range weights) const {
    const at::Tensor u = Unfold(h.flatten(0, 1), weights).transpose(1, 2);  // [g * e, P, weights]
    return u.reshape({h.size(0), -1, weights.size});
  }

  /// Sums of dz_i u_i^T over the examples of each group: [groups, channels, weights].
  at::Tensor WeightTile(const Groups& batch, Range channels, Range weights,
                        int64_t max_numbers) const {
    const int64_t groups = batch.d.size(0);
    const int64_t examples = batch.d.size(1);
    const at::Tensor d =
        Narrow(batch.d, 2, channels).transpose(1, 2);  // [groups, out, examples, P]
    if (batch.unfolded.defined()) return d.flatten(2).bmm(Narrow(batch.unfolded, 2, weights));
    const int64_t each = ChannelsOf(weights).size * kernel_ * kernel_ * d.size(3);
    const int64_t fitting = Fitting(max_numbers, each, groups * examples);
    const int64_t rows = std::max<int64_t>(1, fitting / examples);
    at::Tensor tile = at::zeros({groups, channels.size, weights.size}, d.options());
    ForEachPart(groups, rows, [&](Range g) {
      ForEachPart(examples, std::min(fitting, examples), [&](Range e) {
        const at::Tensor h = Narrow(Narrow(batch.input, 0, g), 1, e);
        const at::Tensor dz = Narrow(Narrow(d, 0, g), 2, e).flatten(2);  // [g, out, e * P]
        Narrow(tile, 0, g).baddbmm_(dz, UnfoldGroups(h, weights));
      });
    });
    return tile;
  }

  int64_t in_;
  int64_t out_;
  int64_t kernel_;
  int64_t stride_;
  int64_t padding_;
  bool bias_;
  int64_t weight_offset_ = 0;
  int64_t bias_offset_ = 0;
};

}  // namespace

std::unique_ptr<ExampleLayer> MakeConv2d(ParameterTable& table, const std::string& name,
                                         int64_t in_channels, int64_t out_channels, int64_t kernel,
                                         int64_t stride, int64_t padding, bool bias) {
  return std::make_unique<Conv2d>(table, name, in_channels, out_channels, kernel, stride, padding,
                                  bias);
}

}  // namespace sgdscope
