#include "run/manifest.h"

#include <ATen/Version.h>
#include <sys/resource.h>
#include <torch/version.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "core/blas.h"
#include "core/commit.h"
#include "core/error.h"
#include "core/files.h"
#include "kernels/kernels.h"

namespace sgdscope {
namespace {

std::string CpuName() {
  try {
    const std::string info = ReadFile("/proc/cpuinfo");
    const size_t key = info.find("model name");
    if (key == std::string::npos) return "";
    const size_t begin = info.find(": ", key) + 2;
    return info.substr(begin, info.find('\n', begin) - begin);
  } catch (const Error&) {
    return "";
  }
}

/// The instruction set of LibTorch's own kernels, from its description of itself: older versions
/// have no function for it.
std::string CpuCapability() {
  const std::string config = at::show_config();
  const std::string key = "CPU capability usage: ";
  const size_t found = config.find(key);
  if (found == std::string::npos) return "unknown";
  const size_t begin = found + key.size();
  return config.substr(begin, config.find_first_of("\n,", begin) - begin);
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

Json Versions() {
  Json versions;
  versions["sgdscope"] = SGDSCOPE_VERSION;
  versions["commit"] = Commit();
  versions["libtorch"] = TORCH_VERSION;
  versions["blas"] = BlasDescription();
  versions["cpu_capability"] = CpuCapability();
  versions["kernels"] = kernels::InstructionSet();
  versions["cuda"] = at::hasCUDA() ? at::detail::getCUDAHooks().showConfig() : "none";
  return versions;
}

std::vector<std::string> LabelsOf(const ChoiceList<Probe>& probes) {
  std::vector<std::string> labels;
  for (const auto& probe : probes.choices()) labels.push_back((*probe)->label());
  return labels;
}

/// The files may have moved; their content may not have changed.
std::vector<Json> ChecksumsOf(const Json& files) {
  std::vector<Json> checksums;
  for (const Json& file : files) {
    checksums.push_back(file.is_object() && file.contains("crc32") ? file["crc32"] : Json());
  }
  return checksums;
}

}  // namespace

int64_t PeakMemory() {
  // What getrusage tells is never less than what the process had that started this program.
  std::ifstream status("/proc/self/status");
  const std::string key = "VmHWM:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::stoll(line.substr(key.size())) * 1024;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

std::optional<Json> ReadManifest(const std::filesystem::path& path) {
  if (!Exists(path)) return std::nullopt;
  Json json = Json::parse(ReadFile(path, ErrorKind::kResource, kMakeReadable), nullptr,
                          /*allow_exceptions=*/false);
  const auto holds = [&](const char* key, auto is_type) {
    return json.is_object() && json.contains(key) && (json[key].*is_type)();
  };
  if (!holds("status", &Json::is_string) || !holds("steps_done", &Json::is_number_integer) ||
      !holds("wall_seconds", &Json::is_number) || !holds("versions", &Json::is_object) ||
      !json["versions"].contains("sgdscope")) {
    return std::nullopt;
  }
  return json;
}

bool BeginsManifest(std::string_view text) {
  constexpr std::string_view kBegin = "{\n  \"status\": \"";
  return text.starts_with(kBegin) || kBegin.starts_with(text);
}

Manifest::Manifest(std::filesystem::path path, const RunConfig& config)
    : path_(std::move(path)), times_(LabelsOf(config.probes)) {
  facts_["device"] = config.device;
  facts_["cpu"] = CpuName();
  facts_["host"] = HostName();
  facts_["threads"] = config.threads;
  facts_["versions"] = Versions();
}

std::string Manifest::ContinueFrom(const Json& earlier) {
  earlier_seconds_ = earlier["wall_seconds"].get<double>();
  steps_done_ = earlier["steps_done"].get<int64_t>();
  if (earlier.contains("seconds")) times_.Add(earlier["seconds"]);
  for (const char* key : {"data", "fork", "init"}) {
    if (earlier.contains(key)) facts_[key] = earlier[key];
  }
  return ChangesSince(earlier);
}

std::string Manifest::ChangesSince(const Json& earlier) const {
  std::string changes;
  for (const char* key : {"cpu", "versions"}) {
    if (!earlier.contains(key) || earlier[key] == facts_[key]) continue;
    changes += std::string(changes.empty() ? "" : "; ") + key + " was " + earlier[key].dump() +
               ", is " + facts_[key].dump();
  }
  return changes;
}

bool Manifest::HasDataOf(const Json& other) const {
  return other.contains("data") && ChecksumsOf(other["data"]) == ChecksumsOf(facts_["data"]);
}

void Manifest::SetData(const LoadedData& data) {
  Json list = Json::array();
  for (const FileRecord& file : data.files) {
    list.push_back({{"path", file.path}, {"bytes", file.bytes}, {"crc32", file.crc32}});
  }
  if (facts_.contains("data") && ChecksumsOf(facts_["data"]) != ChecksumsOf(list)) {
    throw Error(
        ErrorKind::kData, "data",
        "the files are not those that this run began with: " + facts_["data"].dump() + " then, " +
            list.dump() + " now",
        "Bring the old files back, or start a new run with --overwrite or --output FOLDER.");
  }
  facts_["data"] = list;
  if (data.train.corrupt.defined()) {
    facts_["corrupt_examples"] = data.train.corrupt.sum().item<int64_t>();
  }
}

void Manifest::Write(const std::string& status, const std::string& reason, int64_t steps_done) {
  const std::chrono::duration<double> here = std::chrono::steady_clock::now() - start_;
  steps_done_ = steps_done;
  Json manifest;
  manifest["status"] = status;
  manifest["reason"] = reason;
  manifest["steps_done"] = steps_done;
  manifest["wall_seconds"] = earlier_seconds_ + here.count();
  manifest["seconds"] = times_.ToJson();
  if (facts_["device"] != "cpu") manifest["seconds"]["clock"] = "host";
  manifest["peak_memory_bytes"] = PeakMemory();
  manifest.update(facts_);
  WriteFileAtomically(path_, manifest.dump(2) + "\n");
  written_ = true;
}

void Manifest::Fail(const std::string& reason) {
  if (written_) Write("failed", reason, steps_done_);
}

}  // namespace sgdscope
