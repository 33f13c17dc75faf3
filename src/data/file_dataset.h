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
/// `test_files`, `train_limit`, `train_draw`, `test_limit`, and the search for files by their usual
/// names. A leaf says how one part (one or more files that belong together) is read.
class FileDataset : public Dataset {
 public:
  using Files = std::span<const std::filesystem::path>;

  /// Sizes come from the limits or else, without reading the data, from the files where they are
  /// there.
  DataShape Shape(const std::string& path) const override;
  /// Settles the folder: the first of the usual ones that holds the set.
  void Resolve() override;
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
  };
  explicit FileDataset(Usual usual) : usual_(std::move(usual)) {}
  void OwnFields(FieldVisitor& visitor) override;

  /// Reads and checks the files of one part; appends their records.
  virtual Split ReadPart(Files files, const std::string& hint,
                         std::vector<FileRecord>& records) const = 0;
  /// The number of examples of a part, without reading all of it. Error where its files are found
  /// not to be sound: the number then counts as unknown, and reading them tells the fault before
  /// any check of the number.
  virtual int64_t CountPart(Files files) const = 0;
  virtual std::vector<int64_t> shape() const = 0;  // of one example
  virtual int64_t classes() const = 0;

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
  std::vector<std::filesystem::path> Find(const Wanted& wanted) const;
  int64_t Count(const Wanted& wanted, const std::string& path) const;
  Split Read(const Wanted& wanted, uint64_t seed, std::vector<FileRecord>& records) const;

  Usual usual_;
  std::string path_;
  std::vector<std::string> train_files_;
  std::vector<std::string> test_files_;
  std::optional<int64_t> train_limit_;
  bool train_draw_ = false;
  std::optional<int64_t> test_limit_;
};

}  // namespace sgdscope
