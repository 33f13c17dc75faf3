#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "config/registry.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/dataset.h"
#include "data/normalize.h"

// Gaussian class clusters. With d values in an example and C classes:
//   mean_c = separation * z_c / sqrt(2 d),  z_c ~ N(0, I_d)
//   x_i    = mean_{y_i} + std * e_i,         e_i ~ N(0, I_d),  y_i = i mod C
// so that E|mean_a - mean_b|^2 = separation^2 for any two classes and any d. Two classes at
// distance D are told apart with error Phi(-D / (2 std)) at best.

namespace sgdscope {
namespace {

class Synthetic final : public Dataset {
 public:
  Synthetic() : Dataset("none") {}

  at::ScalarType InputType() const override { return at::kDouble; }

  DataShape Shape(const std::string& path) const override {
    CheckNormalize(normalize(), InputType(), path + ".normalize");
    if (shape_.empty()) {
      throw Error(ErrorKind::kConfig, path + ".shape", "found [], expected at least one dimension");
    }
    // Whole numbers are compared in double: what matters is the order of magnitude.
    double bytes = static_cast<double>(train_size_) + static_cast<double>(test_size_) +
                   static_cast<double>(classes_);
    bytes *= sizeof(double);
    for (const int64_t size : shape_) bytes *= static_cast<double>(size);
    constexpr double kMostBytes = 1e12;
    if (bytes > kMostBytes) {
      throw Error(ErrorKind::kConfig, path,
                  "the examples would take " + std::to_string(bytes * 1e-9) + " GB, at most " +
                      std::to_string(kMostBytes * 1e-9) + " are allowed",
                  "Make train_size, test_size, classes or shape smaller.");
    }
    return {train_size_, test_size_, shape_, classes_};
  }

  LoadedData Load(uint64_t seed) const override {
    const std::vector<double> means = Means(seed);
    return {Draw(seed, "synthetic.train", train_size_, means),
            Draw(seed, "synthetic.test", test_size_, means),
            {}};
  }

 private:
  void OwnFields(FieldVisitor& visitor) override {
    visitor.Visit({.name = "train_size", .help = "training examples", .min = 1}, train_size_);
    visitor.Visit({.name = "test_size", .help = "test examples", .min = 1}, test_size_);
    visitor.Visit({.name = "shape", .help = "dimensions of one example", .min = 1}, shape_);
    visitor.Visit({.name = "classes", .help = "number of clusters, one a class", .min = 1},
                  classes_);
    visitor.Visit({.name = "separation",
                   .help = "root mean square distance between two cluster centres",
                   .min = 0},
                  separation_);
    visitor.Visit({.name = "std", .help = "standard deviation around the centre", .min = 0}, std_);
  }

  int64_t values() const {
    int64_t values = 1;
    for (const int64_t size : shape_) values *= size;
    return values;
  }

  std::vector<double> Means(uint64_t seed) const {
    const int64_t d = values();
    const double scale = separation_ / std::sqrt(2.0 * static_cast<double>(d));
    std::vector<double> means;
    means.reserve(static_cast<size_t>(classes_ * d));
    for (int64_t c = 0; c < classes_; ++c) {
      Stream stream(seed, "synthetic.mean", static_cast<uint64_t>(c));
      for (int64_t j = 0; j < d; ++j) means.push_back(scale * stream.Normal());
    }
    return means;
  }

  // Each example has a stream of its own: it stays the same when the set grows.
  Split Draw(uint64_t seed, const char* name, int64_t count,
             const std::vector<double>& means) const {
    const int64_t d = values();
    std::vector<int64_t> sizes{count};
    sizes.insert(sizes.end(), shape_.begin(), shape_.end());
    Split split{at::empty(sizes, at::kDouble), at::empty({count}, at::kLong)};
    double* input = split.inputs.data_ptr<double>();
    int64_t* label = split.labels.data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i) {
      label[i] = i % classes_;
      Stream stream(seed, name, static_cast<uint64_t>(i));
      const double* mean = means.data() + label[i] * d;
      for (int64_t j = 0; j < d; ++j) *input++ = mean[j] + std_ * stream.Normal();
    }
    return split;
  }

  int64_t train_size_ = 1000;
  int64_t test_size_ = 1000;
  std::vector<int64_t> shape_{20};
  int64_t classes_ = 10;
  double separation_ = 4;
  double std_ = 1;
};

const Registration<Dataset, Synthetic> kSynthetic("synthetic",
                                                  "Gaussian class clusters, drawn from the seed");

}  // namespace
}  // namespace sgdscope
