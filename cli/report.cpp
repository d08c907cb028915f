#include <fmt/format.h>

#include <memory>
#include <vector>

#include "commands.h"
#include "exit_codes.h"
#include "say.h"
#include "serve.h"
#include "tulle/base/error.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/report/html.h"
#include "tulle/train/report_parts.h"

namespace tulle::cli {
namespace {

struct ReportOptions {
  std::vector<std::string> runs;
  std::string output;
  int port = kNoPort;
};

int report(const ReportOptions& options) {
  if (options.port != kNoPort) return serve_runs(options.runs, options.port);
  std::vector<ReportRun> runs;
  std::vector<std::string> skipped;
  for (const std::string& directory : options.runs) runs.push_back(whole_run(directory, skipped));
  for (const std::string& message : skipped)
    say(fmt::format("tulle: warning: left out of the report: {}\n", message));
  std::string path = options.output;
  if (path.empty()) path = runs.size() == 1 ? options.runs.front() + "/report.html" : "report.html";
  write_file_atomically(path, html_report(runs));
  fmt::print("report  {}\n", escape_control(path));
  return kOk;
}

}  // namespace

Command report_command(CLI::App& app) {
  auto options = std::make_shared<ReportOptions>();
  app.add_option("runs", options->runs, "run directories, or directories with the runs of several seeds")
      ->required();
  app.add_option("-o,--output", options->output,
                 "the page (default: report.html, in the run directory if there is one)");
  app.add_option("--serve", options->port,
                 "no file: show the page to this machine's browsers on this port until Ctrl-C, renewed as "
                 "the runs go "
                 "on; 0: any free port")
      ->check(CLI::Range(0, 65535));
  return [options] { return report(*options); };
}

}  // namespace tulle::cli
