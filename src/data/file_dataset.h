#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace sgdscope {

/// What the data sets that lie in files have in common: the fields `path`, `train_files`,
/// `test_files`, `split`, `train_limit`, `train_draw`, `test_limit`, and the search for files by
/// their usual names. A leaf says how one part (one or more files that belong together) is read.
class FileDataset : public Dataset {
 public:
  using Files = std::span<const std::filesystem::path>;

  /// Sizes come from the limits or else, without reading the data, from the files where they are
  /// there.
  DataShape Shape(const std::string& path) const override;
  /// Settles the folder: the first of the usual ones that holds the set.
  void Resolve() override;
  std::vector<std::filesystem::path> InputFiles() const override;
  LoadedData Load(uint64_t seed) const override;

 protected:
  /// One file, by any of its possible names.
  using Spellings = std::vector<std::string>;
  struct Usual {
    std::string name;  // of the data set
    std::vector<std::filesystem::path> folders;
    std::vector<Spellings> train;
    std::vector<Spellings> test;
    std::vector<std::string> part;  // what the files of one part hold: {"images", "labels"}
    bool published = true;          // scripts/download_data.sh fetches the set
  };
  explicit FileDataset(Usual usual) : usual_(std::move(usual)) {}
  void OwnFields(FieldVisitor& visitor) override;

  /// Reads and checks the files of one part; adds their records to those of `data`, and warnings.
  virtual Split ReadPart(Files files, const std::string& hint, LoadedData& data) const = 0;
  /// The number of examples of a part, without reading all of it. Error where its files are found
  /// not to be sound: the number then counts as unknown, and reading them tells the fault before
  /// any check of the number.
  virtual int64_t CountPart(Files files) const = 0;
  virtual std::vector<int64_t> shape() const = 0;  // of one example
  virtual int64_t classes() const = 0;
  virtual bool has_targets() const { return false; }
  /// The file in which a part lies that is named so.
  virtual std::filesystem::path FileOf(const std::filesystem::path& named) const { return named; }

  /// The training files, in order. Error kData if one isn't there.
  std::vector<std::filesystem::path> TrainFiles() const { return Find(train()); }
  /// What to do about a damaged training file.
  std::string TrainHint() const { return HintFor(train()); }

 private:
  struct Wanted {
    const char* split;  // "train" or "test"
    const std::vector<std::string>& named;
    const std::vector<Spellings>& usual;
    const std::optional<int64_t>& limit;
    bool drawn;  // those within the limit: by the seed
  };
  Wanted train() const { return {"train", train_files_, usual_.train, train_limit_, train_draw_}; }
  Wanted test() const { return {"test", test_files_, usual_.test, test_limit_, false}; }

  std::filesystem::path Folder() const;
  std::filesystem::path FindUsual(const std::filesystem::path& folder,
                                  const Spellings& spellings) const;
  std::vector<std::filesystem::path> Find(const Wanted& wanted) const;
  std::string HintFor(const Wanted& wanted) const;
  int64_t Count(const Wanted& wanted) const;
  int64_t CountOfTest(int64_t size, const std::string& path) const;
  Split Read(const Wanted& wanted, LoadedData& data) const;
  Split TakeTest(Split& train) const;
  Split First(const Wanted& wanted, uint64_t seed, const Split& all) const;

  Usual usual_;
  std::string path_;
  std::vector<std::string> train_files_;
  std::vector<std::string> test_files_;
  bool has_split_ = false;
  double share_ = 0;
  int64_t split_seed_ = 0;
  std::optional<int64_t> train_limit_;
  bool train_draw_ = false;
  std::optional<int64_t> test_limit_;
};

}  // namespace sgdscope
