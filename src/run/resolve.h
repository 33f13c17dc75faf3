#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/json.h"
#include "core/error.h"

namespace sgdscope {

/// Config files, each of which is read once however many jobs share it.
class ConfigFiles {
 public:
  using Reader = std::function<Json(const std::string& path)>;
  explicit ConfigFiles(Reader reader) : reader_(std::move(reader)) {}

  /// Throws what the reader throws, each time anew.
  const Json& Read(const std::string& path);

 private:
  struct File {
    Json config;
    std::optional<Error> error;
  };
  Reader reader_;
  std::map<std::string, File> files_;
};

/// What a line of a job file asks for.
struct JobLine {
  Json config;     // the config file with the line's overrides, without defaults
  Json overrides;  // the line's overrides by path, each value as it is written
  bool quiet;
};
using JobLineParser = std::function<JobLine(const std::vector<std::string>& words)>;

/// The words of a line as a POSIX shell reads them, quotes and backslashes included, though nothing
/// is expanded. Error kConfig for a quote that does not end,
/// and for a NUL character.
std::vector<std::string> ShellWords(const std::string& line);

/// Resolves each job of a file of lines `sgdscope run CONFIG ... --output DIR`; empty lines, and
/// those that begin with #, are skipped. Prints a JSON object for each job, in a line:
///   line          its number in the file
///   output        the run folder
///   overrides     what the line sets besides, by path
///   quiet         whether the line says --quiet
///   sets_threads  whether the line or its config says how many threads
///   config        the resolved config; or `error`, what is wrong with the line
/// A line that asks for no job at all has an error and no output. Each error goes to stderr too.
/// Returns the exit status. Error kConfig for a file without jobs.
int ResolveJobs(const std::string& path, const JobLineParser& parse);

}  // namespace sgdscope
