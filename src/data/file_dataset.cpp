#include "data/file_dataset.h"

#include <cmath>
#include <cstring>
#include <tuple>
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

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// How many of `size` examples are used; `size` is 0 where it is unknown.
int64_t Limited(const std::string& path, const char* split, const std::optional<int64_t>& given,
                int64_t size) {
  if (!given) return size;
  const int64_t limit = *given;
  if (size == 0 || limit <= size) return limit;
  throw Error(ErrorKind::kConfig, path + "." + split + "_limit",
              std::to_string(limit) + " is more than the " + std::to_string(size) +
                  " examples of the " + split + " files",
              "Leave it out to use them all.");
}

// Leaves out the rows `left_out` [m] int64, in ascending order: the others move up in the memory
// that they have, since a large set has no room for a copy.
at::Tensor Without(const at::Tensor& rows, const at::Tensor& left_out) {
  auto* memory = static_cast<char*>(rows.data_ptr());
  const int64_t* out = left_out.data_ptr<int64_t>();
  const int64_t count = rows.size(0);
  const auto bytes = static_cast<int64_t>(rows.nbytes()) / count;  // of a row
  for (int64_t k = 0; k < left_out.numel(); ++k) {
    const int64_t begin = out[k] + 1;
    const int64_t end = k + 1 < left_out.numel() ? out[k + 1] : count;
    std::memmove(memory + (begin - k - 1) * bytes, memory + begin * bytes,
                 static_cast<size_t>((end - begin) * bytes));
  }
  return rows.narrow(0, 0, count - left_out.numel());
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
  visitor.OptionalGroup(
      {.name = "split",
       .help = "the test set is a part of the training files, drawn at random, in place of files "
               "of its own"},
      has_split_, [this](FieldVisitor& group) {
        group.Visit({.name = "share",
                     .help = "how much of them",
                     .required = true,
                     .min = 0,
                     .max = 1,
                     .above_min = true,
                     .below_max = true},
                    share_);
        group.Visit({.name = "seed",
                     .help = "which part; not the run's seed, so that the runs of all seeds are "
                             "tested on the same examples",
                     .min = 0},
                    split_seed_);
      });
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
  if (has_split_ && !test_files_.empty()) {
    throw Error(ErrorKind::kConfig, path + ".split",
                "there are test_files, so that no test set is to be taken from the training files",
                "Leave one of the two out.");
  }
  int64_t train_size = Count(train());
  const int64_t test_size = has_split_ ? CountOfTest(train_size, path) : Count(test());
  if (has_split_) train_size -= test_size;
  return {Limited(path, "train", train_limit_, train_size),
          Limited(path, "test", test_limit_, test_size), shape(), classes(), has_targets()};
}

void FileDataset::Resolve() { path_ = Folder().string(); }

std::vector<fs::path> FileDataset::InputFiles() const {
  std::vector<fs::path> files;
  try {
    for (const fs::path& file : Find(train())) files.push_back(FileOf(file));
    if (has_split_) return files;
    for (const fs::path& file : Find(test())) files.push_back(FileOf(file));
  } catch (const Error&) {
    // Load tells which one is missing.
  }
  return files;
}

LoadedData FileDataset::Load(uint64_t seed) const {
  // Both lists are looked up before the first byte is read: a missing file shows at once.
  Find(train());
  if (!has_split_) Find(test());
  LoadedData data;
  data.train = Read(train(), data);
  data.test = has_split_ ? TakeTest(data.train) : Read(test(), data);
  data.train = First(train(), seed, data.train);
  data.test = First(test(), seed, data.test);
  return data;
}

fs::path FileDataset::Folder() const {
  if (!path_.empty()) return path_;
  for (const fs::path& folder : usual_.folders) {
    if (!FindUsual(folder, usual_.train.front()).empty()) return folder;
  }
  return usual_.folders.front();
}

// The file by the first of its spellings that is there; empty if none is.
fs::path FileDataset::FindUsual(const fs::path& folder, const Spellings& spellings) const {
  for (const std::string& name : spellings) {
    if (!IsAbsent(FileOf(folder / name))) return folder / name;
  }
  return {};
}

std::vector<fs::path> FileDataset::Find(const Wanted& wanted) const {
  const std::string field = std::string("data.") + wanted.split + "_files";
  const fs::path folder = Folder();
  std::vector<fs::path> files;
  for (const std::string& name : wanted.named) {
    files.push_back(folder / name);
    if (!IsAbsent(FileOf(files.back()))) continue;
    throw Error(ErrorKind::kData, FileOf(files.back()).string(), "there is no such file",
                "It is named in " + field + "; names there are relative to data.path.");
  }
  if (!files.empty()) return files;
  for (const Spellings& spellings : wanted.usual) {
    files.push_back(FindUsual(folder, spellings));
    if (!files.back().empty()) continue;
    const std::string fetch =
        usual_.published ? "scripts/download_data.sh " + usual_.name + " fetches the set; " : "";
    throw Error(ErrorKind::kData, folder.string(),
                std::string("a ") + wanted.split + " file of " + usual_.name +
                    " is missing: found none of " + Joined(spellings),
                fetch + "data.path names another folder, " + field + " other files.");
  }
  return files;
}

std::string FileDataset::HintFor(const Wanted& wanted) const {
  if (!wanted.named.empty()) {
    return std::string("Check data.") + wanted.split + "_files, which names this file.";
  }
  return usual_.published ? "scripts/download_data.sh " + usual_.name + " fetches the file anew."
                          : "Write the file anew.";
}

// The number of examples in all files; 0 if it is unknown.
int64_t FileDataset::Count(const Wanted& wanted) const {
  int64_t count = 0;
  try {
    const std::vector<fs::path> files = Find(wanted);
    const size_t step = usual_.part.size();
    for (size_t i = 0; i < files.size(); i += step) {
      count += CountPart(Files(files).subspan(i, step));
    }
  } catch (const Error&) {
    return 0;  // Load tells what is wrong: without the data a config can still be checked
  }
  return count;
}

// How many of `size` examples `split` makes the test set; 0 if their number is unknown.
int64_t FileDataset::CountOfTest(int64_t size, const std::string& path) const {
  if (size == 0) return 0;
  const auto count = std::llround(share_ * static_cast<double>(size));
  if (0 < count && count < size) return count;
  throw Error(ErrorKind::kConfig, path + ".split.share",
              "of the " + std::to_string(size) + " examples of the training files " +
                  (count == 0 ? "none" : "all") + " would be the test set",
              "Each set needs at least one.");
}

Split FileDataset::Read(const Wanted& wanted, LoadedData& data) const {
  const std::vector<fs::path> files = Find(wanted);
  const std::string hint = HintFor(wanted);
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> labels;
  const size_t step = usual_.part.size();
  for (size_t i = 0; i < files.size(); i += step) {
    Split part = ReadPart(Files(files).subspan(i, step), hint, data);
    inputs.push_back(std::move(part.inputs));
    labels.push_back(std::move(part.labels));
  }
  if (inputs.size() == 1) return {inputs[0], labels[0]};
  return {at::cat(inputs), at::cat(labels)};
}

// Draws the test set from `train`, which keeps the others in their order.
Split FileDataset::TakeTest(Split& train) const {
  Stream stream(static_cast<uint64_t>(split_seed_), "split", 0);
  const at::Tensor drawn = DrawDistinct(stream, CountOfTest(train.size(), "data"), train.size());
  const at::Tensor places = std::get<0>(drawn.sort());
  const Split test{train.inputs.index_select(0, places), train.labels.index_select(0, places)};
  train = {Without(train.inputs, places), Without(train.labels, places)};
  return test;
}

// Those within the limit.
Split FileDataset::First(const Wanted& wanted, uint64_t seed, const Split& all) const {
  if (!wanted.limit) return all;
  const int64_t count = Limited("data", wanted.split, wanted.limit, all.size());
  if (!wanted.drawn && 2 * count > all.size()) {  // a copy would take more than it frees
    return {all.inputs.narrow(0, 0, count), all.labels.narrow(0, 0, count)};
  }
  Stream stream(seed, "train_draw", 0);
  const at::Tensor chosen =
      wanted.drawn ? DrawDistinct(stream, count, all.size()) : at::arange(count, at::kLong);
  // Copies, so that the memory of the others is freed.
  return {all.inputs.index_select(0, chosen), all.labels.index_select(0, chosen)};
}

}  // namespace sgdscope
