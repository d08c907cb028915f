#include "tulle/train/dense_run.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "tulle/base/child.h"
#include "tulle/base/error.h"
#include "tulle/train/config.h"

namespace tulle {
namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// Everything that `child` writes into `pipe`, until its end; asks the child to stop when we are asked.
std::string listen(pid_t child, int pipe, const std::atomic<bool>& stop) {
  std::string text;
  for (bool told = false;;) {
    if (stop && !told) told = kill(child, SIGTERM) == 0;
    pollfd readable{.fd = pipe, .events = POLLIN, .revents = 0};
    if (poll(&readable, 1, 100) <= 0) continue;
    char buffer[4096];
    const ssize_t count = read(pipe, buffer, sizeof buffer);
    if (count > 0) text.append(buffer, static_cast<std::size_t>(count));
    if (count == 0 || (count < 0 && errno != EINTR)) return text;
  }
}

// Runs `program` with `arguments` and waits for it.
void run(const std::string& program, const std::vector<std::string>& arguments,
         const std::atomic<bool>& stop) {
  const Child child = start_child(program, arguments);
  const std::string complaint = listen(child.id, child.output, stop);
  close(child.output);
  if (const int code = wait_for(child); code != 0)
    throw Error(ErrorKind::kTemporary,
                fmt::format("found exit status {}, expected 0: {}", code, first_line(complaint)));
}

constexpr int kTimedBatches = 30;

}  // namespace

Outcome run_dense(const std::string& program, const std::string& run_directory, const std::string& mode,
                  std::int64_t inputs, std::int64_t batches, const std::atomic<bool>& stop) {
  const std::string folder = run_directory + "/dense";
  std::filesystem::remove_all(folder);
  std::vector<std::string> arguments{"train",
                                     run_directory + "/config.toml",
                                     "--quiet",
                                     "--out=" + run_directory,
                                     "--name=dense",
                                     "--distribution=uniform",
                                     "--density=1",
                                     "--rule=none",
                                     "--report=false",
                                     "--compare-dense=none",
                                     "--save-every=never",
                                     "--mode=none",
                                     "--ranks=1",
                                     "--transport=threads"};
  Config config;
  read_config_file(config, run_directory + "/config.toml");
  if (mode == "timing") {
    arguments.push_back(fmt::format("--max-rows={}", kTimedBatches * config.train.batch_size));
    arguments.push_back("--epochs=1");
    if (config.data.format == "libsvm")  // the first rows need not have all features
      arguments.push_back(fmt::format("--set=data.features={}", inputs));
    arguments.push_back("--ignore-unknown-labels");  // the first rows need not have all classes
    arguments.push_back(
        "--learning-rate=0");  // the same work, and a network that does not learn cannot diverge
  } else if (config.log.dense_learning_rate > 0.0) {
    arguments.push_back(fmt::format("--learning-rate={}", config.log.dense_learning_rate));
  }
  run(program, arguments, stop);

  const RunRecord record = read_metrics(folder);
  const auto number = [&](std::string_view name) {
    for (const ResultRow& row : record.result->rows)
      if (row.name == name) return row.sparse;
    return Outcome::kUnknown;
  };
  if (!record.result) throw Error(ErrorKind::kBadData, {.file = folder}, "result, found none, expected one");
  Outcome outcome;
  if (mode == "train") outcome.accuracy = number("test accuracy"), outcome.loss = number("loss");
  outcome.nnz = number("connections");
  outcome.density = number("density");
  outcome.seconds_per_batch = number("seconds per batch");
  outcome.seconds =
      mode == "train" ? number("training seconds") : outcome.seconds_per_batch * static_cast<double>(batches);
  outcome.file_bytes = number("model file");
  outcome.training_bytes = number("peak memory");
  return outcome;
}

}  // namespace tulle
