#include <gtest/gtest.h>
#include <sys/resource.h>

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "tests/data/array_files.h"
#include "tests/data/data_files.h"
#include "tests/temp_folder.h"

// Mutated data files: an Error, or data that is valid. Never a crash, and never more memory than
// the files are worth.

namespace sgdscope {
namespace {

// One to four random changes to `bytes`: flipped bytes, a cut, more bytes, a number in the header,
// a block moved. `numbers`: how many bytes at the front form big-endian 32-bit numbers.
std::string Mutate(std::string bytes, size_t numbers, Stream& random) {
  const auto any_byte = [&] { return static_cast<char>(random.Bits32()); };
  for (uint64_t change = random.Below(4) + 1; change > 0; --change) {
    const size_t at = random.Below(bytes.size() + 1);
    switch (random.Below(7)) {
      case 0:
      case 1:  // anywhere
        if (at < bytes.size()) bytes[at] = any_byte();
        break;
      case 2:  // near the front, where formats say most
        if (!bytes.empty()) bytes[random.Below(std::min<size_t>(bytes.size(), 24))] = any_byte();
        break;
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.append(random.Below(2000), any_byte());
        break;
      case 5: {
        const uint32_t interesting[] = {0,          1,          27,    29,   0x7fffffff,
                                        0x80000000, 0xffffffff, 0x801, 0x803};
        if (numbers == 0 || bytes.size() < numbers) break;
        bytes.replace(random.Below(numbers / 4) * 4, 4, BigEndian(interesting[random.Below(9)]));
        break;
      }
      default:
        bytes.insert(at, bytes.substr(random.Below(bytes.size() + 1), random.Below(64)));
    }
  }
  return bytes;
}

void ExpectValid(const Split& split, const std::vector<int64_t>& shape, int64_t classes) {
  ASSERT_GT(split.size(), 0);
  std::vector<int64_t> sizes{split.size()};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  ASSERT_EQ(split.inputs.sizes().vec(), sizes);
  if (split.HasTargets()) {
    ASSERT_EQ(split.labels.sizes(), at::IntArrayRef({split.size(), classes}));
    ASSERT_TRUE(split.labels.isfinite().all().item<bool>());
    return;
  }
  ASSERT_EQ(split.labels.dim(), 1);
  ASSERT_GE(split.labels.min().item<int64_t>(), 0);
  ASSERT_LT(split.labels.max().item<int64_t>(), classes);
}

struct Outcomes {
  int valid = 0;
  int refused = 0;
};

// Loads the data set of the two training files that `next` writes, `count` times.
void Fuzz(const std::string& name, const Json& fields, int count,
          const std::function<void()>& next) {
  const Choice<Dataset> dataset = MakeDataset(name, fields);
  Outcomes outcomes;
  rusage before{};
  getrusage(RUSAGE_SELF, &before);
  for (int i = 0; i < count; ++i) {
    SCOPED_TRACE(name + " " + std::to_string(i));
    next();
    try {
      const DataShape shape = dataset->Shape("data");
      const LoadedData data = dataset->Load(0);
      ExpectValid(data.train, shape.shape, shape.classes);
      ASSERT_EQ(data.train.size(), shape.train_size);
      ++outcomes.valid;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kData) << error.what();
      ++outcomes.refused;
    }
  }
  rusage after{};
  getrusage(RUSAGE_SELF, &after);
  // Under ASan freed memory is kept for a while.
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 400 << 10);
  // Some mutations hit pixels only; most are noticed. Otherwise the mutations test nothing.
  EXPECT_GT(outcomes.valid, count / 100);
  EXPECT_GT(outcomes.refused, count / 4);
}

class DataFuzz {
 public:
  void Write(const std::string& name, const std::string& bytes) {
    WriteBytes(folder_ / name, bytes);
  }
  Json fields(const std::vector<std::string>& train, const std::vector<std::string>& test) {
    return {{"path", folder_.path().string()}, {"train_files", train}, {"test_files", test}};
  }

 private:
  TempFolder folder_;
};

void FuzzIdx(bool packed, int count) {
  DataFuzz files;
  const std::string images = IdxImages(6);
  const std::string labels = IdxLabels({0, 1, 2, 3, 9, 5});
  const auto pack = [&](const std::string& bytes) { return packed ? Gzip(bytes) : bytes; };
  files.Write("images", images);
  files.Write("labels", labels);
  Stream random(1, packed ? "fuzz.gz" : "fuzz.idx");
  Fuzz("mnist", files.fields({"fuzzed_images", "fuzzed_labels"}, {"images", "labels"}), count, [&] {
    const bool in_images = random.Below(2) == 0;
    const std::string& good = in_images ? images : labels;
    const size_t numbers = in_images ? 16 : 8;
    // Packed files are changed before packing or after it.
    const std::string bad = packed && random.Below(2) == 0 ? Mutate(Gzip(good), 0, random)
                                                           : pack(Mutate(good, numbers, random));
    files.Write("fuzzed_images", in_images ? bad : pack(images));
    files.Write("fuzzed_labels", in_images ? pack(labels) : bad);
  });
}

TEST(DataFuzzSlow, Idx) { FuzzIdx(/*packed=*/false, 4000); }
TEST(DataFuzzSlow, IdxGzip) { FuzzIdx(/*packed=*/true, 3000); }

void FuzzCifar(const std::string& name, const std::string& good, int count) {
  DataFuzz files;
  files.Write("good", good);
  Stream random(1, "fuzz." + name);
  Fuzz(name, files.fields({"good", "bad"}, {"good"}), count,
       [&] { files.Write("bad", Mutate(good, 0, random)); });
}

TEST(DataFuzzSlow, Cifar10) {
  FuzzCifar("cifar10", CifarRecord({3}, 0) + CifarRecord({9}, 1), 1500);
}
TEST(DataFuzzSlow, Cifar100) {
  FuzzCifar("cifar100", CifarRecord({3, 44}, 0) + CifarRecord({19, 99}, 1), 1500);
}

/// Inputs and labels in files of this name, both as the array `array` of theirs.
void FuzzArrays(const std::string& name, const std::string& array, bool deflated, int count,
                bool targets = false) {
  DataFuzz files;
  const std::vector<float> inputs = {0, 1, 2.5, -3, 4, 5, 6, 7, 8e9f, 9, 10, 11};
  const std::vector<uint8_t> labels = {0, 1, 2, 1, 0, 2};
  const std::string x = Npy("'<f4'", {6, 2}, BytesOf(inputs));
  const std::vector<float> backwards(inputs.rbegin(), inputs.rend());
  const std::string y =
      targets ? Npy("'<f4'", {6, 2}, BytesOf(backwards)) : Npy("'|u1'", {6}, BytesOf(labels));
  const auto wrap = [&](const std::string& npy) {
    if (name.ends_with(".npy")) return npy;
    if (name.ends_with(".npz")) return Zip({{"a.npy", x}, {"v.npy", npy}}, deflated);
    return npy == x ? Safetensors({{"v", {"F32", {6, 2}, BytesOf(inputs)}}})
                    : Safetensors({{"v", {"U8", {6}, BytesOf(labels)}}});
  };
  files.Write("x_" + name, wrap(x));
  files.Write("y_" + name, wrap(y));
  Json fields = files.fields({"fuzzed_x_" + name + array, "fuzzed_y_" + name + array},
                             {"x_" + name + array, "y_" + name + array});
  fields["normalize"] = "none";
  Stream random(1, "fuzz." + name + (deflated ? ".deflated" : targets ? ".targets" : ""));
  Fuzz("arrays", fields, count, [&] {
    const bool in_inputs = random.Below(2) == 0;
    const std::string& good = in_inputs ? x : y;
    // A member is changed before it is packed, or the archive after it.
    const bool inside = name.ends_with(".npz") && random.Below(2) == 0;
    const std::string bad = inside ? wrap(Mutate(good, 0, random)) : Mutate(wrap(good), 0, random);
    files.Write("fuzzed_x_" + name, in_inputs ? bad : wrap(x));
    files.Write("fuzzed_y_" + name, in_inputs ? wrap(y) : bad);
  });
}

TEST(DataFuzzSlow, Npy) { FuzzArrays("a.npy", "", false, 1500); }
TEST(DataFuzzSlow, NpyOfTargets) { FuzzArrays("a.npy", "", false, 1500, /*targets=*/true); }
TEST(DataFuzzSlow, NpzStored) { FuzzArrays("a.npz", ":v", false, 1500); }
TEST(DataFuzzSlow, NpzDeflated) { FuzzArrays("a.npz", ":v", true, 1500); }
TEST(DataFuzzSlow, Safetensors) { FuzzArrays("a.safetensors", ":v", false, 1500); }

}  // namespace
}  // namespace sgdscope
