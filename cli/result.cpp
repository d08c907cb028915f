#include "result.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tulle/kernels/gemm.h"

namespace tulle::cli {
namespace {

// Runs this program again with `arguments` and waits for it.
void run_self(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"tulle"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) throw system_error(errno, "/proc/self/exe", "start a second process");
  if (child == 0) {
    execv("/proc/self/exe", argv.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw Error(ErrorKind::kTemporary,
                fmt::format("the dense comparison, found exit status {}, expected 0; "
                            "--compare-dense none leaves it out",
                            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
}

constexpr int kTimedBatches = 30;

}  // namespace

Outcome run_dense(const std::string& run_directory, const std::string& mode, std::int64_t batches) {
  const std::string folder = run_directory + "/dense";
  std::filesystem::remove_all(folder);
  std::vector<std::string> arguments{
      "train",          run_directory + "/config.toml", "--quiet",           "--out=" + run_directory,
      "--name=dense",   "--distribution=uniform",       "--density=1",       "--rule=none",
      "--report=false", "--compare-dense=none",         "--save-every=never"};
  Config config;
  read_config_file(config, run_directory + "/config.toml");
  if (mode == "timing") {
    arguments.push_back(fmt::format("--max-rows={}", kTimedBatches * config.train.batch_size));
    arguments.push_back("--epochs=1");
    arguments.push_back(
        "--learning-rate=0");  // the same work, and a network that does not learn cannot diverge
  } else if (config.log.dense_learning_rate > 0.0) {
    arguments.push_back(fmt::format("--learning-rate={}", config.log.dense_learning_rate));
  }
  run_self(arguments);

  const RunRecord record = read_metrics(folder);
  const auto number = [&](std::string_view name) {
    for (const ResultRow& row : record.result->rows)
      if (row.name == name) return row.sparse;
    return 0.0;
  };
  Outcome outcome;
  outcome.accuracy = mode == "train" ? number("test accuracy") : -1.0;
  outcome.loss = number("loss");
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
  const auto add = [&](std::string name, double Outcome::*number, const auto& text,
                       std::string_view good = "", std::string_view bad = "") {
    ResultRow row{.name = std::move(name),
                  .sparse = sparse.*number,
                  .dense = {},
                  .sparse_text = text(sparse.*number),
                  .dense_text = "",
                  .factor = ""};
    if (dense != nullptr) {
      row.dense = dense->*number;
      row.dense_text = text(dense->*number);
      if (!good.empty()) row.factor = factor(sparse.*number, dense->*number, good, bad);
    }
    record.rows.push_back(std::move(row));
  };
  const auto percent = [](double share) {
    return share < 0.0 ? std::string("-") : fmt::format("{:.2f} %", 100.0 * share);
  };
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
    record.note += fmt::format("; dense: by {}, in a process of its own{}", kernels::gemm_library(),
                               dense->accuracy < 0.0 ? ", a few batches only, seconds extrapolated" : "");
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
