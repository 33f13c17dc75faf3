#include "data/normalize.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/csv.h"
#include "core/error.h"
#include "kernels/kernels.h"

// All ways are out = (x - shift) / scale in the units of x (0 ... 255 for files), in this order,
// each operation rounded once: ATen and the kernel then give the same bits. What comes in double is
// rounded to float32 only then, by `dataset`: 1e9 and 1e9 + 1 would be the same number before.
//   unit       shift 0, scale 255
//   dataset    mean and population standard deviation of each channel
//   per_image  mean and max(standard deviation, 255 / sqrt(d)) of each image
//   none       shift 0, scale 1

namespace sgdscope {
namespace {

constexpr char kWhere[] = "data.normalize";

struct ShiftAndScale {
  std::vector<double> shift;  // [channels]
  std::vector<double> scale;  // [channels]
};

// An example [channels, height, width] has channels; of any other shape it counts as one channel.
int64_t ChannelsOf(const at::Tensor& inputs) { return inputs.dim() == 4 ? inputs.size(1) : 1; }

// Mean and population standard deviation of numbers 0 ... 255 from how often each occurs: whole
// numbers, so that neither the order of the examples nor the threads can change a bit.
void AddStatistics(const std::array<int64_t, 256>& histogram, ShiftAndScale& result) {
  double count = 0;
  double sum = 0;
  for (int value = 0; value < 256; ++value) {
    count += static_cast<double>(histogram[value]);
    sum += static_cast<double>(histogram[value] * value);  // whole and below 2^53: exact
  }
  const double mean = sum / count;
  double squares = 0;
  for (int value = 0; value < 256; ++value) {
    squares += static_cast<double>(histogram[value]) * (value - mean) * (value - mean);
  }
  result.shift.push_back(mean);
  result.scale.push_back(std::sqrt(squares / count));
}

ShiftAndScale StatisticsOfBytes(const at::Tensor& inputs, int64_t channels) {
  std::vector<std::array<int64_t, 256>> histograms(channels, std::array<int64_t, 256>{});
  const uint8_t* value = inputs.data_ptr<uint8_t>();
  const int64_t pixels = inputs.numel() / (inputs.size(0) * channels);
  for (int64_t row = 0; row < inputs.size(0) * channels; ++row) {
    std::array<int64_t, 256>& histogram = histograms[row % channels];
    for (int64_t j = 0; j < pixels; ++j) ++histogram[*value++];
  }
  ShiftAndScale result;
  for (const auto& histogram : histograms) AddStatistics(histogram, result);
  return result;
}

template <class Number>
ShiftAndScale StatisticsOfNumbers(const at::Tensor& inputs, int64_t channels) {
  const Number* values = inputs.data_ptr<Number>();
  const int64_t pixels = inputs.numel() / (inputs.size(0) * channels);
  const double count = static_cast<double>(inputs.size(0) * pixels);
  std::vector<double> mean(channels, 0.0);
  std::vector<double> deviation(channels, 0.0);
  // One after the other, so that the number of threads can't change a bit.
  for (int64_t i = 0; i < inputs.numel(); ++i) mean[i / pixels % channels] += values[i];
  for (double& sum : mean) sum /= count;
  for (int64_t i = 0; i < inputs.numel(); ++i) {
    const double distance = values[i] - mean[i / pixels % channels];
    deviation[i / pixels % channels] += distance * distance;
  }
  for (double& sum : deviation) sum = std::sqrt(sum / count);
  return {mean, deviation};
}

ShiftAndScale StatisticsOf(const Split& train) {
  const at::Tensor inputs = train.inputs.cpu().contiguous();
  const int64_t channels = ChannelsOf(inputs);
  const ShiftAndScale result =
      inputs.scalar_type() == at::kByte    ? StatisticsOfBytes(inputs, channels)
      : inputs.scalar_type() == at::kFloat ? StatisticsOfNumbers<float>(inputs, channels)
                                           : StatisticsOfNumbers<double>(inputs, channels);
  for (size_t channel = 0; channel < result.scale.size(); ++channel) {
    if (result.scale[channel] > 0 && std::isfinite(result.scale[channel])) continue;
    const bool equal = result.scale[channel] == 0;
    throw Error(ErrorKind::kData, kWhere,
                "the standard deviation of channel " + std::to_string(channel) +
                    " over the training set is " + (equal ? "0" : "too large for float64"),
                equal ? "All its values are equal: choose \"unit\" or \"none\"."
                      : "Scale the inputs to less than 1e150 in magnitude.");
  }
  return result;
}

// Shift and scale of each image, [n, 1, ...]. The sums are of whole numbers and exact in double, in
// whatever order a device adds; so is the spread up to d = 370,000 values.
std::pair<at::Tensor, at::Tensor> PerImage(const at::Tensor& images) {
  const at::Tensor values = images.flatten(1).to(at::kDouble);  // [n, d]
  const at::Tensor sum = values.sum(1);                         // [n]
  const auto size = static_cast<double>(values.size(1));
  // A tensor, because CUDA divides by a scalar by multiplying with its rounded reciprocal.
  const at::Tensor d = at::full_like(sum, size);
  const at::Tensor spread = values.square().sum(1) * d - sum.square();  // d^2 times the variance
  const at::Tensor least = at::full_like(sum, 255 / std::sqrt(size));
  std::vector<int64_t> sizes(images.dim(), 1);
  sizes[0] = images.size(0);
  return {(sum / d).view(sizes), at::maximum(spread.sqrt() / d, least).view(sizes)};
}

// Throws Error kData about the first of `values` [n, ...] that is not finite in `held`, what float32
// makes of them. `of`: what they are; `first`: the example that the first row is of.
void CheckFinite(const at::Tensor& values, const at::Tensor& held, const std::string& of,
                 const std::string& split, int64_t first) {
  const at::Tensor finite = held.isfinite();
  if (finite.all().item<bool>()) return;
  const auto place = finite.logical_not().flatten().nonzero()[0][0].item<int64_t>();
  std::string number;
  AppendNumber(values.flatten()[place].item<double>(), number);
  throw Error(ErrorKind::kData, "data",
              "found " + number + " in the " + of + " of example " +
                  std::to_string(first + place / values[0].numel()) + " of the " + split +
                  " set, but float32 holds magnitudes up to 3.4e38, normalized inputs included",
              "Set \"dtype\": \"float64\", or scale the data down.");
}

}  // namespace

std::vector<std::string> NormalizeNames() { return {"unit", "dataset", "per_image", "none"}; }

void CheckNormalize(const std::string& kind, at::ScalarType inputs, const std::string& where) {
  if (kind == "dataset" || kind == "none" || inputs == at::kByte) return;
  throw Error(ErrorKind::kConfig, where,
              "\"" + kind + "\" is defined for images of bytes, which this data set doesn't hold",
              "Choose \"dataset\" or \"none\".");
}

Normalizer::Normalizer(const std::string& kind, const Split& train, at::ScalarType dtype)
    : kind_(kind),
      dtype_(dtype),
      working_(kind == "dataset" && train.inputs.scalar_type() == at::kDouble ? at::kDouble
                                                                              : dtype) {
  CheckNormalize(kind, train.inputs.scalar_type(), kWhere);
  ShiftAndScale constants{{0}, {1}};
  if (kind == "unit") constants.scale = {255};
  if (kind == "dataset") constants = StatisticsOf(train);
  const auto options = at::dtype(at::kDouble);
  std::vector<int64_t> sizes(train.inputs.dim(), 1);
  if (kind == "dataset" && train.inputs.dim() == 4) sizes[1] = train.inputs.size(1);
  shift_ = at::tensor(constants.shift, options).to(working_).view(sizes).to(train.inputs.device());
  scale_ = at::tensor(constants.scale, options).to(working_).view(sizes).to(train.inputs.device());
}

at::Tensor Normalizer::Gather(const Split& split, const at::Tensor& indices) const {
  if (TakesBytes(split.inputs)) return GatherBytes(split.inputs, indices);
  const at::Tensor index = indices.to(split.inputs.device(), /*non_blocking=*/true);
  return Normalize(split.inputs.index_select(0, index));
}

at::Tensor Normalizer::Normalize(const at::Tensor& inputs) const {
  if (TakesBytes(inputs)) return GatherBytes(inputs, at::arange(inputs.size(0), at::kLong));
  if (kind_ != "per_image") return ((inputs.to(working_) - shift_) / scale_).to(dtype_);
  const auto [shift, scale] = PerImage(inputs);
  return (inputs.to(dtype_) - shift.to(dtype_)) / scale.to(dtype_);
}

void Normalizer::CheckHolds(const Split& split, const std::string& name) const {
  if (dtype_ != at::kFloat) return;
  const at::ScalarType type = split.inputs.scalar_type();
  const bool inputs = type == at::kDouble || (type == at::kFloat && kind_ == "dataset");
  const bool targets = split.labels.scalar_type() == at::kDouble;
  constexpr int64_t kRows = 1000;  // at once, to save memory
  for (int64_t first = 0; first < split.size() && (inputs || targets); first += kRows) {
    const auto rows = [&](const at::Tensor& all) {
      return all.narrow(0, first, std::min(kRows, split.size() - first));
    };
    const at::Tensor x = rows(split.inputs), y = rows(split.labels);
    if (inputs) CheckFinite(x, Normalize(x), "inputs", name, first);
    if (targets) CheckFinite(y, y.to(dtype_), "targets", name, first);
  }
}

// Whether the kernel does it.
bool Normalizer::TakesBytes(const at::Tensor& inputs) const {
  return inputs.is_cpu() && inputs.is_contiguous() && inputs.scalar_type() == at::kByte &&
         dtype_ == at::kFloat && kind_ != "per_image";
}

at::Tensor Normalizer::GatherBytes(const at::Tensor& inputs, const at::Tensor& indices) const {
  const int64_t* index = indices.data_ptr<int64_t>();
  for (int64_t i = 0; i < indices.numel(); ++i) {
    if (index[i] >= 0 && index[i] < inputs.size(0)) continue;
    throw Error(ErrorKind::kInternal, "Normalizer::Gather",
                "example " + std::to_string(index[i]) + " of " + std::to_string(inputs.size(0)));
  }
  std::vector<int64_t> sizes = inputs.sizes().vec();
  sizes[0] = indices.numel();
  at::Tensor out = at::empty(sizes, at::kFloat);
  constexpr int64_t kGrain = 1 << 15;  // numbers worth a thread
  const int64_t channels = shift_.numel(), each = inputs.numel() / inputs.size(0);
  at::parallel_for(0, indices.numel(), kGrain / each + 1, [&](int64_t begin, int64_t end) {
    kernels::GatherNormalize(inputs.data_ptr<uint8_t>(), index + begin, end - begin, channels,
                             each / channels, shift_.data_ptr<float>(), scale_.data_ptr<float>(),
                             out.data_ptr<float>() + begin * each);
  });
  return out;
}

}  // namespace sgdscope
