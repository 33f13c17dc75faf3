#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/array_file.h"
#include "tests/data/array_files.h"
#include "tests/expect_error.h"
#include "tests/temp_folder.h"
#include "tests/tensors.h"

namespace sgdscope {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A folder with 6 training and 3 test examples of shape [2, 2] in float32, of 3 classes.
class ArrayFiles : public ::testing::Test {
 protected:
  ArrayFiles() {
    Write("train_inputs.npy", Inputs(6));
    Write("train_labels.npy", Labels({2, 0, 1, 1, 0, 2}));
    Write("test_inputs.npy", Inputs(3, 100));
    Write("test_labels.npy", Labels({1, 2, 0}));
  }

  void Write(const std::string& name, const std::string& bytes) {
    WriteBytes(folder_ / name, bytes);
  }
  /// Numbers first, first + 1, ...
  static std::string Inputs(int64_t count, float first = 0) {
    std::vector<float> numbers(static_cast<size_t>(count * 4));
    std::iota(numbers.begin(), numbers.end(), first);
    return Npy("'<f4'", {count, 2, 2}, BytesOf(numbers));
  }
  static std::string Labels(const std::vector<int64_t>& labels) {
    return Npy("'<i8'", {static_cast<int64_t>(labels.size())}, BytesOf(labels));
  }
  Choice<Dataset> Make(Json fields = Json::object()) {
    fields["path"] = folder_.path().string();
    if (!fields.contains("normalize")) fields["normalize"] = "none";
    return MakeDataset("arrays", fields);
  }
  LoadedData Load(const Json& fields = Json::object(), uint64_t seed = 0) {
    return Make(fields)->Load(seed);
  }
  /// Where these bytes are the file of this name, loading is an error of kind kData; so is the
  /// first look at the shape, or it knows nothing of the number of examples.
  void Refuse(const std::string& name, const std::string& bytes,
              const std::vector<std::string>& parts, Json fields = Json::object()) {
    SCOPED_TRACE(parts.back());
    Write("bad_" + name, bytes);
    if (name == "inputs.npy") fields["train_files"] = {"bad_inputs.npy", "train_labels.npy"};
    if (name == "labels.npy") fields["train_files"] = {"train_inputs.npy", "bad_labels.npy"};
    std::vector<std::string> all = {(folder_ / ("bad_" + name)).string()};
    all.insert(all.end(), parts.begin(), parts.end());
    ExpectError(ErrorKind::kData, all, [&] { Load(fields); });
  }

  TempFolder folder_;
};

TEST_F(ArrayFiles, AreReadByTheirUsualNames) {
  const LoadedData data = Load();
  EXPECT_EQ(data.train.inputs.sizes().vec(), (std::vector<int64_t>{6, 2, 2}));
  EXPECT_TRUE(data.train.inputs.equal(at::arange(24, at::kFloat).view({6, 2, 2})));
  EXPECT_TRUE(data.test.inputs.equal(at::arange(100, 112, at::kFloat).view({3, 2, 2})));
  EXPECT_TRUE(data.train.labels.equal(at::tensor({2, 0, 1, 1, 0, 2}, at::kLong)));
  EXPECT_TRUE(data.test.labels.equal(at::tensor({1, 2, 0}, at::kLong)));
  EXPECT_TRUE(data.warnings.empty());
  const DataShape shape = Make()->Shape("data");
  EXPECT_EQ(shape.train_size, 6);
  EXPECT_EQ(shape.test_size, 3);
  EXPECT_EQ(shape.shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(shape.classes, 3);
  EXPECT_EQ(Make({{"classes", 7}})->Shape("data").classes, 7);
  EXPECT_EQ(Make()->InputType(), at::kFloat);
}

/// The same numbers in all formats: .npy of each version, .npz stored, deflated and large, and
/// safetensors.
template <class Number>
void ExpectRead(const std::string& descr, const std::string& dtype,
                const std::vector<Number>& numbers, const std::string& name) {
  SCOPED_TRACE(dtype);
  const TempFolder folder;
  const auto count = static_cast<int64_t>(numbers.size());
  const std::string bytes = BytesOf(numbers);
  const std::string other = Npy("'<f8'", {1}, BytesOf<double>({7}));
  const std::vector<int64_t> shape = {1, count};
  std::map<std::string, std::string> files = {{"1.npy", Npy(descr, shape, bytes)},
                                              {"2.npy", Npy(descr, shape, bytes, 2)},
                                              {"3.npy", Npy(descr, shape, bytes, 3)}};
  const std::map<std::string, std::string> members = {
      {"a.npy", other}, {"x.npy", files["1.npy"]}, {"z.npy", other}};
  files["stored.npz:x"] = Zip(members, false);
  files["deflated.npz:x"] = Zip(members, true);
  files["large.npz:x"] = Zip(members, true, true);
  files["t.safetensors:x"] = Safetensors({{"a", {"F64", {1}, BytesOf<double>({7})}},
                                          {"x", {dtype, shape, bytes}},
                                          {"z", {"U8", {0}, ""}}});
  for (const auto& [place, content] : files) {
    SCOPED_TRACE(place);
    WriteBytes(ArrayPlace(folder / place).file, content);
    ArrayFile array(folder / place, "");
    EXPECT_EQ(array.shape(), shape);
    EXPECT_EQ(array.type_name(), name);
    std::vector<double> found(numbers.size());
    array.Read(found.data(), 1);
    array.Read(found.data() + 1, count - 1);
    array.ExpectEnd();
    for (size_t i = 0; i < numbers.size(); ++i) {
      EXPECT_EQ(found[i], static_cast<double>(numbers[i]));
    }
  }
}

template <class Number>
std::vector<Number> Extremes() {
  return {std::numeric_limits<Number>::lowest(), 0, 1, 2, 100, std::numeric_limits<Number>::max()};
}

TEST(ArrayFormats, NumbersOfEveryType) {
  ExpectRead<uint8_t>("'|b1'", "BOOL", {0, 1, 1, 0}, "bool");
  ExpectRead("'|u1'", "U8", Extremes<uint8_t>(), "uint8");
  ExpectRead("'|i1'", "I8", Extremes<int8_t>(), "int8");
  ExpectRead("'<u2'", "U16", Extremes<uint16_t>(), "uint16");
  ExpectRead("'<i2'", "I16", Extremes<int16_t>(), "int16");
  ExpectRead("'<u4'", "U32", Extremes<uint32_t>(), "uint32");
  ExpectRead("'<i4'", "I32", Extremes<int32_t>(), "int32");
  ExpectRead("'<u8'", "U64", Extremes<uint64_t>(), "uint64");
  ExpectRead("'<i8'", "I64", Extremes<int64_t>(), "int64");
  ExpectRead("'<f4'", "F32", Extremes<float>(), "float32");
  ExpectRead("'<f8'", "F64", Extremes<double>(), "float64");
}

TEST(ArrayFormats, ManyBlocks) {
  std::vector<float> numbers(700'000);  // 2.8 MB: more than two blocks
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = std::sin(static_cast<float>(i));
  ExpectRead("'<f4'", "F32", numbers, "float32");
}

TEST_F(ArrayFiles, InputsKeepTheirNumbersInTheSmallestType) {
  const auto type = [&](const std::string& descr, int bytes) {
    Write("x.npy", Npy(descr, {6, 4}, std::string(static_cast<size_t>(24 * bytes), '\0')));
    const Json fields = {{"train_files", {"x.npy", "train_labels.npy"}},
                         {"split", {{"share", 0.5}}}};
    EXPECT_EQ(Load(fields).train.inputs.scalar_type(), Make(fields)->InputType());
    return Make(fields)->InputType();
  };
  EXPECT_EQ(type("'|u1'", 1), at::kByte);
  for (const std::string descr : {"'|b1'", "'|i1'"}) EXPECT_EQ(type(descr, 1), at::kFloat);
  for (const std::string descr : {"'<u2'", "'<i2'"}) EXPECT_EQ(type(descr, 2), at::kFloat);
  EXPECT_EQ(type("'<f4'", 4), at::kFloat);
  for (const std::string descr : {"'<u4'", "'<i4'"}) EXPECT_EQ(type(descr, 4), at::kDouble);
  for (const std::string descr : {"'<u8'", "'<i8'", "'<f8'"}) {
    EXPECT_EQ(type(descr, 8), at::kDouble);
  }
}

TEST_F(ArrayFiles, OneArchiveMayHoldAllArrays) {
  Write("all.npz", Zip({{"x_train.npy", Inputs(6)},
                        {"y_train.npy", Labels({2, 0, 1, 1, 0, 2})},
                        {"x_test.npy", Inputs(3, 100)},
                        {"y_test.npy", Labels({1, 2, 0})}},
                       true));
  const LoadedData data = Load({{"train_files", {"all.npz:x_train", "all.npz:y_train"}},
                                {"test_files", {"all.npz:x_test", "all.npz:y_test"}}});
  const LoadedData plain = Load();
  EXPECT_TRUE(data.train.inputs.equal(plain.train.inputs));
  EXPECT_TRUE(data.test.labels.equal(plain.test.labels));
  ASSERT_EQ(data.files.size(), 1u);
  EXPECT_EQ(data.files[0].path, (folder_ / "all.npz").string());
  std::ifstream file(folder_ / "all.npz", std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(data.files[0].bytes, static_cast<int64_t>(bytes.size()));
  const auto crc = crc32(crc32(0, nullptr, 0), reinterpret_cast<const Bytef*>(bytes.data()),
                         static_cast<uInt>(bytes.size()));
  EXPECT_EQ(std::stoul(data.files[0].crc32, nullptr, 16), crc);
  EXPECT_EQ(plain.files.size(), 4u);
}

TEST_F(ArrayFiles, UsualNamesMayBeThoseOfArchives) {
  const LoadedData plain = Load();
  for (const std::string name : {"train", "test"}) {
    for (const std::string part : {"inputs", "labels"}) {
      std::filesystem::remove(folder_ / (name + "_" + part + ".npy"));
    }
  }
  Write("train.npz",
        Zip({{"inputs.npy", Inputs(6)}, {"labels.npy", Labels({2, 0, 1, 1, 0, 2})}}, false));
  Write("test.safetensors", Safetensors({{"inputs", {"F32", {3, 2, 2}, Inputs(3, 100).substr(128)}},
                                         {"labels", {"I64", {3}, BytesOf<int64_t>({1, 2, 0})}}}));
  const LoadedData data = Load();
  EXPECT_TRUE(data.train.inputs.equal(plain.train.inputs));
  EXPECT_TRUE(data.train.labels.equal(plain.train.labels));
  EXPECT_TRUE(data.test.inputs.equal(plain.test.inputs));
  EXPECT_TRUE(data.test.labels.equal(plain.test.labels));
}

TEST_F(ArrayFiles, ListedFilesAreJoinedInOrder) {
  const Json fields = {
      {"train_files",
       {"test_inputs.npy", "test_labels.npy", "train_inputs.npy", "train_labels.npy"}}};
  const LoadedData data = Load(fields);
  EXPECT_TRUE(data.train.labels.equal(at::tensor({1, 2, 0, 2, 0, 1, 1, 0, 2}, at::kLong)));
  EXPECT_TRUE(data.train.inputs.narrow(0, 3, 6).equal(at::arange(24, at::kFloat).view({6, 2, 2})));
  EXPECT_EQ(Make(fields)->Shape("data").train_size, 9);
}

TEST_F(ArrayFiles, LabelsOfAnyIntegerTypeAndAsAColumn) {
  const auto expect = [&](const std::string& bytes) {
    Write("y.npy", bytes);
    const LoadedData data = Load({{"train_files", {"train_inputs.npy", "y.npy"}}});
    EXPECT_TRUE(data.train.labels.equal(at::tensor({2, 0, 1, 1, 0, 2}, at::kLong)));
  };
  expect(Npy("'|u1'", {6}, BytesOf<uint8_t>({2, 0, 1, 1, 0, 2})));
  expect(Npy("'|i1'", {6, 1}, BytesOf<int8_t>({2, 0, 1, 1, 0, 2})));
  expect(Npy("'<i4'", {6}, BytesOf<int32_t>({2, 0, 1, 1, 0, 2})));
  expect(Npy("'<u8'", {6, 1}, BytesOf<uint64_t>({2, 0, 1, 1, 0, 2})));
}

// ---- Targets

TEST_F(ArrayFiles, FloatingPointLabelsAreTargets) {
  const std::vector<float> floats = {0.5, -1, 2, 1e20F, 0, 3};
  const std::vector<double> doubles = {0.5, -1, 2, 1e300, 0, 3};
  Write("f4.npy", Npy("'<f4'", {6}, BytesOf(floats)));
  Write("f8.npy", Npy("'<f8'", {6, 1}, BytesOf(doubles)));
  Write("rows.npy", Npy("'<f8'", {3, 2}, BytesOf(doubles)));
  const auto fields = [](const std::string& labels) {
    return Json{{"train_files", {"train_inputs.npy", labels}}, {"split", {{"share", 0.5}}}};
  };
  for (const std::string file : {"f4.npy", "f8.npy"}) {
    const LoadedData data = Load(fields(file));
    EXPECT_TRUE(data.train.HasTargets());
    EXPECT_EQ(data.train.labels.scalar_type(), file == "f4.npy" ? at::kFloat : at::kDouble);
    // Each with the inputs of its example.
    const at::Tensor inputs = at::cat({data.train.inputs, data.test.inputs});
    const at::Tensor places = inputs.flatten(1).select(1, 0).div(4).to(at::kLong);
    const at::Tensor expected =
        file == "f4.npy" ? at::tensor(floats, at::kFloat) : at::tensor(doubles, at::kDouble);
    EXPECT_TRUE(at::cat({data.train.labels, data.test.labels})
                    .equal(expected.view({6, 1}).index_select(0, places)));
    const DataShape shape = Make(fields(file))->Shape("data");
    EXPECT_TRUE(shape.has_targets);
    EXPECT_EQ(shape.classes, 1);
    EXPECT_EQ(Make(fields(file))->LabelType(), data.train.labels.scalar_type());
  }
  const Json rows = {{"train_files", {"test_inputs.npy", "rows.npy"}}, {"split", {{"share", 0.4}}}};
  EXPECT_EQ(Make(rows)->Shape("data").classes, 2);
  const LoadedData data = Load(rows);
  EXPECT_EQ(data.train.labels.sizes(), at::IntArrayRef({2, 2}));
  EXPECT_EQ(data.test.labels.sizes(), at::IntArrayRef({1, 2}));
  EXPECT_FALSE(Load().train.HasTargets());
  EXPECT_FALSE(Make()->Shape("data").has_targets);
  EXPECT_EQ(Make()->LabelType(), at::kLong);
}

TEST_F(ArrayFiles, TargetsThatCannotBe) {
  const auto targets = [](const std::vector<int64_t>& shape, double value = 1) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    std::vector<double> numbers(static_cast<size_t>(count), 1);
    if (!numbers.empty()) numbers.back() = value;
    return Npy("'<f8'", shape, BytesOf(numbers));
  };
  const auto in_shape = [&](const std::vector<int64_t>& shape, const std::string& text) {
    Refuse("labels.npy", targets(shape), {text, "float64", "[6, k]", "reshape(len(y), -1)"});
  };
  in_shape({5}, "shape [5]");
  in_shape({}, "shape []");
  in_shape({6, 0}, "shape [6, 0]");
  in_shape({6, 2, 2}, "shape [6, 2, 2]");
  Refuse("labels.npy", targets({6, 2}, kInfinity), {"inf at [5, 1]", "finite"});
  Refuse("labels.npy", targets({6}, std::nan("")), {"nan at [5]", "finite"});
  // All files have as many.
  Write("y.npy", targets({6, 2}));
  const Json fields = {{"train_files", {"train_inputs.npy", "y.npy"}}};
  ExpectError(ErrorKind::kData,
              {(folder_ / "test_labels.npy").string(), "int64 [3]", "targets", "float64 [6, 2]"},
              [&] { Load(fields); });
  Write("test_labels.npy", targets({3}));
  ExpectError(ErrorKind::kData,
              {(folder_ / "test_labels.npy").string(), "float64 [3]", "float64 [6, 2]"},
              [&] { Load(fields); });
  Write("test_labels.npy", targets({3, 2}));
  EXPECT_EQ(Load(fields).test.labels.sizes(), at::IntArrayRef({3, 2}));
  Json classes = fields;
  classes["classes"] = 2;
  ExpectError(ErrorKind::kConfig, {"data.classes", "targets", "Leave it out", "astype"},
              [&] { Make(classes)->Shape("data"); });
}

// ---- The split

TEST_F(ArrayFiles, ASplitTakesTheTestSetFromTheTrainingFiles) {
  const LoadedData whole = Load();
  std::vector<oracle::Vector> tests;
  for (int64_t split_seed = 0; split_seed < 20; ++split_seed) {
    const Json fields = {{"split", {{"share", 0.3}, {"seed", split_seed}}}};
    const DataShape shape = Make(fields)->Shape("data");
    EXPECT_EQ(shape.train_size, 4);
    EXPECT_EQ(shape.test_size, 2);  // round(1.8)
    const LoadedData data = Load(fields, 1);
    EXPECT_TRUE(
        SameBits(data.test.inputs, Load(fields, 2).test.inputs));  // whatever the run's seed
    ASSERT_EQ(data.train.size(), 4);
    ASSERT_EQ(data.test.size(), 2);
    // Each example once, with its label, and those of each set in their order.
    const at::Tensor inputs = at::cat({data.train.inputs, data.test.inputs});
    const at::Tensor places = inputs.flatten(1).select(1, 0).div(4).to(at::kLong);
    EXPECT_TRUE(std::get<0>(places.sort()).equal(at::arange(6, at::kLong)));
    EXPECT_TRUE(inputs.equal(whole.train.inputs.index_select(0, places)));
    EXPECT_TRUE(at::cat({data.train.labels, data.test.labels})
                    .equal(whole.train.labels.index_select(0, places)));
    for (const Split* split : {&data.train, &data.test}) {
      const auto order = ToVector(split->inputs.flatten(1).select(1, 0));
      EXPECT_TRUE(std::ranges::is_sorted(order));
    }
    tests.push_back(ToVector(data.test.inputs));
  }
  std::ranges::sort(tests);
  EXPECT_GT(std::unique(tests.begin(), tests.end()) - tests.begin(), 5);
}

TEST_F(ArrayFiles, LimitsHoldWithinTheSplit) {
  Json fields = {{"split", {{"share", 0.5}}}, {"train_limit", 2}, {"test_limit", 1}};
  const LoadedData whole = Load({{"split", {{"share", 0.5}}}});
  const LoadedData data = Load(fields);
  EXPECT_TRUE(data.train.inputs.equal(whole.train.inputs.narrow(0, 0, 2)));
  EXPECT_TRUE(data.test.labels.equal(whole.test.labels.narrow(0, 0, 1)));
  EXPECT_EQ(Make(fields)->Shape("data").train_size, 2);
  fields["train_limit"] = 4;
  ExpectError(ErrorKind::kConfig, {"data.train_limit", "4", "3"},
              [&] { Make(fields)->Shape("data"); });
}

TEST_F(ArrayFiles, SplitsThatCannotBe) {
  const auto refuse = [&](const Json& fields, const std::vector<std::string>& parts) {
    ExpectError(ErrorKind::kConfig, parts, [&] { Make(fields)->Shape("data"); });
  };
  refuse({{"split", {{"share", 0.01}}}}, {"data.split.share", "6 examples", "none"});
  refuse({{"split", {{"share", 0.99}}}}, {"data.split.share", "6 examples", "all"});
  refuse({{"split", {{"share", 1}}}}, {"data.split.share", "1"});
  refuse({{"split", Json::object()}}, {"data.split.share", "missing"});
  refuse({{"split", {{"share", 0.5}}}, {"test_files", {"test_inputs.npy", "test_labels.npy"}}},
         {"data.split", "test_files"});
}

// ---- What is refused

TEST_F(ArrayFiles, NumbersThatAreNotFinite) {
  std::vector<double> numbers(24, 1.5);
  const std::vector<std::string> names = {"nan", "inf", "-inf"};
  const std::vector<double> values = {std::nan(""), kInfinity, -kInfinity};
  for (size_t i = 0; i < values.size(); ++i) {
    numbers[14] = values[i];
    const std::string at = names[i] + " at [3, 1, 0], expected finite";
    Refuse("inputs.npy", Npy("'<f8'", {6, 2, 2}, BytesOf(numbers)), {at});
    const std::vector<float> floats(numbers.begin(), numbers.end());
    Refuse("inputs.npy", Npy("'<f4'", {6, 2, 2}, BytesOf(floats)), {at});
  }
  Write("bad.npz", Zip({{"x.npy", Npy("'<f8'", {6, 2, 2}, BytesOf(numbers))}}, true));
  ExpectError(ErrorKind::kData, {(folder_ / "bad.npz:x").string(), "-inf at [3, 1, 0]"},
              [&] { Load({{"train_files", {"bad.npz:x", "train_labels.npy"}}}); });
}

TEST_F(ArrayFiles, LabelsThatCannotBe) {
  Refuse("labels.npy", Labels({0, 1, -1, 1, 0, 2}), {"the label -1 at [2]", "0 to 2"});
  Refuse("labels.npy", Labels({0, 1, 3, 1, 0, 2}), {"the label 3 at [2]", "0 to 2", "data.classes"},
         {{"classes", 3}});
  Refuse("labels.npy", Labels({0, 1, 2, 1, 0}), {"shape [5]", "expected [6]", "example"});
  Refuse("labels.npy", Npy("'<i8'", {6, 3}, std::string(144, '\0')), {"[6, 3]", "argmax"});
  Refuse("labels.npy", Npy("'<i8'", {}, std::string(8, '\0')), {"shape []", "expected [6]"});
  Write("bad_labels.npy", Npy("'<f4'", {3}, std::string(12, '\0')));
  ExpectError(ErrorKind::kData,
              {(folder_ / "bad_labels.npy").string(), "float32 [3]", "integers", "astype"},
              [&] { Load({{"test_files", {"test_inputs.npy", "bad_labels.npy"}}}); });
  // The test set has no more classes than the training set tells of.
  Write("test_labels.npy", Labels({1, 3, 0}));
  ExpectError(ErrorKind::kData,
              {(folder_ / "test_labels.npy").string(), "label 3 at [1]", "0 to 2", "data.classes"},
              [&] { Load(); });
  EXPECT_EQ(Load({{"classes", 4}}).test.size(), 3);
  Write("train_labels.npy", Labels({0, 1, 1000, 1, 0, 2}));
  ExpectError(ErrorKind::kData, {"data.classes", "1000", "6 examples"},
              [&] { Make()->Shape("data"); });
  EXPECT_EQ(Load({{"classes", 1001}}).train.size(), 6);
}

TEST_F(ArrayFiles, ArraysThatWouldBeMisread) {
  const std::string numbers(96, '\0');
  Refuse("inputs.npy", Npy("'<f4'", {6, 2, 2}, numbers, 1, "True"),
         {"Fortran order", "ascontiguousarray"});
  Refuse("inputs.npy", Npy("'>f4'", {6, 2, 2}, numbers), {"'>f4'", "little-endian", "numpy.save"});
  Refuse("inputs.npy", Npy("'<f2'", {6, 2, 4}, numbers), {"'<f2'", "float32"});
  Refuse("inputs.npy", Npy("'<c8'", {6, 2}, numbers), {"'<c8'", "float32"});
  Refuse("inputs.npy", Npy("'|O'", {6, 2}, numbers), {"'|O'", "float32"});
  Refuse("inputs.npy", Npy("[('a', '<f4')]", {6, 4}, numbers), {"[('a'", "float32"});
  Refuse("inputs.npy", Npy("'<f4'", {24}, numbers), {"[24]", "reshape"});
  Refuse("inputs.npy", Npy("'<f4'", {24, 0}, ""), {"[24, 0]", "at least one number"});
  Refuse("inputs.npy", Npy("'<f4'", {0, 24}, ""), {"[0, 24]"});
  Write("t.safetensors", Safetensors({{"x", {"BF16", {6, 8}, numbers}}}));
  ExpectError(ErrorKind::kData, {(folder_ / "t.safetensors:x").string(), "BF16", "float32"},
              [&] { Load({{"train_files", {"t.safetensors:x", "train_labels.npy"}}}); });
}

TEST_F(ArrayFiles, DamagedFilesNameThePlace) {
  const std::string good = Inputs(6);
  Refuse("inputs.npy", good.substr(0, good.size() - 1), {"95 bytes", "96", "(6, 2, 2)"});
  Refuse("inputs.npy", good + "x", {"97 bytes", "96"});
  Refuse("inputs.npy", good.substr(0, 60), {"header of 118 bytes", "at most 50"});
  Refuse("inputs.npy", "", {"empty file"});
  Refuse("inputs.npy", "a,b\n1,2\n", {"another kind of file", ".npy"});
  Refuse("inputs.npy", Npy("'<f4'", {1LL << 40, 1LL << 40}, ""), {"more than there can be"});

  const std::string zip = Zip({{"x.npy", good}, {"y.npy", good}}, true);
  const auto refuse = [&](const std::string& file, const std::string& bytes,
                          const std::string& name, const std::vector<std::string>& parts) {
    Write(file, bytes);
    std::vector<std::string> all = {(folder_ / file).string() + name};
    all.insert(all.end(), parts.begin(), parts.end());
    ExpectError(ErrorKind::kData, all,
                [&] { Load({{"train_files", {file + name, "train_labels.npy"}}}); });
  };
  refuse("a.npz", zip, ":z", {"no array of this name", "x, y", "FILE.npz:NAME"});
  refuse("a.npz", zip, "", {"names no array", "x, y"});
  refuse("a.npz", zip.substr(0, zip.size() / 2), ":x", {"directory", "truncated?"});
  std::string damaged = zip;
  damaged[zip.find("PK\x03\x04", 1) - 3] ^= 0x55;  // in the last packed bytes of x
  refuse("a.npz", damaged, ":x", {"offset"});
  std::string stored = Zip({{"x.npy", good}}, false);
  stored[stored.find("NUMPY") + 130] = 1;  // one of the numbers
  refuse("a.npz", stored, ":x", {"checksum"});
  const std::string tensors = Safetensors({{"x", {"F32", {6, 4}, std::string(96, '\0')}}});
  refuse("a.safetensors", tensors, ":y", {"no array of this name", "holds: x"});
  refuse("a.safetensors", tensors.substr(0, tensors.size() - 1), ":x", {"[0,96]", "95 bytes"});
  refuse("a.safetensors", tensors.substr(0, 30), ":x", {"header of", "at most 22"});
}

TEST_F(ArrayFiles, MissingFilesAndNames) {
  ExpectError(ErrorKind::kData, {(folder_ / "none.npz").string(), "no such file", "data.path"},
              [&] { Load({{"train_files", {"none.npz:x", "none.npz:y"}}}); });
  ExpectError(ErrorKind::kConfig, {"data.train_files", "1 files", "inputs, labels"},
              [&] { Make({{"train_files", {"train_inputs.npy"}}})->Shape("data"); });
  std::filesystem::remove(folder_ / "train_labels.npy");
  const std::vector<std::string> parts = {folder_.path().string(), "train_labels.npy",
                                          "train.npz:labels", "data.train_files"};
  ExpectError(ErrorKind::kData, parts, [&] { Make()->Shape("data"); });
  ExpectError(ErrorKind::kData, parts, [&] { Load(); });
}

TEST_F(ArrayFiles, AllFilesHaveExamplesOfOneKind) {
  Write("test_inputs.npy", Npy("'<f8'", {3, 2, 2}, std::string(96, '\0')));
  ExpectError(ErrorKind::kData, {"test_inputs.npy", "float64", "float32"}, [&] { Load(); });
  Write("test_inputs.npy", Npy("'<f4'", {3, 4}, std::string(48, '\0')));
  ExpectError(ErrorKind::kData, {"test_inputs.npy", "[3, 4]", "[6, 2, 2]"}, [&] { Load(); });
}

TEST_F(ArrayFiles, OnlyBytesAreScaledAsBytes) {
  ExpectError(ErrorKind::kConfig, {"data.normalize", "unit", "none"},
              [&] { Make({{"normalize", "unit"}})->Shape("data"); });
  Write("train_inputs.npy", Npy("'|u1'", {6, 2, 2}, std::string(24, '\1')));
  Write("test_inputs.npy", Npy("'|u1'", {3, 2, 2}, std::string(12, '\1')));
  EXPECT_EQ(Make({{"normalize", "unit"}})->Shape("data").train_size, 6);
}

TEST_F(ArrayFiles, ChannelsThatComeLastAreWarnedOf) {
  const auto warnings = [&](const std::vector<int64_t>& shape, size_t bytes) {
    Write("x.npy", Npy("'|u1'", shape, std::string(bytes, '\0')));
    return Load({{"train_files", {"x.npy", "train_labels.npy"}}, {"split", {{"share", 0.5}}}})
        .warnings;
  };
  const auto told = warnings({6, 8, 9, 3}, 6 * 8 * 9 * 3);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("x.npy"), std::string::npos) << told[0];
  EXPECT_NE(told[0].find("moveaxis"), std::string::npos) << told[0];
  EXPECT_TRUE(warnings({6, 3, 8, 9}, 6 * 8 * 9 * 3).empty());
  EXPECT_TRUE(warnings({6, 3, 3, 3}, 6 * 27).empty());
}

// ---- Memory

/// The most memory that the process has had since the last reset, in bytes.
int64_t PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  }
  return 0;
}

void ResetPeakMemory() { std::ofstream("/proc/self/clear_refs") << 5; }

/// 64 MB of numbers are read with a tenth of them, which is the test set, to spare: neither the
/// file nor a copy of the set is in memory beside it.
TEST_F(ArrayFiles, TakeTheMemoryOfTheirNumbers) {
  constexpr int64_t kSize = int64_t{64} << 20;
  const int64_t count = kSize / 4 / 1024;
  const std::string numbers(static_cast<size_t>(kSize), '\1');
  Write("x.npy", Npy("'<f4'", {count, 1024}, numbers));
  Write("x.npz", Zip({{"x.npy", Npy("'<f4'", {count, 1024}, numbers)}}, true));
  Write("y.npy", Npy("'|u1'", {count}, std::string(static_cast<size_t>(count), '\1')));
  for (const std::string place : {"x.npy", "x.npz:x"}) {
    ResetPeakMemory();
    const int64_t before = PeakMemory();
    const LoadedData data = Load({{"train_files", {place, "y.npy"}}, {"split", {{"share", 0.1}}}});
    EXPECT_EQ(data.train.size() + data.test.size(), count);
    EXPECT_LT(PeakMemory() - before, kSize + kSize / 2) << place;  // a sanitizer takes some, too
  }
}

}  // namespace
}  // namespace sgdscope
