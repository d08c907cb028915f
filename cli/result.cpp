#include "result.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "tulle/kernels/gemm.h"

namespace tulle::cli {
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

// Runs this program again with `arguments` and waits for it.
void run_self(const std::vector<std::string>& arguments, const std::atomic<bool>& stop) {
  std::vector<std::string> words{"tulle"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int errors[2];
  if (pipe2(errors, O_CLOEXEC) != 0) throw system_error(errno, "pipe", "create");
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody would wait for the comparison
    dup2(errors[1], STDERR_FILENO);
    execv("/proc/self/exe", argv.data());
    _exit(127);
  }
  const int fork_error = errno;
  close(errors[1]);
  const std::string complaint = child > 0 ? listen(child, errors[0], stop) : "";
  close(errors[0]);
  if (child < 0) throw system_error(fork_error, "/proc/self/exe", "start a second process");
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw Error(
        ErrorKind::kTemporary,
        fmt::format("found exit status {}, expected 0: {}",
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), first_line(complaint)));
}

constexpr int kTimedBatches = 30;

}  // namespace

Outcome run_dense(const std::string& run_directory, const std::string& mode, std::int64_t batches,
                  const std::atomic<bool>& stop) {
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
    arguments.push_back("--ignore-unknown-labels");  // the first rows need not have all classes
    arguments.push_back(
        "--learning-rate=0");  // the same work, and a network that does not learn cannot diverge
  } else if (config.log.dense_learning_rate > 0.0) {
    arguments.push_back(fmt::format("--learning-rate={}", config.log.dense_learning_rate));
  }
  run_self(arguments, stop);

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

ResultRecord result_record(const Outcome& sparse, const Outcome* dense) {
  ResultRecord record;
  // smaller: how many times smaller the sparse figure is; a factor below 1 is told as what it is.
  const auto factor = [](double ours, double theirs, std::string_view good, std::string_view bad) {
    if (ours <= 0.0 || theirs <= 0.0) return std::string();
    const double times = theirs / ours;
    return fmt::format("{:.1f} x {}", times, times >= 1.0 ? good : bad);
  };
  const auto add = [&](const std::string& name, double Outcome::*number, const auto& text,
                       std::string_view good = "", std::string_view bad = "") {
    if (sparse.*number == Outcome::kUnknown) return;
    ResultRow row{.name = name,
                  .sparse = sparse.*number,
                  .dense = {},
                  .sparse_text = text(sparse.*number),
                  .dense_text = "",
                  .factor = ""};
    if (dense != nullptr && dense->*number == Outcome::kUnknown) row.dense_text = "-";
    if (dense != nullptr && dense->*number != Outcome::kUnknown) {
      row.dense = dense->*number;
      row.dense_text = text(dense->*number);
      if (!good.empty()) row.factor = factor(sparse.*number, dense->*number, good, bad);
    }
    record.rows.push_back(std::move(row));
  };
  const auto percent = [](double share) { return fmt::format("{:.2f} %", 100.0 * share); };
  const auto bytes = [](double count) { return bytes_text(static_cast<std::int64_t>(count)); };
  add("test accuracy", &Outcome::accuracy, percent);
  add("loss", &Outcome::loss, [](double loss) { return fmt::format("{:.4f}", loss); });
  add(
      "connections", &Outcome::nnz, [](double count) { return fmt::format("{:.0f}", count); }, "fewer",
      "(more)");
  add("density", &Outcome::density, percent);
  add(
      "training seconds", &Outcome::seconds, [](double s) { return fmt::format("{:.1f} s", s); }, "faster",
      "(slower)");
  add(
      "seconds per batch", &Outcome::seconds_per_batch,
      [](double s) { return fmt::format("{:.3f} ms", 1e3 * s); }, "faster", "(slower)");
  add("model file", &Outcome::file_bytes, bytes, "smaller", "(larger)");
  add("peak memory", &Outcome::training_bytes, bytes, "smaller", "(larger)");
  record.note = "peak memory: of the process while training, beyond the data";
  if (dense != nullptr)
    record.note +=
        fmt::format("; dense: by {}, in a process of its own{}", kernels::gemm_library(),
                    dense->loss == Outcome::kUnknown ? ", a few batches only, seconds extrapolated" : "");
  return record;
}

void print_result(const ResultRecord& record) {
  fmt::print("\n{:<20} {:>12} {:>12}   {}\n", "", "sparse", "dense", "factor");
  for (const ResultRow& row : record.rows)
    fmt::print("{:<20} {:>12} {:>12}   {}\n", row.name, row.sparse_text, row.dense_text, row.factor);
  fmt::print("({})\n\n", record.note);
}

std::string bytes_text(std::int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1000000000) return fmt::format("{:.2f} GB", value * 1e-9);
  if (bytes >= 1000000) return fmt::format("{:.2f} MB", value * 1e-6);
  return fmt::format("{:.1f} kB", value * 1e-3);
}

}  // namespace tulle::cli
