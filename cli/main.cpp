#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <new>

#include "commands.h"
#include "exit_codes.h"
#include "tulle/version.h"

namespace tulle::cli {
namespace {

struct CommandInfo {
  const char* name;
  const char* help;
  Command (*make)(CLI::App&);
};

// To add a verb: its file, its declaration in commands.h, one line here.
constexpr CommandInfo kCommands[] = {
    {"train", "train a network from a config file, or resume a training", train_command},
    {"eval", "loss and accuracy of a model on labelled data", eval_command},
    {"predict", "outputs of a model for data without labels", predict_command},
    {"inspect", "what a model, checkpoint or safetensors file holds", inspect_command},
    {"list", "names of everything that can be chosen, and all config keys", list_command},
};

void complain(std::string_view message) { fmt::print(stderr, "tulle: {}\n", message); }

int run(int argc, char** argv) {
  CLI::App app{"tulle: truly sparse neural networks", "tulle"};
  app.set_version_flag("--version", std::string("tulle ") + std::string(kVersion));
  app.require_subcommand(1);
  int code = kOk;
  for (const CommandInfo& command : kCommands) {
    CLI::App* verb = app.add_subcommand(command.name, command.help);
    verb->callback([&code, run = command.make(*verb)] { code = run(); });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    complain(escape_control(error.what()) + "; see tulle --help");
    return kUsage;
  }
  return code;
}

}  // namespace
}  // namespace tulle::cli

int main(int argc, char** argv) {
  using namespace tulle::cli;
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is a write error, not a death
  try {
    const int code = run(argc, argv);
    std::cout.flush();
    if (std::fflush(stdout) != 0 || !std::cout) {
      complain("cannot write to standard output");
      return exit_code(tulle::ErrorKind::kIo);
    }
    return code;
  } catch (const tulle::Error& error) {
    complain(error.what());
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    complain("out of memory");
    return kMemory;
  } catch (const std::exception& error) {
    complain(fmt::format("internal error: {}; please report this", tulle::escape_control(error.what())));
    return kInternal;
  }
}
