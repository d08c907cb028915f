#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <new>
#include <system_error>

#include "commands.h"
#include "exit_codes.h"
#include "failures.h"
#include "say.h"
#include "tulle/base/name_table.h"
#include "tulle/comm/mpi.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/targets.h"
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
    {"plan", "memory and time that a training will need, before any of it is taken", plan_command},
    {"launch", "train on the ranks of an MPI job, and start it again when one is lost", launch_command},
    {"eval", "loss and accuracy of a model on labelled data", eval_command},
    {"predict", "outputs of a model for data without labels", predict_command},
    {"inspect", "what a model, checkpoint or safetensors file holds", inspect_command},
    {"prune", "remove neurons or connections from a trained model", prune_command},
    {"import", "make a model from a PyTorch state dict (safetensors), dense or masked", import_command},
    {"export", "write a model for other programs and microcontrollers: ONNX, NPZ, a C header",
     export_command},
    {"recover", "find the sparse net behind data, or fit one with a strict budget", recover_command},
    {"report", "one HTML page about a run, or about several beside each other", report_command},
    {"bench", "speed of a model beside the dense network of its shape", bench_command},
    {"list", "names of everything that can be chosen, and all config keys", list_command},
};

int refuse_usage(std::string_view message, const char* verb = nullptr) {
  complain(fmt::format("{}; see tulle{}{} --help", escape_control(message), verb != nullptr ? " " : "",
                       verb != nullptr ? verb : ""));
  return kUsage;
}

// What the argument parser left over: a flag it does not know, with the nearest one, or a word too many.
std::string leftover(const CLI::App& verb) {
  const std::vector<std::string> rest = verb.remaining();
  const auto flag = std::find_if(rest.begin(), rest.end(), [](const auto& word) { return word[0] == '-'; });
  if (flag == rest.end()) return fmt::format("argument, found '{}', expected none", rest.front());
  const std::string name = flag->substr(0, flag->find('='));
  std::vector<std::string> known;
  for (const CLI::Option* option : verb.get_options())
    for (const std::string& word : option->get_lnames()) known.push_back("--" + word);
  const std::string nearest = nearest_name(name, known);
  return fmt::format("unknown flag {}{}", name,
                     nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
}

// The words of the command line, last first as the parser wants them. "--key=" gives the empty text: the
// parser would take the next word instead.
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const bool emptied = word.starts_with("--") && word.find('=') == word.size() - 1;
    words.emplace_back(emptied ? word.substr(0, word.size() - 1) : word);
    if (emptied) words.emplace_back();
  }
  std::reverse(words.begin(), words.end());
  return words;
}

// The version, and what this build can do here.
std::string version_text() {
  const std::string mpi = mpi_library();
  return fmt::format(
      "tulle {}\ninstruction sets   {} (in use: {})\ndense products     {}\nMPI                {}", kVersion,
      fmt::join(kernels::available_targets(), " "), kernels::current_target(), kernels::gemm_library(),
      mpi.empty() ? "none" : escape_control(mpi));
}

int run(int argc, char** argv) {
  CLI::App app{"tulle: truly sparse neural networks", "tulle"};
  app.set_version_flag("--version", version_text);
  app.require_subcommand(1);
  int code = kOk;
  std::vector<std::string> verbs;
  for (const CommandInfo& command : kCommands) {
    CLI::App* verb = app.add_subcommand(command.name, command.help);
    verb->callback([&code, run = command.make(*verb)] { code = run(); });
    verbs.emplace_back(command.name);
  }
  if (argc > 1 && argv[1][0] != '-' && std::find(verbs.begin(), verbs.end(), argv[1]) == verbs.end())
    return refuse_usage(unknown_name("verb", argv[1], verbs).what());
  try {
    app.parse(words_of(argc, argv));
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ExtrasError& error) {
    const auto chosen = app.get_subcommands();
    if (chosen.empty() || chosen.front()->remaining().empty()) return refuse_usage(error.what());
    return refuse_usage(leftover(*chosen.front()), chosen.front()->get_name().c_str());
  } catch (const CLI::ParseError& error) {
    return refuse_usage(error.what());
  }
  return code;
}

// A program started without standard streams would get their numbers for its own files, and print into them.
void occupy_standard_streams() {
  int file = 0;
  while (file >= 0 && file <= STDERR_FILENO) file = open("/dev/null", O_RDWR);
  if (file > STDERR_FILENO) close(file);
}

}  // namespace
}  // namespace tulle::cli

int main(int argc, char** argv) {
  using namespace tulle::cli;
  occupy_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is a write error, not a death
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file that grows beyond its limit
  try {
    const int code = run(argc, argv);
    std::cout.flush();
    if (std::fflush(stdout) != 0 || !std::cout) throw tulle::system_error(errno, "standard output", "write");
    return code;
  } catch (...) {
    return report_exception();
  }
}
