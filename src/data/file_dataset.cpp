#include "data/file_dataset.h"

#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "data/distinct.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

// Whether there is no such file. One that the system cannot look at counts as there: opening it
// tells why.
bool IsAbsent(const fs::path& file) {
  std::error_code unknown;
  return fs::status(file, unknown).type() == fs::file_type::not_found;
}

// The file by the first of its spellings that is there; empty if none is.
fs::path FindUsual(const fs::path& folder, const std::vector<std::string>& spellings) {
  for (const std::string& name : spellings) {
    if (!IsAbsent(folder / name)) return folder / name;
  }
  return {};
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

void CheckLimit(const std::string& path, const char* split, int64_t limit, int64_t size) {
  if (limit <= size) return;
  throw Error(ErrorKind::kConfig, path + "." + split + "_limit",
              std::to_string(limit) + " is more than the " + std::to_string(size) +
                  " examples of the " + split + " files",
              "Leave it out to use them all.");
}

}  // namespace

void FileDataset::OwnFields(FieldVisitor& visitor) {
  std::string folders;
  for (const fs::path& folder : usual_.folders) {
    folders += (folders.empty() ? "" : " or ") + folder.string();
  }
  const std::string order = usual_.part.size() > 1 ? " (" + Joined(usual_.part) + ", ...)" : "";
  visitor.Visit({.name = "path", .help = "folder of the files; empty: " + folders}, path_);
  visitor.Visit({.name = "train_files",
                 .help = "training files, relative to path" + order + "; empty: the usual names"},
                train_files_);
  visitor.Visit({.name = "test_files",
                 .help = "test files, relative to path" + order + "; empty: the usual names"},
                test_files_);
  constexpr double kMostExamples = 1e12;  // so that their product with the epochs can't overflow
  visitor.Visit({.name = "train_limit",
                 .help = "use only the first so many training examples",
                 .min = 1,
                 .max = kMostExamples},
                train_limit_);
  visitor.Visit({.name = "train_draw",
                 .help = "draw these train_limit examples at random from all, by the seed, in "
                         "place of the first ones: each seed has a training set of its own",
                 .paper = "generalization_gap, section 2"},
                train_draw_);
  visitor.Visit({.name = "test_limit",
                 .help = "use only the first so many test examples",
                 .min = 1,
                 .max = kMostExamples},
                test_limit_);
}

DataShape FileDataset::Shape(const std::string& path) const {
  for (const Wanted& wanted : {train(), test()}) {
    if (wanted.named.size() % usual_.part.size() == 0) continue;
    throw Error(ErrorKind::kConfig, path + "." + wanted.split + "_files",
                std::to_string(wanted.named.size()) + " files, but they come in groups of " +
                    std::to_string(usual_.part.size()) + ": " + Joined(usual_.part));
  }
  if (train_draw_ && !train_limit_) {
    throw Error(ErrorKind::kConfig, path + ".train_draw",
                "all training examples are taken, so that there is nothing to draw",
                "Give " + path + ".train_limit, or leave it out.");
  }
  return {Count(train(), path), Count(test(), path), shape(), classes()};
}

void FileDataset::Resolve() { path_ = Folder().string(); }

LoadedData FileDataset::Load(uint64_t seed) const {
  // Both lists are looked up before the first byte is read: a missing file shows at once.
  Find(train());
  Find(test());
  LoadedData data;
  data.train = Read(train(), seed, data.files);
  data.test = Read(test(), seed, data.files);
  return data;
}

fs::path FileDataset::Folder() const {
  if (!path_.empty()) return path_;
  for (const fs::path& folder : usual_.folders) {
    if (!FindUsual(folder, usual_.train.front()).empty()) return folder;
  }
  return usual_.folders.front();
}

std::vector<fs::path> FileDataset::Find(const Wanted& wanted) const {
  const std::string field = std::string("data.") + wanted.split + "_files";
  const fs::path folder = Folder();
  std::vector<fs::path> files;
  for (const std::string& name : wanted.named) {
    files.push_back(folder / name);
    if (!IsAbsent(files.back())) continue;
    throw Error(ErrorKind::kData, files.back().string(), "there is no such file",
                "It is named in " + field + "; names there are relative to data.path.");
  }
  if (!files.empty()) return files;
  for (const Spellings& spellings : wanted.usual) {
    files.push_back(FindUsual(folder, spellings));
    if (!files.back().empty()) continue;
    throw Error(ErrorKind::kData, folder.string(),
                std::string("a ") + wanted.split + " file of " + usual_.name +
                    " is missing: found none of " + Joined(spellings),
                "scripts/download_data.sh " + usual_.name + " fetches the set; data.path names " +
                    "another folder, " + field + " other files.");
  }
  return files;
}

int64_t FileDataset::Count(const Wanted& wanted, const std::string& path) const {
  int64_t count = 0;
  try {
    const std::vector<fs::path> files = Find(wanted);
    const size_t step = usual_.part.size();
    for (size_t i = 0; i < files.size(); i += step) {
      count += CountPart(Files(files).subspan(i, step));
    }
  } catch (const Error&) {
    // Load tells what is wrong: without the data a config can still be checked.
    return wanted.limit.value_or(0);
  }
  if (!wanted.limit) return count;
  CheckLimit(path, wanted.split, *wanted.limit, count);
  return *wanted.limit;
}

Split FileDataset::Read(const Wanted& wanted, uint64_t seed,
                        std::vector<FileRecord>& records) const {
  const std::vector<fs::path> files = Find(wanted);
  const std::string hint =
      wanted.named.empty()
          ? "scripts/download_data.sh " + usual_.name + " fetches the file anew."
          : std::string("Check data.") + wanted.split + "_files, which names this file.";
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> labels;
  const size_t step = usual_.part.size();
  for (size_t i = 0; i < files.size(); i += step) {
    Split part = ReadPart(Files(files).subspan(i, step), hint, records);
    inputs.push_back(std::move(part.inputs));
    labels.push_back(std::move(part.labels));
  }
  Split split =
      inputs.size() == 1 ? Split{inputs[0], labels[0]} : Split{at::cat(inputs), at::cat(labels)};
  if (!wanted.limit) return split;
  CheckLimit("data", wanted.split, *wanted.limit, split.size());
  Stream stream(seed, "train_draw", 0);
  const at::Tensor chosen = wanted.drawn ? DrawDistinct(stream, *wanted.limit, split.size())
                                         : at::arange(*wanted.limit, at::kLong);
  // Copies, so that the memory of the others is freed.
  return {split.inputs.index_select(0, chosen), split.labels.index_select(0, chosen)};
}

}  // namespace sgdscope
