#include "nn/channels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "kernels/channels.h"

namespace sgdscope {
namespace {

/// Rows [begin, end) of [rows, channels] in blocks that stay in the cache. Where a block begins
/// depends on the shape only.
struct Blocks {
  Blocks(int64_t rows, int64_t channels)
      : rows(rows), each(std::max(kLeastRows, kNumbers / channels)) {}

  int64_t count() const { return (rows + each - 1) / each; }

  /// Calls use(block, first row, number of rows) for each, side by side on the threads.
  template <class Use>
  void ForEach(const Use& use) const {
    at::parallel_for(0, count(), /*grain_size=*/1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) use(b, b * each, std::min(each, rows - b * each));
    });
  }

  static constexpr int64_t kNumbers = 1 << 14;
  static constexpr int64_t kLeastRows = 32;  // a block's sums are few beside its numbers
  int64_t rows;
  int64_t each;
};

std::vector<int64_t> AllButChannels(const at::Tensor& h) {
  std::vector<int64_t> dims = {0};
  for (int64_t dim = 2; dim < h.dim(); ++dim) dims.push_back(dim);
  return dims;
}

/// sum_b parts[b], in their order. parts: [b, ...] in double.
at::Tensor SumInOrder(const at::Tensor& parts) {
  const at::Tensor sum = parts[0].clone();
  const int64_t size = sum.numel();
  auto* to = sum.data_ptr<double>();
  for (int64_t b = 1; b < parts.size(0); ++b) {
    const auto* from = parts.data_ptr<double>() + b * size;
    for (int64_t k = 0; k < size; ++k) to[k] += from[k];
  }
  return sum;
}

/// What sum(first number, rows, sums [2, channels]) writes of blocks of b's rows, added up.
template <class Sum>
at::Tensor SumBlocks(const at::Tensor& b, const Sum& sum) {
  const int64_t channels = b.size(1);
  const Blocks blocks(b.numel() / channels, channels);
  const at::Tensor sums = at::empty({blocks.count(), 2, channels}, b.options().dtype(at::kDouble));
  blocks.ForEach([&](int64_t block, int64_t row, int64_t rows) {
    sum(row * channels, rows, sums.data_ptr<double>() + block * 2 * channels);
  });
  return SumInOrder(sums);
}

at::Tensor ShiftOf(const at::Tensor& given, const at::Tensor& h) {
  if (given.defined()) return given.contiguous();
  return at::zeros({h.size(1)}, h.options().dtype(at::kDouble));
}

template <class T>
at::Tensor Sums(const at::Tensor& a, const at::Tensor& shift_a, const at::Tensor& b,
                const at::Tensor& shift_b) {
  return SumBlocks(b, [&](int64_t first, int64_t rows, double* sums) {
    kernels::ChannelSums({a.data_ptr<T>() + first, shift_a.data_ptr<double>()},
                         {b.data_ptr<T>() + first, shift_b.data_ptr<double>()}, rows, b.size(1),
                         sums);
  });
}

template <class T>
at::Tensor MaskedSums(const at::Tensor& d, const at::Tensor& positive, const at::Tensor& b,
                      const at::Tensor& shift_b, const at::Tensor& out) {
  return SumBlocks(b, [&](int64_t first, int64_t rows, double* sums) {
    kernels::MaskedChannelSums(
        {d.data_ptr<T>() + first, positive.data_ptr<T>() + first, out.data_ptr<T>() + first},
        {b.data_ptr<T>() + first, shift_b.data_ptr<double>()}, rows, b.size(1), sums);
  });
}

/// A shift is taken off as a number of type T; what this leaves of it becomes part of the constant.
template <class T>
void Combine(const std::vector<ChannelTerm>& terms, const at::Tensor& constant,
             const at::Tensor& out, bool positive) {
  const int64_t channels = out.size(1);
  const auto count = static_cast<int64_t>(terms.size());
  std::vector<T> numbers(static_cast<size_t>((2 * count + 1) * channels));
  std::vector<kernels::ChannelTerm<T>> rounded;
  std::vector<double> rest(constant.data_ptr<double>(), constant.data_ptr<double>() + channels);
  T* next = numbers.data();
  for (const ChannelTerm& term : terms) {
    const auto* shift = term.shift.data_ptr<double>();
    const auto* weight = term.weight.data_ptr<double>();
    T* const shifts = next;
    T* const weights = next + channels;
    next += 2 * channels;
    for (int64_t c = 0; c < channels; ++c) {
      weights[c] = static_cast<T>(weight[c]);
      shifts[c] = static_cast<T>(shift[c]);
      rest[c] -= weight[c] * (shift[c] - static_cast<double>(shifts[c]));
    }
    rounded.push_back({term.x.data_ptr<T>(), shifts, weights});
  }
  std::ranges::transform(rest, next, [](double value) { return static_cast<T>(value); });
  Blocks(out.numel() / channels, channels).ForEach([&](int64_t, int64_t row, int64_t rows) {
    std::vector<kernels::ChannelTerm<T>> some = rounded;
    for (auto& term : some) term.values += row * channels;
    kernels::ChannelCombination(some.data(), count, next, positive, rows, channels,
                                out.data_ptr<T>() + row * channels);
  });
}

}  // namespace

at::Tensor ChannelsTogether(const at::Tensor& h) {
  const at::Tensor rows = h.movedim(1, -1);
  return rows.is_contiguous() ? h : rows.contiguous().movedim(-1, 1);
}

at::Tensor RoomFor(const at::Tensor& h) {
  return at::empty(h.movedim(1, -1).sizes(), h.options()).movedim(-1, 1);
}

at::Tensor PerChannel(const at::Tensor& numbers, const at::Tensor& h) {
  std::vector<int64_t> shape(static_cast<size_t>(h.dim()), 1);
  shape[1] = numbers.size(0);
  return numbers.to(h.scalar_type()).view(shape);
}

at::Tensor ChannelSums(const at::Tensor& a, const at::Tensor& shift_a, const at::Tensor& b,
                       const at::Tensor& shift_b) {
  const at::Tensor of_a = ShiftOf(shift_a, a), of_b = ShiftOf(shift_b, b);
  if (!a.is_cpu()) {
    const at::Tensor x = a.sub(PerChannel(of_a, a)), y = b.sub(PerChannel(of_b, b));
    const auto sum = [&](const at::Tensor& t) {
      return t.sum(AllButChannels(t), /*keepdim=*/false, at::kDouble);
    };
    return at::stack({sum(x), sum(x.mul(y))});
  }
  const at::Tensor x = ChannelsTogether(a), y = ChannelsTogether(b);
  return a.scalar_type() == at::kDouble ? Sums<double>(x, of_a, y, of_b)
                                        : Sums<float>(x, of_a, y, of_b);
}

at::Tensor MaskedChannelSums(const at::Tensor& d, const at::Tensor& positive, const at::Tensor& b,
                             const at::Tensor& shift_b, const at::Tensor& out) {
  const at::Tensor shift = ShiftOf(shift_b, b);
  return b.scalar_type() == at::kDouble ? MaskedSums<double>(d, positive, b, shift, out)
                                        : MaskedSums<float>(d, positive, b, shift, out);
}

void WriteCombination(const std::vector<ChannelTerm>& terms, const at::Tensor& constant,
                      const at::Tensor& out, bool positive) {
  if (!out.is_cpu()) {
    at::Tensor sum = PerChannel(constant, out);
    for (const auto& [x, shift, weight] : terms) {
      sum = sum.addcmul(x.sub(PerChannel(shift, x)), PerChannel(weight, x));
    }
    out.copy_(positive ? at::relu(sum) : sum);
    return;
  }
  std::vector<ChannelTerm> together;
  for (const auto& [x, shift, weight] : terms) {
    together.push_back({ChannelsTogether(x), shift.contiguous(), weight.contiguous()});
  }
  if (out.scalar_type() == at::kDouble) {
    Combine<double>(together, constant.contiguous(), out, positive);
  } else {
    Combine<float>(together, constant.contiguous(), out, positive);
  }
}

}  // namespace sgdscope
