#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/files.h"

// The layers of src/README.md: includes point down only, and a leaf has no header.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;
using Include = std::pair<std::string, std::string>;  // from, to: paths below src

/// The height of each folder, from the rows "| height | `folder` | ..." of the page.
std::map<std::string, int> Heights() {
  std::istringstream page(ReadFile(SGDSCOPE_SOURCE_DIR "/src/README.md"));
  std::map<std::string, int> heights;
  for (std::string line; std::getline(page, line);) {
    int height = 0;
    char folder[64];
    if (std::sscanf(line.c_str(), "| %d | `%63[^`]`", &height, folder) == 2) {
      heights[folder] = height;
    }
  }
  return heights;
}

const std::map<std::string, int>& Layers() {
  static const std::map<std::string, int> heights = Heights();
  return heights;
}

// The type Update, which StepView shows to probes. A probe sees no rule and no estimator.
const std::set<Include> kExceptions = {{"probes/probe.h", "updates/update_rule.h"}};

std::map<std::string, std::string> Sources() {
  const fs::path root = SGDSCOPE_SOURCE_DIR "/src";
  std::map<std::string, std::string> sources;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file() || entry.path().extension() == ".md") continue;
    sources[entry.path().lexically_relative(root).string()] = ReadFile(entry.path());
  }
  return sources;
}

std::string FolderOf(const std::string& path) { return path.substr(0, path.find('/')); }

std::vector<Include> IncludesOf(const std::string& path, const std::string& text) {
  std::vector<Include> includes;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t word = line.find_first_not_of(" \t#");
    const size_t open = line.find('"');
    if (!line.starts_with('#') || word == std::string::npos || open == std::string::npos) continue;
    if (line.compare(word, 7, "include") != 0) continue;
    includes.emplace_back(path, line.substr(open + 1, line.find('"', open + 1) - open - 1));
  }
  return includes;
}

bool PointsDown(const Include& include) {
  const std::string from = FolderOf(include.first);
  const std::string to = FolderOf(include.second);
  return from == to || Layers().at(to) < Layers().at(from) || kExceptions.contains(include);
}

TEST(Includes, TheRuleItselfTellsUpFromDown) {
  EXPECT_EQ(IncludesOf("a", "#include \"core/x.h\"\n#  include \"y.h\"\n#include <z>\n// \"q\"\n"),
            (std::vector<Include>{{"a", "core/x.h"}, {"a", "y.h"}}));
  EXPECT_TRUE(PointsDown({"run/trainer.cpp", "probes/probe.h"}));
  EXPECT_TRUE(PointsDown({"run/trainer.cpp", "run/console.h"}));
  EXPECT_FALSE(PointsDown({"core/csv.cpp", "run/console.h"}));
  EXPECT_FALSE(PointsDown({"models/mlp.cpp", "data/dataset.h"}));
  EXPECT_FALSE(PointsDown({"probes/taylor.cpp", "updates/update_rule.h"}));
  EXPECT_FALSE(PointsDown({"estimators/mean.cpp", "probes/probe.h"}));
}

TEST(Includes, PointDownOnlyAndToFilesThatExist) {
  const auto sources = Sources();
  std::set<Include> used_exceptions;
  size_t count = 0;
  for (const auto& [path, text] : sources) {
    ASSERT_TRUE(Layers().contains(FolderOf(path))) << path << " lies in no layer";
    for (const Include& include : IncludesOf(path, text)) {
      ++count;
      ASSERT_TRUE(sources.contains(include.second)) << path << " includes " << include.second;
      EXPECT_TRUE(PointsDown(include)) << path << " includes " << include.second;
      EXPECT_TRUE(include.second.ends_with(".h")) << path << " includes " << include.second;
      if (kExceptions.contains(include)) used_exceptions.insert(include);
    }
  }
  EXPECT_GT(count, 100) << "the includes were not found";
  EXPECT_EQ(used_exceptions, kExceptions) << "an exception that nobody needs";
}

TEST(Includes, ThePageNamesTheFoldersThatThereAreAndSaysWhatTheyHold) {
  const std::string page = ReadFile(SGDSCOPE_SOURCE_DIR "/src/README.md");
  std::set<std::string> folders;
  for (const auto& [path, text] : Sources()) folders.insert(FolderOf(path));
  std::set<std::string> named;
  for (const auto& [folder, height] : Layers()) named.insert(folder);
  EXPECT_EQ(named, folders);
  for (const std::string& folder : folders) {
    EXPECT_NE(page.find("**`" + folder + "`**"), std::string::npos) << folder;
  }
}

TEST(Includes, ALeafHasNoHeader) {
  const auto sources = Sources();
  int leaves = 0;
  for (const auto& [path, text] : sources) {
    const std::string stem = path.substr(0, path.rfind('.'));
    if (path == "config/registry.h" || text.find("Registration<") == std::string::npos) continue;
    ++leaves;
    EXPECT_TRUE(path.ends_with(".cpp")) << path << " registers a leaf";
    EXPECT_FALSE(sources.contains(stem + ".h")) << path << " is a leaf with a header";
    EXPECT_NE(text.find("\nnamespace {\n"), std::string::npos)
        << path << ": a leaf belongs in an anonymous namespace";
  }
  EXPECT_GE(leaves, 14) << "the leaves were not found";
}

TEST(Includes, EveryHeaderIsIncludedOnceAndUsed) {
  const auto sources = Sources();
  std::set<std::string> included;
  for (const auto& [path, text] : sources) {
    for (const Include& include : IncludesOf(path, text)) included.insert(include.second);
  }
  for (const auto& [path, text] : sources) {
    if (!path.ends_with(".h")) continue;
    EXPECT_TRUE(text.starts_with("#pragma once\n")) << path;
    EXPECT_TRUE(included.contains(path)) << path << " is included by nobody";
  }
}

}  // namespace
}  // namespace sgdscope
