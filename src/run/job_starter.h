#pragma once

#include <optional>
#include <string>
#include <vector>

namespace sgdscope {

/// What standard input and output of StartJobs say, for --help.
std::string JobProtocol();

/// Starts jobs as standard input asks for them, and tells on standard output how each has ended.
/// Most of the time that a start of this program takes goes into the libraries that are loaded
/// and initialized; a job that is a command of this program has that done already, since it begins
/// as a copy of this process. So nothing may have begun a thread before, nor called into LibTorch
/// but for what its libraries do as they are loaded; where they have begun threads, of which a copy
/// has none, each job starts anew, and a warning says so.
///
/// Returns in more than one process, as fork does: in a job's with the arguments of its command, and
/// in this one with nothing, once standard input and all jobs have ended. Error kConfig for a line
/// that is no job; kResource if the system refuses what a job needs.
std::optional<std::vector<std::string>> StartJobs();

}  // namespace sgdscope
