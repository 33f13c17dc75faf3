// The command line: parses arguments, prints results and errors, and returns the exit status
// (src/README.md): 0 done, 1 a bug, 2 config or usage, 3 data, 4 diverged, 5 resource, 128 + signal.

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "config/json.h"
#include "core/blas.h"
#include "core/commit.h"
#include "core/error.h"
#include "core/files.h"
#include "core/machine.h"
#include "run/columns.h"
#include "run/describe.h"
#include "run/diagnose.h"
#include "run/findings.h"
#include "run/fork.h"
#include "run/job_starter.h"
#include "run/listing.h"
#include "run/resolve.h"
#include "run/trainer.h"

namespace {

using namespace sgdscope;  // NOLINT: this file is the program

volatile std::sig_atomic_t stop_signal = 0;

/// A descriptor from 0 to 2 that is closed would be that of the next file that is opened, and what
/// is printed would end up in a CSV. Nothing can be written to what takes its place.
void OpenStandardStreams() {
  for (int stream = 0; stream <= 2; ++stream) {
    if (fcntl(stream, F_GETFD) < 0) open("/dev/null", O_RDONLY);
  }
}

/// The first signal asks the run to stop at the next step; a second SIGINT or SIGTERM ends the
/// process at once. SIGHUP, which tells that the terminal is gone, often comes twice; where it is
/// ignored from the start (nohup), it stays so.
void InstallSignalHandlers() {
  struct sigaction action{};
  action.sa_handler = [](int signal) { stop_signal = signal; };
  action.sa_flags = SA_RESTART;
  struct sigaction hangup{};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
  action.sa_flags |= static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

struct Arguments {
  std::string config;
  std::string parent;  // of a fork: the folder of another run
  int64_t at = 0;
  std::vector<std::string> overrides;
  std::string seed;
  std::string device;
  std::string output;
  bool resume = false;
  bool overwrite = false;
  bool quiet = false;
  std::string kind;
  std::string jobs;
  bool layers = false;  // resolve: the model as a list of layers
  std::vector<std::string> runs;
  bool json = false;
  std::string csv;
  CsvSelection selection;  // columns: of it
};

Json ReadConfigFile(const std::string& path) {
  std::string text;
  try {
    text = ReadFile(path);
  } catch (const Error& error) {
    throw Error(ErrorKind::kConfig, "config", error.what(), "Give the path of a JSON experiment.");
  }
  return ParseConfig(text, path);
}

/// A short form for a string, which stays one even if it looks like JSON.
void SetText(Json& config, const std::string& key, const std::string& text) {
  if (text.empty()) return;
  std::string value;
  try {
    value = Json(text).dump();
  } catch (const Json::type_error&) {
    throw Error(ErrorKind::kConfig, "--" + key, "is not valid UTF-8",
                "Look for unusual characters.");
  }
  ApplyOverride(config, key + "=" + value);
}

/// The config with what the command line puts in its place.
Json Overridden(Json config, const Arguments& arguments) {
  for (const std::string& override : arguments.overrides) ApplyOverride(config, override);
  if (!arguments.seed.empty()) ApplyOverride(config, "seed=" + arguments.seed);
  SetText(config, "device", arguments.device);
  SetText(config, "output", arguments.output);
  return config;
}

std::unique_ptr<RunConfig> Load(const Arguments& arguments) {
  return ReadRunConfig(Overridden(ReadConfigFile(arguments.config), arguments));
}

std::string ReasonOf(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
}

/// With the data read: from here on there is something to lose.
Outcome Train(Experiment& experiment, const RunFolder& folder, Manifest& manifest, bool quiet,
              const std::string& changes, std::optional<Fork> fork) {
  if (!folder.earlier()) manifest.Write("running", "", 0);
  folder.Begin();
  Console console(folder.log(), quiet);
  if (!folder.warning().empty()) console.Warn(folder.warning());
  if (!changes.empty()) console.Warn("rows may differ in the last bits from here on: " + changes);
  for (const std::string& warning : experiment.data().warnings) console.Warn(warning);
  if (fork && fork->config["data"] == folder.resolved()["data"] &&
      !manifest.HasDataOf(fork->manifest)) {
    console.Warn("the data files are not those of " + fork->run.string());
  }
  Trainer trainer(experiment, folder, console, manifest, stop_signal, std::move(fork));
  const Outcome outcome = trainer.Run();
  if (outcome.status == "done") console.Info("results: " + folder.path().string());
  return outcome;
}

/// `input`: the file that the config was read from.
int RunConfigured(RunConfig& config, const std::string& input, const Arguments& arguments,
                  std::optional<Fork> fork) {
  // A run goes on without its terminal, and without whoever read what it prints.
  std::signal(SIGPIPE, SIG_IGN);
  Experiment experiment(config);
  if (fork) fork->Check(experiment);
  const IfExists if_exists = arguments.resume      ? IfExists::kResume
                             : arguments.overwrite ? IfExists::kOverwrite
                                                   : IfExists::kRefuse;
  std::vector<InputFile> inputs = InputFilesOf(config);
  inputs.push_back({input, "the config that was given"});
  const RunFolder folder(config.output, ResolvedConfig(config), if_exists, inputs);
  if (fork && folder.earlier()) fork->CheckBegan(*folder.earlier(), config.output);
  if (folder.earlier() && (*folder.earlier())["status"] == "done") {
    if (!arguments.quiet)
      std::fprintf(stderr, "%s: this run is done already\n", config.output.c_str());
    return 0;
  }
  if (arguments.resume && !fork && !folder.earlier() && !arguments.quiet) {
    std::fprintf(stderr, "%s: there is no run here yet: it starts from step 0\n",
                 config.output.c_str());
  }
  if (config.initialized && !fork && !folder.earlier()) experiment.GivenWeights();
  experiment.LoadData();
  if (fork) fork->Check(experiment);
  Manifest manifest(folder.manifest(), config);
  manifest.times().Add(Times::kStart, SecondsOfProcess());
  std::string changes;
  if (folder.earlier()) {
    changes = manifest.ContinueFrom(*folder.earlier());
  } else if (fork) {
    changes = manifest.ChangesSince(fork->manifest);
    manifest.SetBegin("fork", fork->Record());
  }
  manifest.SetData(experiment.data());
  InstallSignalHandlers();
  try {
    return Train(experiment, folder, manifest, arguments.quiet, changes, std::move(fork))
        .exit_status;
  } catch (const std::exception& error) {
    try {
      manifest.Fail(ReasonOf(error));
    } catch (const Error&) {
      // The disk may be what failed; the error that follows says so.
    }
    throw;
  }
}

int Run(const Arguments& arguments) {
  return RunConfigured(*Load(arguments), arguments.config, arguments, {});
}

int ForkRun(const Arguments& arguments) {
  Fork fork = ReadFork(arguments.parent, arguments.at);
  Json json = fork.config;
  json["output"] = fork.run.string() + "_fork_" + std::to_string(arguments.at);
  json = Overridden(std::move(json), arguments);
  const auto config = ReadRunConfig(json);
  fork.CheckConfig(ResolvedConfig(*config));
  std::error_code absent;
  if (std::filesystem::equivalent(config->output, fork.run, absent)) {
    throw Error(ErrorKind::kConfig, "output", config->output + " is the folder of the parent",
                "Choose another folder with --output, or leave it out.");
  }
  const std::string input = (fork.run / "config.json").string();
  return RunConfigured(*config, input, arguments, std::move(fork));
}

int Validate(const Arguments& arguments) {
  const auto config = Load(arguments);
  const Experiment experiment(*config);
  if (config->initialized) experiment.GivenWeights();
  std::printf("%s: valid", arguments.config.c_str());
  if (experiment.sized()) {
    std::printf(" (%lld parameters, %lld steps)\n",
                static_cast<long long>(experiment.network().table.size()),
                static_cast<long long>(experiment.steps()));
  } else {
    std::printf(" (%lld parameters; the rest is checked when the data is read)\n",
                static_cast<long long>(experiment.network().table.size()));
  }
  return 0;
}

int DescribeConfig(const Arguments& arguments) {
  const auto config = Load(arguments);
  Describe(*config, [](const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  });
  return 0;
}

int Fail(ErrorKind kind, const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return static_cast<int>(kind);
}

/// A run that can't be read keeps none of the others from being judged.
int Diagnose(const Arguments& arguments) {
  int status = 0;
  Json all = Json::array();
  for (const std::string& folder : arguments.runs) {
    try {
      const RunRecord run = ReadRun(folder);
      if (arguments.json) {
        all.push_back(DiagnosisJson(run));
      } else {
        std::fputs(DiagnosisText(run).c_str(), stdout);
      }
    } catch (const Error& error) {
      status = std::max(status, Fail(error.kind(), error.what()));
    }
  }
  // Names of folders need not be UTF-8.
  const auto replace = Json::error_handler_t::replace;
  if (arguments.json) std::printf("%s\n", all.dump(2, ' ', false, replace).c_str());
  return status;
}

int Columns(Arguments& arguments) {
  if (isatty(STDOUT_FILENO) != 0) {
    throw Error(ErrorKind::kConfig, "stdout", "is a terminal, and the columns are not text",
                "Add > FILE.npy, which numpy.load reads.");
  }
  arguments.selection.threads = static_cast<int>(std::thread::hardware_concurrency());
  WriteColumns(arguments.csv, arguments.selection, STDOUT_FILENO, "stdout");
  return 0;
}

/// The option of that name, "--output"; null if the command has none.
const CLI::Option* OptionOf(const CLI::App& command, const std::string& name) {
  return name.starts_with("-") ? command.get_option_no_throw(name) : nullptr;
}

/// Refuses empty arguments and options without a value, from an unset shell variable most likely:
/// CLI11 would go on without the option, or take the next option's name for its value.
void CheckArguments(const CLI::App& command, const std::vector<std::string>& arguments) {
  const std::string hint = "Is a shell variable unset? Give a value, or leave it out.";
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.empty()) {
      throw Error(ErrorKind::kConfig, "argument " + std::to_string(i + 1), "it is empty", hint);
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const CLI::Option* option = OptionOf(command, name);
    if (option == nullptr) continue;
    if (equals != std::string::npos && equals + 1 < argument.size()) continue;
    if (equals == std::string::npos && option->get_items_expected_max() == 0) continue;  // a flag
    const bool has_next = equals == std::string::npos && ++i < arguments.size();
    const std::string next = has_next ? arguments[i] : "";
    if (next.empty()) throw Error(ErrorKind::kConfig, name, "the option is empty", hint);
    if (!next.starts_with("--") && OptionOf(command, next) == nullptr) continue;
    throw Error(ErrorKind::kConfig, name, "the option is empty: " + next + " follows it",
                hint + " A value like an option is given as " + name + "=" + next + ".");
  }
}

void AddOverrides(CLI::App& command, Arguments& arguments) {
  command
      .add_option("--set", arguments.overrides,
                  "PATH=VALUE: overrides the file, e.g. model.hidden=[64]; PATH=null takes the key "
                  "out, so that its default holds")
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("--seed", arguments.seed, "short for --set seed=...");
  command.add_option("--device", arguments.device, "short for --set device=...");
  command.add_option("-o,--output", arguments.output, "short for --set output=...");
}

CLI::Option* AddConfigOptions(CLI::App& command, Arguments& arguments) {
  CLI::Option* config =
      command.add_option("config", arguments.config, "the experiment, a JSON file");
  config->required();
  AddOverrides(command, arguments);
  return config;
}

void AddQuiet(CLI::App& run, Arguments& arguments) {
  run.add_flag("--quiet", arguments.quiet, "show warnings and errors only");
}

/// What to do with a run folder that exists, and how much to say.
void AddRunOptions(CLI::App& run, Arguments& arguments) {
  CLI::Option* resume =
      run.add_flag("--resume", arguments.resume, "continue an existing run folder");
  run.add_flag("--overwrite", arguments.overwrite, "replace an existing run folder")
      ->excludes(resume);
  AddQuiet(run, arguments);
}

/// Each override as it is written, by its path; of two with the same path the one that counts.
Json OverridesByPath(const Arguments& arguments) {
  Json overrides = Json::object();
  for (const std::string& override : arguments.overrides) {
    const size_t equals = override.find('=');
    overrides[override.substr(0, equals)] = override.substr(equals + 1);
  }
  if (!arguments.seed.empty()) overrides["seed"] = arguments.seed;
  if (!arguments.device.empty()) overrides["device"] = arguments.device;
  if (!arguments.output.empty()) overrides["output"] = arguments.output;
  return overrides;
}

/// What a line of a job file asks `run` for. What it may not say: how to treat a run that is there.
JobLine ParseJobLine(const std::vector<std::string>& words, ConfigFiles& files) {
  CLI::App line;
  line.set_help_flag();
  Arguments arguments;
  AddConfigOptions(line, arguments);
  AddQuiet(line, arguments);
  CheckArguments(line, words);
  try {
    line.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorKind::kConfig, "", error.what(),
                "A line takes CONFIG, --set, --seed, --device, --output and --quiet.");
  }
  Json config = Overridden(files.Read(arguments.config), arguments);
  return {std::move(config), OverridesByPath(arguments), arguments.quiet};
}

int Resolve(const Arguments& arguments) {
  if (!arguments.jobs.empty()) {
    ConfigFiles files(ReadConfigFile);
    return ResolveJobs(arguments.jobs, [&files](const std::vector<std::string>& words) {
      return ParseJobLine(words, files);
    });
  }
  if (arguments.config.empty()) {
    throw Error(ErrorKind::kConfig, "resolve", "neither a config nor --jobs is given",
                "Give the path of a JSON experiment, or --jobs FILE.");
  }
  const auto config = Load(arguments);
  const Experiment experiment(*config);
  Json resolved = ResolvedConfig(*config);
  if (arguments.layers) {
    const DataShape& shape = experiment.shape();
    resolved["model"] = config->model->AsLayers(shape.shape, shape.classes, "model");
  }
  std::printf("%s\n", resolved.dump(2).c_str());
  return 0;
}

int Main(int argc, char** argv);

/// Starts jobs, each of which goes on here as this program would with the job's arguments.
int BecomeJobs(char* program) {
  auto arguments = StartJobs();
  if (!arguments) return 0;
  std::vector<char*> argv = {program};
  for (std::string& argument : *arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  return Main(static_cast<int>(argv.size()) - 1, argv.data());
}

int Main(int argc, char** argv) {
  CLI::App app("sgdscope: measures what stochastic gradient descent does at every step");
  app.set_version_flag("--version",
                       std::string(SGDSCOPE_VERSION " (commit ").append(Commit()) + ")");
  app.require_subcommand(1);
  Arguments arguments;

  CLI::App* run = app.add_subcommand("run", "train, and write the run folder");
  AddConfigOptions(*run, arguments);
  AddRunOptions(*run, arguments);
  CLI::App* fork = app.add_subcommand(
      "fork",
      "go on from a checkpoint of another run, with its config and other values of --set, into a "
      "folder of its own: RUN_fork_STEP, or --output. Another update, sampler or data set is given "
      "as a whole: 'update={\"name\": \"adam\", "
      "\"learning_rate\": 0.001}'");
  fork->add_option("run", arguments.parent, "the folder of the other run")->required();
  fork->add_option("--at", arguments.at, "STEP: the step of the checkpoint")->required();
  AddOverrides(*fork, arguments);
  AddRunOptions(*fork, arguments);
  CLI::App* validate = app.add_subcommand("validate", "check a config without reading data");
  AddConfigOptions(*validate, arguments);
  CLI::App* describe =
      app.add_subcommand("describe", "layers, parameters, and an estimate of memory and time");
  AddConfigOptions(*describe, arguments);
  CLI::App* resolve = app.add_subcommand(
      "resolve", "print the config with all overrides and defaults, as a run folder keeps it");
  AddConfigOptions(*resolve, arguments)->required(false);
  resolve->add_flag("--layers", arguments.layers,
                    "print the model as a list of layers, to change it: the model 'layers'");
  CLI::Option* jobs = resolve->add_option(
      "--jobs", arguments.jobs,
      "instead of a config: a file of lines 'sgdscope run ...'; prints one JSON object a job");
  for (CLI::Option* option : resolve->get_options()) {
    if (option != jobs && option != resolve->get_help_ptr()) jobs->excludes(option);
  }
  CLI::App* diagnose = app.add_subcommand(
      "diagnose",
      "what an expert would see in runs, at work or over: with numbers, and what to do");
  diagnose->add_option("run", arguments.runs, "RUN...: the folders of runs")->required();
  diagnose->add_flag("--json", arguments.json, "print a JSON list with an object for each run");
  diagnose->footer("Rules:\n" + FindingRules());
  CLI::App* columns = app.add_subcommand(
      "columns",
      "write columns of a run's metrics.csv or eval.csv to stdout as an array of .npy, "
      "float64 [columns, rows] with NaN for empty cells: many times faster than CSV");
  columns->add_option("csv", arguments.csv, "the CSV file")->required();
  columns
      ->add_option("--columns", arguments.selection.columns,
                   "NAME[,NAME]...: which ones, in this order (default: all)")
      ->delimiter(',')
      ->allow_extra_args(false);
  columns->add_option("--end", arguments.selection.end,
                      "BYTES: the file up to there, while a run goes on (default: all of it)");
  CLI::App* start_jobs = app.add_subcommand(
      "start-jobs", "start many runs as standard input asks for them, for scripts/sweep.sh");
  start_jobs->footer(JobProtocol());
  CLI::App* list = app.add_subcommand("list", "everything that a config can name, with its fields");
  list->add_option("kind", arguments.kind, "only one kind, e.g. probes");
  CLI::App* schema = app.add_subcommand("schema", "JSON Schema of configs, for editors");

  const auto named = [&](const CLI::App* command) {
    return argc > 1 && command->check_name(argv[1]);
  };
  const auto given = std::as_const(app).get_subcommands(named);
  CheckArguments(given.empty() ? app : *given[0], {argv + 1, argv + argc});
  std::vector<std::string> commands;
  std::string listed;
  for (const CLI::App* command : std::as_const(app).get_subcommands({})) {
    commands.push_back(command->get_name());
    listed += (listed.empty() ? "" : ", ") + command->get_name();
  }
  if (argc > 1 && argv[1][0] != '-' && std::ranges::find(commands, argv[1]) == commands.end()) {
    const std::string near = Nearest(argv[1], commands);
    throw Error(
        ErrorKind::kConfig, argv[1], "unknown command",
        (near.empty() ? "" : "Did you mean '" + near + "'? ") + "Commands: " + listed + ".");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ErrorKind::kConfig);
  }
  if (run->parsed()) return Run(arguments);
  if (fork->parsed()) return ForkRun(arguments);
  if (validate->parsed()) return Validate(arguments);
  if (describe->parsed()) return DescribeConfig(arguments);
  if (resolve->parsed()) return Resolve(arguments);
  if (diagnose->parsed()) return Diagnose(arguments);
  if (columns->parsed()) return Columns(arguments);
  if (start_jobs->parsed()) return BecomeJobs(argv[0]);
  if (list->parsed()) std::fputs(Listing(arguments.kind).c_str(), stdout);
  if (schema->parsed()) std::printf("%s\n", ConfigSchema().dump(2).c_str());
  return 0;
}

/// `status`, unless a result that was printed did not get to where it was to go.
int Printed(int status) {
  const bool failed_before = std::ferror(stdout) != 0;
  if (failed_before) std::fputc('\n', stdout);  // so that the system gives its reason again
  errno = 0;
  if (std::fflush(stdout) == 0 && !failed_before) return status;
  const std::string reason = errno == 0 ? "" : std::string(": ") + std::strerror(errno);
  return Fail(ErrorKind::kResource, "standard output: cannot write" + reason +
                                        "\n  What was printed is not whole: send it elsewhere.");
}

constexpr const char* kLessMemory =
    "\n  Set piece_size, which bounds what a batch and an evaluation take, or use a smaller "
    "network or batch.";

/// What `Main` returns, or the status of the error that it ends with, which is printed.
int Status(int argc, char** argv) {
  try {
    return Printed(Main(argc, argv));
  } catch (const Error& error) {
    return Fail(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return Fail(ErrorKind::kResource, std::string("out of memory") + kLessMemory);
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    const bool memory = message.find("memory") != std::string::npos;
    return Fail(memory ? ErrorKind::kResource : ErrorKind::kInternal,
                "LibTorch: " + message + (memory ? kLessMemory : ""));
  } catch (const std::filesystem::filesystem_error& error) {
    return Fail(ErrorKind::kResource, error.what());
  } catch (const std::exception& error) {
    return Fail(ErrorKind::kInternal, std::string("unexpected: ") + error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  OpenStandardStreams();
  RestartWithFastBlas(argv);
  // Beyond a file size limit (ulimit -f), writing then fails with an error that says so.
  std::signal(SIGXFSZ, SIG_IGN);
  const int status = Status(argc, argv);
  std::fflush(nullptr);
  // LibTorch would take back each of its registrations, which takes nearly as long as it took to
  // make them; with the process they are gone anyway.
  std::_Exit(status);
}
