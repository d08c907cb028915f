#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "commands.h"
#include "exit_codes.h"
#include "failures.h"
#include "heartbeat.h"
#include "say.h"
#include "signals.h"
#include "tulle/base/clock.h"
#include "tulle/base/error.h"
#include "tulle/checkpoint/run_directory.h"
#include "tulle/train/experiment.h"

extern char** environ;

namespace tulle::cli {
namespace {

struct LaunchOptions {
  std::string np = "2", hosts;
  int max_restarts = 3;
  double heartbeat = 5.0;  // seconds
  std::vector<std::string> mpi, command;
};

struct Sizes {
  int minimum = 1, maximum = 1;
};

// "4" or "2:8".
Sizes parse_sizes(const std::string& text) {
  const auto number = [&](std::string_view part) {
    int value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc{} || end != part.data() + part.size() || value < 1 || value > 1'000'000)
      throw CLI::ValidationError("--np", fmt::format("found '{}', expected MIN:MAX or a number", text));
    return value;
  };
  const std::size_t colon = text.find(':');
  const Sizes sizes{number(text.substr(0, colon)),
                    number(colon == std::string::npos ? text : text.substr(colon + 1))};
  if (sizes.minimum > sizes.maximum)
    throw CLI::ValidationError("--np", fmt::format("found '{}', expected MIN:MAX with MIN first", text));
  return sizes;
}

// One line of a hostfile: a name, and perhaps slots=N.
struct Host {
  std::string name;
  int slots = 1;
};

int slots_of(const std::string& word, const std::string& path) {
  int slots = 0;
  const char* const end = word.data() + word.size();
  const auto [last, error] = std::from_chars(word.data() + std::strlen("slots="), end, slots);
  if (error != std::errc{} || last != end || slots < 1)
    throw Error(ErrorKind::kConfig, {.file = path},
                fmt::format("'{}', found no number of 1 or more, expected slots=N", escape_control(word)));
  return slots;
}

std::vector<Host> read_hosts(const std::string& path) {
  if (std::filesystem::is_directory(path)) throw system_error(EISDIR, path, "read");
  std::ifstream file(path);
  if (!file) throw system_error(errno, path, "open");
  std::vector<Host> hosts;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    Host host;
    if (!(words >> host.name)) continue;
    for (std::string word; words >> word;)
      if (word.starts_with("slots=")) host.slots = slots_of(word, path);
    hosts.push_back(host);
  }
  if (hosts.empty())
    throw Error(ErrorKind::kConfig, {.file = path}, "hosts, found none, expected one a line");
  return hosts;
}

// How to run a program.
struct Watch {
  bool quiet = false;                                // says nothing
  std::optional<std::chrono::seconds> limit{};       // then it is killed
  std::optional<std::chrono::seconds> after_loss{};  // the same, from when a rank tells that it lost another
  double silence = std::numeric_limits<double>::infinity();  // the same, of a rank that was heard before
  double pause = 0.0;                                        // of a healthy rank, at most
};

// Passes on what a program prints to standard error, but for its ranks' signs of life; sees whether one of
// them told of another that is lost. mpirun may wait for the daemon of a host that is cut off for ever.
class Listener {
 public:
  /// `pause`: of a healthy rank, at most.
  explicit Listener(double pause) : pause_(pause) {
    if (pipe2(ends_, O_CLOEXEC) != 0) throw system_error(errno, "pipe", "create");
    fcntl(ends_[0], F_SETFL, O_NONBLOCK);
  }
  ~Listener() {
    close_writing();
    close(ends_[0]);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int writing() const { return ends_[1]; }
  void close_writing() {
    if (ends_[1] >= 0) close(std::exchange(ends_[1], -1));
  }

  void pass_on() {
    heartbeats_.passed(std::min(since_.restart(), 0.5));
    // As it was before the loss is told of: MPI wakes ranks to end them.
    const std::string suspect = lost_ ? "" : heartbeats_.suspect(pause_);
    char text[4096];
    for (ssize_t count = 0; (count = read(ends_[0], text, sizeof text)) > 0;) {
      const std::string part = heartbeats_.take({text, static_cast<std::size_t>(count)});
      say(part);
      recent_.append(part);
      if (!lost_ && recent_.find("expected one within parallel.timeout") != std::string::npos)
        lost_ = true, suspect_ = suspect;
      if (recent_.size() > 256) recent_.erase(0, recent_.size() - 256);
    }
  }
  bool lost() const { return lost_; }
  /// A line on the rank that was lost, if one can be told; "" before.
  const std::string& suspect() const { return suspect_; }
  const Heartbeats& heartbeats() const { return heartbeats_; }

 private:
  double pause_;
  Heartbeats heartbeats_;
  Clock since_;  // it was passed on last
  int ends_[2] = {-1, -1};
  std::string recent_, suspect_;
  bool lost_ = false;
};

// The program's exit code, or 128 and the signal that ended it. A signal to stop is passed on to it.
int run_program(const std::vector<std::string>& words, const Signals& signals, const Watch& watch) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Listener listener(watch.pause);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (watch.quiet)
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO})
      posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0);
  else
    posix_spawn_file_actions_adddup2(&actions, listener.writing(), STDERR_FILENO);
  pid_t child = 0;
  const int fault = posix_spawnp(&child, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  listener.close_writing();
  if (fault != 0)
    throw Error(ErrorKind::kConfig,
                fmt::format("{}, found none that can be started, expected MPI's launcher", words[0]));

  using Steady = std::chrono::steady_clock;
  const auto start = Steady::now();
  std::optional<Steady::time_point> lost, silent;
  bool told = false;
  for (int status = 0;;) {
    const bool ended = waitpid(child, &status, WNOHANG) == child;
    listener.pass_on();
    const Heartbeats& heartbeats = listener.heartbeats();
    if (ended) {
      const bool killed = silent || (lost && !WIFEXITED(status));
      const int code = status != 0 && killed ? exit_code(ErrorKind::kTemporary)
                       : WIFEXITED(status)   ? WEXITSTATUS(status)
                                             : 128 + WTERMSIG(status);
      if (code == exit_code(ErrorKind::kTemporary) && !silent) say(listener.suspect());
      return code;
    }
    if (signals.stop && !told) kill(child, SIGUSR2), told = true;  // mpirun passes it on
    if (listener.lost() && !lost) lost = Steady::now();
    if (!silent && heartbeats.silent(watch.silence)) {
      silent = Steady::now();
      say(heartbeats.suspect(watch.silence));
      kill(child, SIGTERM);  // mpirun ends its ranks, also those that are stopped
    }
    if ((watch.limit && Steady::now() - start > *watch.limit) ||
        (watch.after_loss && lost && Steady::now() - *lost > *watch.after_loss) ||
        (silent && Steady::now() - *silent > std::chrono::seconds(10)))
      kill(-child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::vector<Host> answering(const std::vector<Host>& hosts, const LaunchOptions& options,
                            const Signals& signals) {
  std::vector<Host> alive;
  for (const Host& host : hosts) {
    std::vector<std::string> probe{"mpirun"};
    probe.insert(probe.end(), options.mpi.begin(), options.mpi.end());
    probe.insert(probe.end(), {"-n", "1", "--host", host.name, "true"});
    if (run_program(probe, signals, {.quiet = true, .limit = std::chrono::seconds(15)}) == 0)
      alive.push_back(host);
    else
      say(fmt::format("launch  {} does not answer\n", escape_control(host.name)));
  }
  return alive;
}

// As many ranks as there are places for: a power of two, of which the bits do not depend, if the limits
// allow.
int ranks_for(const Sizes& sizes, int places) {
  const int most = std::min(sizes.maximum, places);
  int power = 1;
  while (power * 2 <= most) power *= 2;
  return power >= sizes.minimum ? power : most;
}

std::int64_t newest_step(const std::string& directory) {
  if (!std::filesystem::is_directory(directory)) return -1;
  const auto checkpoints = list_checkpoints(directory);
  return checkpoints.empty() ? -1 : checkpoints.front().step;
}

bool may_work_later(int code) {
  return code == exit_code(ErrorKind::kTemporary) || code == 137 || code == kTerminated;
}

int run_launch(const LaunchOptions& options) {
  const Sizes sizes = parse_sizes(options.np);
  if (options.command.empty() || options.command.front() != "train")
    throw Error(
        ErrorKind::kConfig,
        fmt::format(
            "the command to launch, found {}, expected -- train CONFIG ...",
            options.command.empty() ? "none" : fmt::format("'{}'", escape_control(options.command.front()))));
  const Config config = config_of_training({options.command.begin() + 1, options.command.end()});
  const std::string directory = run_directory_of(config);
  const Watch watch{.after_loss = std::chrono::seconds(4),
                    .silence = config.parallel.timeout + 4.0 * options.heartbeat,
                    .pause = 2.0 * options.heartbeat};
  const std::vector<Host> hosts = options.hosts.empty() ? std::vector<Host>{} : read_hosts(options.hosts);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  Signals& signals = catch_signals();

  int restarts = 0, pause = 1;
  for (std::int64_t step = newest_step(directory);;) {
    std::vector<Host> alive = hosts;
    int places = sizes.maximum;
    if (!hosts.empty()) {
      alive = answering(hosts, options, signals);
      places = 0;
      for (const Host& host : alive) places += host.slots;
    }
    const int ranks = places > 0 ? ranks_for(sizes, places) : 0;
    if (ranks < sizes.minimum)
      say(fmt::format("launch  hosts that answer have {} slots, expected at least {} (--np)\n", places,
                      sizes.minimum));
    int code = exit_code(ErrorKind::kTemporary);
    if (ranks >= sizes.minimum) {
      std::vector<std::string> words{"mpirun", "-n", std::to_string(ranks)};
      words.insert(words.end(), options.mpi.begin(), options.mpi.end());
      if (!alive.empty()) {
        std::string list;
        for (const Host& host : alive)
          list += fmt::format("{}{}:{}", list.empty() ? "" : ",", host.name, host.slots);
        words.insert(words.end(), {"--host", list});
      }
      words.push_back(self);
      words.insert(words.end(), options.command.begin(), options.command.end());
      if (std::ranges::none_of(options.command, [](const auto& w) { return w.starts_with("--resume"); }))
        words.push_back("--resume=auto");
      words.push_back(fmt::format("--heartbeat={}", options.heartbeat));
      say(fmt::format("launch  {} ranks\n", ranks));
      code = run_program(words, signals, watch);
    }
    if (signals.stop) return stopped_exit_code();
    if (!may_work_later(code)) return code;
    if (const std::int64_t now = newest_step(directory); now > step) step = now, restarts = 0, pause = 1;
    if (restarts++ >= options.max_restarts) {
      complain(
          fmt::format("launch: found exit status {} after {} restarts without a newer checkpoint, expected 0",
                      code, options.max_restarts));
      return code;
    }
    say(fmt::format("launch  exit status {}; again in {} s ({} of {})\n", code, pause, restarts,
                    options.max_restarts));
    for (int tenth = 0; tenth < 10 * pause && !signals.stop; ++tenth)
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (signals.stop) return stopped_exit_code();
    pause = std::min(2 * pause, 60);
  }
}

}  // namespace

Command launch_command(CLI::App& app) {
  auto options = std::make_shared<LaunchOptions>();
  app.add_option("--np", options->np, "ranks: a number, or MIN:MAX, of which as many as hosts answer");
  app.add_option("--hosts", options->hosts, "file of hosts, one a line: NAME [slots=N]");
  app.add_option("--max-restarts", options->max_restarts,
                 "restarts without a newer checkpoint, after which it is given up")
      ->check(CLI::NonNegativeNumber);
  app.add_option(
         "--heartbeat", options->heartbeat,
         "seconds between two signs of life of a rank; one that is silent for parallel.timeout and four of "
         "them hangs")
      ->check(CLI::Range(0.1, 3600.0));
  app.add_option("--mpi", options->mpi, "a word more for mpirun; may be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("command", options->command, "-- train CONFIG ..., as every rank is to run it");
  return [options] { return run_launch(*options); };
}

}  // namespace tulle::cli
