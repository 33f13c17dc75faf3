#include "run/describe.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "tests/data/data_files.h"
#include "tests/expect_error.h"
#include "tests/run/small_run.h"
#include "tests/shipped_configs.h"
#include "tests/temp_folder.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

std::string Described(const Json& json) {
  const auto config = ReadRunConfig(json);
  std::string text;
  Describe(*config, [&](const std::string& part) { text += part; });
  return text;
}

Json ShippedConfig(const std::string& path) {
  return ParseConfig(ReadFile(SGDSCOPE_SOURCE_DIR "/configs/" + path), path);
}

/// Data sets of their published sizes, with nothing but zeros in them, which take no space.
class ZeroData {
 public:
  ZeroData() {
    for (const auto& [stem, count] : {std::pair{"train", 60'000}, std::pair{"t10k", 10'000}}) {
      const std::string size = BigEndian(static_cast<uint32_t>(count));
      Write(stem + std::string("-images-idx3-ubyte"),
            BigEndian(0x803) + size + BigEndian(28) + BigEndian(28), 16 + count * 28 * 28);
      Write(stem + std::string("-labels-idx1-ubyte"), BigEndian(0x801) + size, 8 + count);
    }
    for (int i = 1; i <= 5; ++i) {
      Write("data_batch_" + std::to_string(i) + ".bin", "", 10'000 * 3073);
    }
    Write("test_batch.bin", "", 10'000 * 3073);
    Write("train.bin", "", 50'000 * 3074);
    Write("test.bin", "", 10'000 * 3074);
  }

  std::string path() const { return folder_.path().string(); }

 private:
  void Write(const std::string& name, const std::string& header, int64_t size) {
    WriteBytes(folder_ / name, header);
    fs::resize_file(folder_ / name, static_cast<uintmax_t>(size));
  }

  TempFolder folder_;
};

TEST(Describe, TakesProbesOfTheTestSet) {
  const std::string text = Described(ShippedConfig("generalization_gap/linear.json"));
  EXPECT_NE(text.find("ms a step"), std::string::npos) << text;
}

TEST(Describe, ShowsWhatIsKnownBeforeStepsAreTimed) {
  const auto config = ReadRunConfig(SmallConfig());
  std::vector<std::string> parts;
  Describe(*config, [&](const std::string& part) { parts.push_back(part); });
  ASSERT_GT(parts.size(), 2u);
  EXPECT_NE(parts[0].find("212 in all"), std::string::npos) << parts[0];
  EXPECT_EQ(parts[0].find("ms a step"), std::string::npos) << parts[0];
}

/// "process now at most 1.5 GiB", in MiB.
double PeakOf(const std::string& text) {
  const std::string before = "process now at most ";
  const size_t place = text.find(before);
  EXPECT_NE(place, std::string::npos) << text;
  const std::string rest = text.substr(place + before.size());
  const double number = std::stod(rest);
  return rest.substr(rest.find(' ') + 1).starts_with("GiB") ? 1024 * number : number;
}

/// 1000 examples at once, whatever the batches are, unless there are pieces.
TEST(Describe, MemoryCountsEvaluations) {
  const TempFolder folder;
  Json config = SmallConfig();
  config["batch_size"] = 1;
  config["model"]["hidden"] = {60000};  // 229 MiB for 1000 examples
  config["data"]["train_size"] = 1000;
  const std::string path = WriteConfig(folder, config);
  const auto peak = [&](const std::string& change) {
    const Ended ended = RunProgram({"describe", path, "--set", change});
    EXPECT_EQ(ended.status, 0) << ended.err;
    return PeakOf(ended.out);
  };
  const double whole = peak("seed=3");
  EXPECT_GT(whole, peak("data.train_size=10") + 150);
  EXPECT_GT(whole, peak("piece_size=10") + 150);
}

TEST(Describe, ATemporaryFolderThatIsNotThereIsNamed) {
  const char* const old = std::getenv("TMPDIR");
  const std::string kept = old == nullptr ? "" : old;
  setenv("TMPDIR", "/no/such", 1);
  const auto config = ReadRunConfig(SmallConfig());
  ExpectError(ErrorKind::kResource, {"TMPDIR: '/no/such' is not a folder", "unset it"},
              [&] { Describe(*config, [](const std::string&) {}); });
  if (old == nullptr) {
    unsetenv("TMPDIR");
  } else {
    setenv("TMPDIR", kept.c_str(), 1);
  }
}

// The networks that take long are made narrow.
TEST(DescribeSlow, TakesEveryShippedConfig) {
  const ZeroData data;
  for (const fs::path& path : ShippedConfigs()) {
    SCOPED_TRACE(path.string());
    Json json = ParseConfig(ReadFile(path), path.string());
    if (json["data"]["name"] != "synthetic") json["data"]["path"] = data.path();
    const std::string model = json["model"]["name"];
    if (model.starts_with("alexnet") || model == "resnet18" || model == "wide_resnet50_2") {
      json["model"]["channels"] = 2;
    }
    const std::string text = Described(json);
    EXPECT_NE(text.find("ms a step"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace sgdscope
