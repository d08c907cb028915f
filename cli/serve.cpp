#include "serve.h"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>

#include "exit_codes.h"
#include "tulle/base/child.h"
#include "tulle/base/error.h"
#include "tulle/report/html.h"

namespace tulle::cli {
namespace {

constexpr const char* kHost = "127.0.0.1";
constexpr int kThreads = 4;
constexpr rlim_t kMostFiles = 64;              // and so connections
constexpr rlim_t kMostMemory = 4ull << 30;     // of addresses
constexpr std::size_t kMostRecords = 8 << 20;  // bytes of a run's newest records in /metrics.json
constexpr time_t kTimeout = 5;                 // seconds
constexpr auto kFreshFor = std::chrono::seconds(1);
constexpr std::string_view kComplaint = "tulle: ";

// A text that is made at most once a second; the one before if that fails.
class Cached {
 public:
  explicit Cached(std::function<std::string()> make) : make_(std::move(make)) {}
  std::string text() {
    const std::lock_guard lock(mutex_);
    if (text_.empty() || std::chrono::steady_clock::now() - made_ > kFreshFor) {
      try {
        text_ = make_();
      } catch (const std::exception&) {
        if (text_.empty()) throw;
      }
      made_ = std::chrono::steady_clock::now();
    }
    return text_;
  }

 private:
  std::function<std::string()> make_;
  std::mutex mutex_;
  std::string text_;
  std::chrono::steady_clock::time_point made_;
};

ReportRun run_so_far(const std::string& directory) {
  try {
    return read_run(directory);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMissingInput) throw;
    return {.name = run_name(directory), .seeds = {RunRecord{.directory = directory}}};
  }
}

std::string page_of(const std::vector<std::string>& directories) {
  std::vector<ReportRun> runs;
  for (const std::string& directory : directories) runs.push_back(run_so_far(directory));
  return html_report(runs, {.live = true});
}

// The lines of a run's records that fit, the newest ones, as one JSON array.
std::string records_of(const std::string& directory) {
  std::ifstream file(directory + "/metrics.jsonl", std::ios::ate);
  const auto bytes = file ? static_cast<std::size_t>(file.tellg()) : 0;
  file.seekg(static_cast<std::streamoff>(bytes - std::min(bytes, kMostRecords)));
  std::string records;
  for (std::string line; std::getline(file, line);)
    if (nlohmann::json::accept(line)) records += (records.empty() ? "" : ",\n") + line;
  return records;
}

std::string metrics_of(const std::vector<std::string>& directories) {
  std::string text;
  for (const std::string& directory : directories)
    for (const RunRecord& seed : run_so_far(directory).seeds)
      text += fmt::format("{}{{\"run\":{},\"records\":[{}]}}", text.empty() ? "" : ",\n",
                          nlohmann::json(run_name(seed.directory))
                              .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                          records_of(seed.directory));
  return fmt::format("[{}]\n", text);
}

// A page of another site must not reach this one by a name of its own that leads here.
bool is_for_this_machine(const httplib::Request& request) {
  const std::string host = request.get_header_value("Host");
  const std::string name = host.substr(0, host.rfind(':'));
  return name == kHost || name == "localhost";
}

// What a process that only reads records and answers browsers may take.
void limit_process() {
  const rlimit files{kMostFiles, kMostFiles}, memory{kMostMemory, kMostMemory};
  setrlimit(RLIMIT_NOFILE, &files);
  setrlimit(RLIMIT_AS, &memory);
  setpriority(PRIO_PROCESS, 0, 10);
}

void limit(httplib::Server& server) {
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_keep_alive_max_count(1);
  server.set_read_timeout(kTimeout);
  server.set_write_timeout(kTimeout);
  server.set_payload_max_length(0);
  // httplib would share a port with another server of the same user.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
}

void route(httplib::Server& server, Cached& page, Cached& metrics) {
  server.set_default_headers({{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}});
  server.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
    if (request.method != "GET" && request.method != "HEAD") {
      response.status = 405;
      response.set_header("Allow", "GET, HEAD");
    } else if (!is_for_this_machine(request)) {
      response.status = 403;
    } else {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    return httplib::Server::HandlerResponse::Handled;
  });
  server.Get("/", [&page](const httplib::Request&, httplib::Response& response) {
    response.set_content(page.text(), "text/html; charset=utf-8");
  });
  server.Get("/metrics\\.json", [&metrics](const httplib::Request&, httplib::Response& response) {
    response.set_content(metrics.text(), "application/json");
  });
  server.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
    response.status = 500;  // without what(), which httplib would tell
  });
}

}  // namespace

int serve_runs(const std::vector<std::string>& directories, int port) {
  httplib::Server server;
  Cached page([&] { return page_of(directories); }), metrics([&] { return metrics_of(directories); });
  limit(server);
  route(server, page, metrics);
  errno = 0;
  if (port == 0)
    port = server.bind_to_any_port(kHost);
  else if (!server.bind_to_port(kHost, port))
    throw Error(errno == EACCES ? ErrorKind::kPermission : ErrorKind::kTemporary,
                errno == EACCES
                    ? fmt::format("--serve, found port {}, expected one that is ours to open", port)
                    : fmt::format("--serve, found port {} in use, expected a free one; 0 takes any", port));
  fmt::print("live    http://{}:{}/\n", kHost, port);
  std::fflush(stdout);
  limit_process();
  return server.listen_after_bind() ? kOk : kInternal;
}

LivePage::LivePage(const std::string& directory, int port) {
  const Child child = start_child(kThisProgram, {"report", "--serve", std::to_string(port), "--", directory});
  process_ = child.id;
  std::string line;
  for (char letter = 0; read(child.output, &letter, 1) == 1 && letter != '\n';) line += letter;
  close(child.output);
  const std::size_t address = line.find("http");
  if (line.starts_with("live ") && address != std::string::npos) {
    address_ = line.substr(address);
    return;
  }
  const int code = wait_for(child);
  throw Error(code == exit_code(ErrorKind::kPermission) ? ErrorKind::kPermission : ErrorKind::kTemporary,
              line.starts_with(kComplaint)
                  ? line.substr(kComplaint.size())
                  : fmt::format("--serve, found exit status {} of its process", code));
}

LivePage::~LivePage() {
  kill(process_, SIGKILL);
  wait_for({.id = process_});
}

}  // namespace tulle::cli
