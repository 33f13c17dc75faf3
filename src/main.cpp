// The command line: parses arguments, prints results and errors, and returns the exit status
// (src/README.md): 0 done, 1 a bug, 2 config or usage, 3 data, 4 diverged, 5 resource, 128 + signal.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "config/json.h"
#include "core/blas.h"
#include "core/error.h"
#include "core/files.h"
#include "run/describe.h"
#include "run/listing.h"
#include "run/trainer.h"

namespace {

using namespace sgdscope;  // NOLINT: this file is the program

volatile std::sig_atomic_t stop_signal = 0;

/// The first signal asks the run to stop at the next step; a second one ends the process at once.
void InstallSignalHandlers() {
  struct sigaction action{};
  action.sa_handler = [](int signal) { stop_signal = signal; };
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // Beyond a file size limit (ulimit -f), writing then fails with an error that says so.
  std::signal(SIGXFSZ, SIG_IGN);
}

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string seed;
  std::string device;
  std::string output;
  bool resume = false;
  bool overwrite = false;
  bool quiet = false;
  std::string kind;
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

std::unique_ptr<RunConfig> Load(const Arguments& arguments) {
  Json json = ReadConfigFile(arguments.config);
  for (const std::string& override : arguments.overrides) ApplyOverride(json, override);
  if (!arguments.seed.empty()) ApplyOverride(json, "seed=" + arguments.seed);
  SetText(json, "device", arguments.device);
  SetText(json, "output", arguments.output);
  return ReadRunConfig(json);
}

std::string ReasonOf(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
}

int Run(const Arguments& arguments) {
  const auto config = Load(arguments);
  Experiment experiment(*config);
  const IfExists if_exists = arguments.resume      ? IfExists::kResume
                             : arguments.overwrite ? IfExists::kOverwrite
                                                   : IfExists::kRefuse;
  const RunFolder folder(config->output, ResolvedConfig(*config), if_exists);
  if (folder.resumed() && StatusOf(folder.manifest()) == "done") {
    if (!arguments.quiet)
      std::fprintf(stderr, "%s: this run is done already\n", config->output.c_str());
    return 0;
  }
  experiment.LoadData();
  folder.Begin();
  Console console(folder.log(), arguments.quiet);
  Manifest manifest(folder.manifest(), *config);
  if (folder.resumed()) {
    const std::string changes = manifest.ContinueFrom(folder.manifest());
    if (!changes.empty()) console.Warn("rows may differ in the last bits from here on: " + changes);
  }
  manifest.SetData(experiment.data());
  InstallSignalHandlers();
  try {
    Trainer trainer(experiment, folder, console, manifest, stop_signal);
    const Outcome outcome = trainer.Run();
    if (outcome.status == "done") console.Info("results: " + folder.path().string());
    return outcome.exit_status;
  } catch (const std::exception& error) {
    console.EndProgress();
    try {
      manifest.Write("failed", ReasonOf(error), manifest.steps_done());
    } catch (const Error&) {
      // The disk may be what failed; the error that follows says so.
    }
    throw;
  }
}

int Validate(const Arguments& arguments) {
  const auto config = Load(arguments);
  const Experiment experiment(*config);
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
  std::fputs(Describe(*config).c_str(), stdout);
  return 0;
}

void AddConfigOptions(CLI::App& command, Arguments& arguments) {
  command.add_option("config", arguments.config, "the experiment, a JSON file")->required();
  command
      .add_option("--set", arguments.overrides,
                  "PATH=VALUE: overrides the file, e.g. model.hidden=[64]")
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("--seed", arguments.seed, "short for --set seed=...");
  command.add_option("--device", arguments.device, "short for --set device=...");
  command.add_option("--output", arguments.output, "short for --set output=...");
}

int Main(int argc, char** argv) {
  CLI::App app("sgdscope: measures what stochastic gradient descent does at every step");
  app.set_version_flag("--version", SGDSCOPE_VERSION);
  app.require_subcommand(1);
  Arguments arguments;

  CLI::App* run = app.add_subcommand("run", "train, and write the run folder");
  AddConfigOptions(*run, arguments);
  CLI::Option* resume =
      run->add_flag("--resume", arguments.resume, "continue an existing run folder");
  run->add_flag("--overwrite", arguments.overwrite, "replace an existing run folder")
      ->excludes(resume);
  run->add_flag("--quiet", arguments.quiet, "show warnings and errors only");
  CLI::App* validate = app.add_subcommand("validate", "check a config without reading data");
  AddConfigOptions(*validate, arguments);
  CLI::App* describe =
      app.add_subcommand("describe", "layers, parameters, and an estimate of memory and time");
  AddConfigOptions(*describe, arguments);
  CLI::App* list = app.add_subcommand("list", "everything that a config can name, with its fields");
  list->add_option("kind", arguments.kind, "only one kind, e.g. probes");
  CLI::App* schema = app.add_subcommand("schema", "JSON Schema of configs, for editors");

  const std::vector<std::string> commands = {"run", "validate", "describe", "list", "schema"};
  if (argc > 1 && argv[1][0] != '-' && std::ranges::find(commands, argv[1]) == commands.end()) {
    const std::string near = Nearest(argv[1], commands);
    throw Error(ErrorKind::kConfig, argv[1], "unknown command",
                (near.empty() ? "" : "Did you mean '" + near + "'? ") +
                    "Commands: run, validate, describe, list, schema.");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ErrorKind::kConfig);
  }
  if (run->parsed()) return Run(arguments);
  if (validate->parsed()) return Validate(arguments);
  if (describe->parsed()) return DescribeConfig(arguments);
  if (list->parsed()) std::fputs(Listing(arguments.kind).c_str(), stdout);
  if (schema->parsed()) std::printf("%s\n", ConfigSchema().dump(2).c_str());
  return 0;
}

int Fail(ErrorKind kind, const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return static_cast<int>(kind);
}

}  // namespace

int main(int argc, char** argv) {
  RestartWithFastBlas(argv);
  try {
    return Main(argc, argv);
  } catch (const Error& error) {
    return Fail(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return Fail(ErrorKind::kResource, "out of memory\n  Use a smaller network or batch.");
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    const bool memory = message.find("memory") != std::string::npos;
    return Fail(memory ? ErrorKind::kResource : ErrorKind::kInternal, "LibTorch: " + message);
  } catch (const std::filesystem::filesystem_error& error) {
    return Fail(ErrorKind::kResource, error.what());
  } catch (const std::exception& error) {
    return Fail(ErrorKind::kInternal, std::string("unexpected: ") + error.what());
  }
}
