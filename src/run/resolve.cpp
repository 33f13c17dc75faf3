#include "run/resolve.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/files.h"
#include "run/experiment.h"
#include "run/run_config.h"

namespace sgdscope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBlanks = " \t\r\n";

[[noreturn]] void FailAtEnd(const std::string& what) {
  throw Error(ErrorKind::kConfig, "", what, "Words are quoted as for a shell.");
}

/// Takes one word from the front of `text`, which does not begin with a blank.
std::string TakeWord(std::string_view& text) {
  constexpr std::string_view kEscapedWithinQuotes = "\"\\$`";
  std::string word;
  char quote = '\0';
  size_t i = 0;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\0' && std::string_view(kBlanks).find(c) != std::string_view::npos) break;
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == '\\' && quote != '\'') {
      if (++i == text.size()) FailAtEnd("a backslash at the end escapes nothing");
      const bool escapes =
          quote == '\0' || kEscapedWithinQuotes.find(text[i]) != std::string_view::npos;
      if (!escapes) word += c;
      word += text[i];
    } else {
      word += c;
    }
  }
  if (quote != '\0')
    FailAtEnd(std::string("a quotation that begins with ") + quote + " never ends");
  text.remove_prefix(i);
  return word;
}

/// Two names of one folder give the same text, whether the folder is there yet or not.
std::string RealPath(const std::string& folder) {
  std::error_code error;
  const fs::path path = fs::weakly_canonical(fs::absolute(folder, error), error);
  return error ? folder : (path / "").lexically_normal().string();
}

class JobFile {
 public:
  JobFile(const std::string& path, const JobLineParser& parse) : path_(path), parse_(parse) {}

  int Resolve() {
    const std::string text = ReadJobFile();
    int64_t line = 0;
    for (size_t begin = 0; begin < text.size(); ++line) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ResolveLine(line + 1, text.substr(begin, end - begin));
      begin = end + 1;
    }
    if (jobs_ > 0) return bad_ > 0 ? static_cast<int>(ErrorKind::kConfig) : 0;
    throw Error(
        ErrorKind::kConfig, path_, "there are no jobs in it",
        "A job is a line 'sgdscope run CONFIG ... --output DIR'; scripts/grid.sh prints them.");
  }

 private:
  std::string ReadJobFile() const {
    try {
      return ReadFile(path_);
    } catch (const Error& error) {
      throw Error(ErrorKind::kConfig, "--jobs", error.what(), "scripts/grid.sh makes a job file.");
    }
  }

  void ResolveLine(int64_t line, const std::string& text) {
    const size_t begin = text.find_first_not_of(kBlanks);
    if (begin == std::string::npos || text[begin] == '#') return;
    ++jobs_;
    Json record = {{"line", line}};
    try {
      Describe(text, record);
    } catch (const std::exception& error) {
      ++bad_;
      record["error"] = error.what();
      std::fprintf(stderr, "%s:%lld: %s\n", path_.c_str(), static_cast<long long>(line),
                   error.what());
    }
    // Names of files in an error need not be UTF-8.
    const std::string printed = record.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::printf("%s\n", printed.c_str());
  }

  /// Adds to the record what is known of the job; where something is wrong, what is known before.
  void Describe(const std::string& text, Json& record) {
    const std::vector<std::string> words = ShellWords(text);
    if (words.size() < 2 || words[0] != "sgdscope" || words[1] != "run") {
      throw Error(ErrorKind::kConfig, "", "a job begins with 'sgdscope run'",
                  "scripts/grid.sh prints such lines.");
    }
    JobLine job = parse_({words.begin() + 2, words.end()});
    TakeOutput(job, record);
    record["overrides"] = std::move(job.overrides);
    record["quiet"] = job.quiet;
    record["sets_threads"] = job.config.contains("threads");
    const auto config = ReadRunConfig(job.config);
    const Experiment experiment(*config);
    record["config"] = ResolvedConfig(*config);
  }

  void TakeOutput(JobLine& job, Json& record) {
    const bool given = job.overrides.contains("output") && job.config["output"] != "";
    if (!given) {
      throw Error(ErrorKind::kConfig, "", "there is no --output DIR",
                  "Each job needs a folder of its own; scripts/grid.sh writes it.");
    }
    const Json output = job.config["output"];
    job.overrides.erase("output");
    if (!output.is_string()) return;  // it is refused in a moment
    const auto folder = output.get<std::string>();
    const auto [first, is_new] = folders_.emplace(RealPath(folder), record["line"]);
    if (!is_new) {
      throw Error(ErrorKind::kConfig, "",
                  "the --output of line " + std::to_string(first->second) + " too is " + folder,
                  "Give each job its own.");
    }
    record["output"] = folder;
  }

  const std::string& path_;
  const JobLineParser& parse_;
  std::map<std::string, int64_t> folders_;  // real paths, by the line that came first
  int64_t jobs_ = 0;
  int64_t bad_ = 0;
};

}  // namespace

const Json& ConfigFiles::Read(const std::string& path) {
  const auto [entry, is_new] = files_.try_emplace(path);
  File& file = entry->second;
  if (is_new) {
    try {
      file.config = reader_(path);
    } catch (const Error& error) {
      file.error = error;
    }
  }
  if (file.error) throw *file.error;
  return file.config;
}

std::vector<std::string> ShellWords(const std::string& line) {
  if (line.find('\0') != std::string::npos) {
    throw Error(ErrorKind::kConfig, "", "a NUL character",
                "The file is damaged or is no text file.");
  }
  std::vector<std::string> words;
  std::string_view rest = line;
  for (;;) {
    rest.remove_prefix(std::min(rest.find_first_not_of(kBlanks), rest.size()));
    if (rest.empty()) return words;
    words.push_back(TakeWord(rest));
  }
}

int ResolveJobs(const std::string& path, const JobLineParser& parse) {
  return JobFile(path, parse).Resolve();
}

}  // namespace sgdscope
