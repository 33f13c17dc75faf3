#include "run/resolve.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "core/rng.h"
#include "run/experiment.h"
#include "tests/expect_error.h"
#include "tests/run/process.h"
#include "tests/run/small_run.h"
#include "tests/shipped_configs.h"

// `sgdscope resolve`: what it prints is what `run` keeps in the run folder, for one config and for
// each line of a job file.

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

std::vector<Json> Records(const Ended& ended) {
  std::vector<Json> records;
  for (const std::string& line : Lines(ended.out)) records.push_back(Json::parse(line));
  return records;
}

/// Resolves a job file with these lines.
Ended ResolveLines(const TempFolder& folder, const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  const std::string path = (folder / "x.jobs").string();
  WriteFileAtomically(path, text);
  return RunProgram({"resolve", "--jobs", path});
}

void ExpectHolds(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is missing in: " << text;
  }
}

TEST(Resolve, PrintsWhatTheRunKeeps) {
  TempFolder folder;
  Json json = SmallConfig();
  json["probes"] = {{{"name", "gradient_norm"}, {"every", 7}},
                    {{"name", "taylor"}, {"recent_lag", 1}, {"long_ago_lag", 2}}};
  const std::vector<std::string> arguments = {WriteConfig(folder, json),
                                              "--set",
                                              "model.hidden=[5]",
                                              "--set",
                                              "steps=12",
                                              "--set",
                                              "sampler.name=\"shuffle\"",
                                              "--seed",
                                              "8",
                                              "--device",
                                              "cpu",
                                              "--output",
                                              (folder / "run").string()};
  std::vector<std::string> run = {"run", "--quiet"};
  run.insert(run.end(), arguments.begin(), arguments.end());
  const Ended ran = RunProgram(run);
  ASSERT_EQ(ran.status, 0) << ran.err;
  std::vector<std::string> resolve = {"resolve"};
  resolve.insert(resolve.end(), arguments.begin(), arguments.end());
  const Ended resolved = RunProgram(resolve);
  EXPECT_EQ(resolved.status, 0) << resolved.err;
  EXPECT_EQ(resolved.out, ReadFile(folder / "run" / "config.json"));
}

// In one process, which reads each config once: what `run` would keep, which is the resolved
// config of the experiment that it builds.
TEST(Resolve, GivesEachShippedConfigItsDefaults) {
  TempFolder folder;
  std::vector<std::string> lines;
  std::vector<Json> expected;
  for (const fs::path& file : ShippedConfigs()) {
    const std::string path = file.string();
    const std::string output = "o/" + std::to_string(lines.size());
    lines.push_back("sgdscope run " + path + " --seed 5 --output " + output);
    Json json = ParseConfig(ReadFile(path), path);
    json["seed"] = 5;
    json["output"] = output;
    const auto config = ReadRunConfig(json);
    const Experiment experiment(*config);
    expected.push_back(ResolvedConfig(*config));
  }
  ASSERT_GT(lines.size(), 10u);
  const Ended ended = ResolveLines(folder, lines);
  EXPECT_EQ(ended.status, 0) << ended.err;
  const std::vector<Json> records = Records(ended);
  ASSERT_EQ(records.size(), expected.size());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i]["config"].dump(), expected[i].dump()) << lines[i];
    EXPECT_EQ(records[i]["output"], expected[i]["output"]);
    EXPECT_EQ(records[i]["line"], i + 1);
  }
}

TEST(Resolve, TellsWhatALineSays) {
  TempFolder folder;
  const std::string run = "sgdscope run " + WriteConfig(folder, SmallConfig());
  const Ended ended = ResolveLines(
      folder, {"# a comment", "", " \t",
               run + " --set 'model.hidden=[8,4]' --seed 7 --set update.learning_rate=1e-3 "
                     "--set update.learning_rate=2e-3 --output=\"a folder\" --quiet\r",
               run + " --set threads=2 --set output=b --set name=x=y"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  const std::vector<Json> records = Records(ended);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0]["line"], 4);
  EXPECT_EQ(records[0]["output"], "a folder");
  EXPECT_EQ(records[0]["overrides"].dump(),
            R"({"model.hidden":"[8,4]","update.learning_rate":"2e-3","seed":"7"})");
  EXPECT_EQ(records[0]["quiet"], true);
  EXPECT_EQ(records[0]["sets_threads"], false);
  EXPECT_EQ(records[0]["config"]["update"]["learning_rate"], 2e-3);
  EXPECT_EQ(records[0]["config"]["threads"], 1);
  EXPECT_EQ(records[1]["output"], "b");
  EXPECT_EQ(records[1]["overrides"].dump(), R"({"threads":"2","name":"x=y"})");
  EXPECT_EQ(records[1]["quiet"], false);
  EXPECT_EQ(records[1]["sets_threads"], true);
}

/// A line that is wrong, whether it is known to be a job, and words of its error.
struct Bad {
  std::string line;
  bool is_job;
  std::vector<std::string> parts;
};

TEST(Resolve, NamesEachBadLineAndGoesOn) {
  TempFolder folder;
  const std::string run = "sgdscope run " + WriteConfig(folder, SmallConfig());
  const std::string path = (folder / "x.jobs").string();
  const std::string broken = (folder / "broken.json").string();
  WriteFileAtomically(broken, "{\n  \"name\": \"x\",,\n}");
  fs::create_directory(folder / "real");
  fs::create_symlink(folder / "real", folder / "link");
  const std::string real = (folder / "real").string();
  const std::string link = (folder / "link").string();
  const std::vector<Bad> bad = {
      {"rm -rf /", false, {"a job begins with 'sgdscope run'"}},
      {"sgdscope", false, {"a job begins with 'sgdscope run'"}},
      {"sgdscope run --output a", false, {"config is required"}},
      {run, false, {"there is no --output DIR"}},
      {run + " --set output=", false, {"--set output=", "the value is empty"}},
      {run + " --output 'a", false, {"a quotation that begins with ' never ends"}},
      {run + " --output a\\", false, {"a backslash at the end"}},
      {run + " --output a --overwrite", false, {"not expected: --overwrite", "--quiet"}},
      {run + " --output $(touch executed)", false, {"not expected: executed)"}},
      {run + " --output a --set steps", false, {"--set steps", "no '='"}},
      {run + " --output real", true, {}},  // good; it does not stand in the way of the next
      {run + " --output " + real, true, {}},
      {run + " --output " + link + "/", false, {"the --output of line 12 too is " + link + "/"}},
      {run + " --output " + real + "/../link/.", false, {"the --output of line 12"}},
      {run + " --output " + link + "/below", true, {}},
      {run + " --output " + real + "/x/../below/", false, {"the --output of line 15"}},
      {run + " --output c --set output=d --set update.learning_rat=1",
       true,
       {"update.learning_rat", "Did you mean 'learning_rate'?"}},
      {run + " --output d --set batch_size=5000", true, {"batch_size", "5000"}},
      {"sgdscope run " + broken + " --output e", false, {"broken.json:2:"}},
      {"sgdscope run " + broken + " --output f", false, {"broken.json:2:"}},
      {"sgdscope run \xff.json --output g", false, {".json", "No such file"}},
      {run + " --set output=3", false, {"output", "3"}},
      {run + " --seed '' --output h", false, {"--seed", "the option is empty"}},
  };
  std::vector<std::string> lines;
  for (const Bad& job : bad) lines.push_back(job.line);
  const Ended ended = ResolveLines(folder, lines);
  EXPECT_EQ(ended.status, 2);
  const std::vector<Json> records = Records(ended);
  ASSERT_EQ(records.size(), bad.size());
  for (size_t i = 0; i < bad.size(); ++i) {
    SCOPED_TRACE(bad[i].line);
    EXPECT_EQ(records[i]["line"], i + 1);
    EXPECT_EQ(records[i].contains("output"), bad[i].is_job) << records[i];
    EXPECT_EQ(records[i].contains("error"), !bad[i].parts.empty()) << records[i];
    EXPECT_EQ(records[i].contains("config"), bad[i].parts.empty()) << records[i];
    if (bad[i].parts.empty()) continue;
    ExpectHolds(records[i]["error"].get<std::string>(), bad[i].parts);
    ExpectHolds(ended.err, {path + ":" + std::to_string(i + 1) + ": "});
  }
}

TEST(Resolve, RefusesWhatIsNoJobFile) {
  TempFolder folder;
  const Ended none = RunProgram({"resolve", "--jobs", "/no/such.jobs"});
  EXPECT_EQ(none.status, 2);
  ExpectHolds(none.err, {"/no/such.jobs", "No such file", "scripts/grid.sh"});
  const Ended is_folder = RunProgram({"resolve", "--jobs", folder.path().string()});
  EXPECT_EQ(is_folder.status, 2);
  ExpectHolds(is_folder.err, {folder.path().string(), "directory"});
  const Ended empty = ResolveLines(folder, {"# nothing", ""});
  EXPECT_EQ(empty.status, 2);
  ExpectHolds(empty.err, {"x.jobs: there are no jobs in it", "scripts/grid.sh"});
  const Ended neither = RunProgram({"resolve"});
  EXPECT_EQ(neither.status, 2);
  ExpectHolds(neither.err, {"neither a config nor --jobs"});
  for (const char* option : {"--set", "--seed", "--device", "--output"}) {
    const Ended both = RunProgram({"resolve", "--jobs", "x.jobs", option, "a"});
    EXPECT_EQ(both.status, 2) << option;
    ExpectHolds(both.err, {"--jobs", option});
  }
}

TEST(Resolve, ReadsAConfigOnceAlsoIfItIsBroken) {
  int reads = 0;
  ConfigFiles files([&reads](const std::string& path) -> Json {
    ++reads;
    if (path == "broken") throw Error(ErrorKind::kConfig, path, "is broken");
    return {{"name", path}};
  });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(files.Read("a")["name"], "a");
    ExpectError(ErrorKind::kConfig, {"broken: is broken"}, [&] { files.Read("broken"); });
  }
  EXPECT_EQ(reads, 2);
}

// ---- Words

TEST(ShellWords, AreWhatAShellMakesOfThem) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(ShellWords(""), Words{});
  EXPECT_EQ(ShellWords(" \t a  b\r"), (Words{"a", "b"}));
  EXPECT_EQ(ShellWords("'' \"\" x''y"), (Words{"", "", "xy"}));
  EXPECT_EQ(ShellWords(R"('a b'"c d"e\ f)"), (Words{"a bc de f"}));
  EXPECT_EQ(ShellWords(R"('it'\''s' "\"" '\n' "\n" \n)"), (Words{"it's", "\"", "\\n", "\\n", "n"}));
  EXPECT_EQ(ShellWords(R"("\$HOME" "\`x\`" '\$HOME' $HOME)"),
            (Words{"$HOME", "`x`", "\\$HOME", "$HOME"}));
  EXPECT_EQ(ShellWords("a#b \xc3\xa4;|"), (Words{"a#b", "\xc3\xa4;|"}));
  for (const char* open : {"'", "\"", "a 'b\"", "\"\\\"", "\\", "a \"b\\"}) {
    ExpectError(ErrorKind::kConfig, {"quoted as for a shell"}, [&] { ShellWords(open); });
  }
  ExpectError(ErrorKind::kConfig, {"a NUL character"}, [] { ShellWords(std::string("a\0b", 3)); });
}

// Python's shlex is what writes quoted lines, and agrees on all that has no $ and no ` in it.
TEST(ShellWords, AreThoseOfPythonsShlex) {
  constexpr std::string_view kAlphabet = "ab \t'\"\\\\'\"=[,#;é";
  TempFolder folder;
  Stream stream(1, "shell words");
  std::vector<std::string> lines(3000);
  std::string text;
  for (std::string& line : lines) {
    for (uint64_t length = stream.Below(14); length > 0; --length) {
      line += kAlphabet[stream.Below(kAlphabet.size())];
    }
    text += line + "\n";
  }
  WriteFileAtomically(folder / "lines", text);
  WriteFileAtomically(folder / "split.py", R"(
import json, shlex, sys
def split(line):
    try:
        return [word.encode("latin-1").hex() for word in shlex.split(line)]
    except ValueError:
        return None
with open(sys.argv[1] + "/lines", encoding="latin-1", newline="\n") as file:
    words = [split(line) for line in file.read().split("\n")[:-1]]
with open(sys.argv[1] + "/words", "w") as file:
    json.dump(words, file)
)");
  const std::string path = folder.path().string();
  ASSERT_EQ(std::system(("python3 " + path + "/split.py " + path).c_str()), 0);
  const Json expected = ReadJson(folder / "words");
  ASSERT_EQ(expected.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    Json words = Json::array();
    try {
      for (const std::string& word : ShellWords(lines[i])) {
        std::string hex;
        for (const unsigned char c : word) {
          hex += "0123456789abcdef"[c / 16];
          hex += "0123456789abcdef"[c % 16];
        }
        words.push_back(hex);
      }
    } catch (const Error&) {
      words = nullptr;
    }
    ASSERT_EQ(words, expected[i]) << lines[i];
  }
}

}  // namespace
}  // namespace sgdscope
