#include "recover_grid.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "options.h"
#include "progress.h"
#include "say.h"
#include "tulle/base/error.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/report/append_file.h"
#include "tulle/report/html.h"

namespace tulle::cli {

namespace {

using Json = nlohmann::json;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : "";
}

// A cell's name: what tells it from the others.
std::string cell_name(const Json& record) {
  return fmt::format("{}/{}/{}/{}", record["method"].get<std::string>(),
                     record["hidden_width"].get<std::int64_t>(), record["budget"].get<std::int64_t>(),
                     record["seed"].get<std::int64_t>());
}

bool names_a_cell(const Json& record) {
  const auto is = [&](const char* key, auto kind) {
    const auto found = record.find(key);
    return found != record.end() && (*found.*kind)();
  };
  return record.is_object() && is("method", &Json::is_string) &&
         is("hidden_width", &Json::is_number_integer) && is("budget", &Json::is_number_integer) &&
         is("seed", &Json::is_number_integer);
}

// Lines of cells that are done; a crash may have left the last one without its end.
struct GridLines {
  std::vector<Json> records;
  std::uintmax_t bytes = 0;  // of the whole lines
};

GridLines read_lines(const std::string& path) {
  GridLines lines;
  std::ifstream file(path, std::ios::binary);
  for (std::string text; std::getline(file, text) && !file.eof();) {
    Json record = Json::parse(text, nullptr, false);
    if (record.is_discarded() || !names_a_cell(record))
      throw Error(ErrorKind::kBadData,
                  {.file = path, .line = static_cast<std::int64_t>(lines.records.size()) + 1},
                  "line of a grid, found another, expected JSON with method, hidden_width, budget and seed");
    lines.records.push_back(std::move(record));
    lines.bytes += text.size() + 1;
  }
  return lines;
}

constexpr const char* kColumns[] = {"method",
                                    "hidden_width",
                                    "budget",
                                    "seed",
                                    "nnz",
                                    "unfused_nnz",
                                    "alive",
                                    "psnr",
                                    "fresh_psnr",
                                    "accuracy",
                                    "fresh_accuracy",
                                    "support_f1",
                                    "weight_error",
                                    "exact",
                                    "steps",
                                    "starts",
                                    "seconds",
                                    "bytes_beyond_data",
                                    "peak_rss"};

std::string csv_of(const std::vector<Json>& records) {
  std::string text = fmt::format("{}\n", fmt::join(kColumns, ","));
  for (const Json& record : records) {
    std::vector<std::string> cells;
    for (const char* column : kColumns) {
      const Json value = record.value(column, Json());
      const bool none = value.is_null() || (value.is_number_float() && !std::isfinite(value.get<double>()));
      cells.push_back(none ? "" : value.is_string() ? value.get<std::string>() : value.dump());
    }
    text += fmt::format("{}\n", fmt::join(cells, ","));
  }
  return text;
}

Config cell_config(const Config& given, std::int64_t seed, std::int64_t width, std::int64_t budget,
                   const std::string& method) {
  Config config = given;
  config.run.seed = seed;
  set_config_value(config, "recover.hidden_width", fmt::format("{}", width));
  set_config_value(config, "recover.nnz", fmt::format("{}", budget));
  set_config_value(config, "recover.method", method);
  return config;
}

// Refuses lists with what cannot be before anything is written.
void check_cells(const Config& given, const GridOptions& grid) {
  for (const std::int64_t width : grid.widths)
    if (given.recover.task == "sensing" && width != 1)  // cells are known by the width that they have
      throw Error(ErrorKind::kConfig,
                  fmt::format("--widths, found {}, expected 1 with recover.task = \"sensing\"", width));
  for (const std::int64_t width : grid.widths)
    for (const std::int64_t budget : grid.budgets)
      for (const std::string& method : grid.methods)
        check_recovery(cell_config(given, 0, width, budget, method));
}

}  // namespace

std::string recover_status(const RecoverTask& task, const RecoverStep& now) {
  return fmt::format("step {:>4}{}  nnz {}  {}", now.step,
                     task.classify ? "" : fmt::format("  psnr {:.2f} dB", now.psnr), now.nonzeros,
                     clock_text(now.seconds));
}

bool recover_grid(const Config& given, const GridOptions& wanted, const std::atomic<bool>& stop, bool quiet) {
  GridOptions grid = wanted;
  if (grid.methods.empty()) grid.methods.push_back(given.recover.method);
  const std::vector<std::int64_t> seeds = parse_seeds(grid.seeds);
  check_cells(given, grid);
  const std::string folder = (std::filesystem::path(given.run.out) / given.run.name).string();
  check_recovery_folder(folder, true);
  const RunDirectory directory = RunDirectory::open(folder);
  Config same = given;  // what all cells share
  same.recover.hidden_width = same.recover.nnz = 1;
  same.run.seed = 0;
  same.recover.method = "strong";
  same.run.threads = 0;
  same.run.out = Config().run.out;  // nor does it matter where it is and what is shown
  same.run.name = "recover";
  same.log = Config().log;
  const std::string text = effective_config(same, {"what the cells of this grid share"}, kRecoverSections);
  const std::string config_path = folder + "/config.toml", lines_path = folder + "/grid.jsonl";
  if (const std::string there = read_text(config_path); !there.empty() && there != text)
    throw Error(ErrorKind::kConfig, {.file = config_path},
                "the grid in this folder, found other options, expected the same; choose another --name");
  write_file_atomically(config_path, text);

  GridLines before = read_lines(lines_path);
  std::vector<Json>& records = before.records;
  AppendFile lines(lines_path, before.bytes);
  std::set<std::string> done;
  for (const Json& record : records) done.insert(cell_name(record));
  const auto write = [&] {
    write_file_atomically(folder + "/grid.csv", csv_of(records));
    if (!records.empty()) write_file_atomically(folder + "/grid.html", html_report({read_run(folder)}));
  };
  StatusLine line(quiet ? "none" : given.log.progress);
  for (const std::int64_t seed : seeds)
    for (const std::int64_t width : grid.widths)
      for (const std::int64_t budget : grid.budgets)
        for (const std::string& method : grid.methods) {
          const Config config = cell_config(given, seed, width, budget, method);
          const Json cell{{"method", method}, {"hidden_width", width}, {"budget", budget}, {"seed", seed}};
          if (!done.insert(cell_name(cell)).second) continue;
          const RecoverTask task = task_of(config);
          const auto watch = [&](const RecoverStep& now) {
            if (line.due())
              line.draw(fmt::format("{}  m {}  s {}  seed {}  {}", method, width, budget, seed,
                                    recover_status(task, now)));
          };
          Recovery found;
          const Json record = recover_once(config, task, stop, found, watch);
          line.clear();
          if (stop) {
            write();
            return false;
          }
          records.push_back(record);
          lines.append(record.dump() + "\n");
          if (!quiet)
            say(fmt::format("{:<7} m {:<5} s {:<5} seed {:<4} {}   {:.2f} s\n", method, width, budget, seed,
                            record.contains("psnr")
                                ? fmt::format("psnr {:7.2f} dB", record["psnr"].get<double>())
                                : fmt::format("accuracy {:6.2f} %", 100.0 * record["accuracy"].get<double>()),
                            record["seconds"].get<double>()));
        }
  write();
  if (!quiet) fmt::print("{0}/grid.csv\n{0}/grid.html\n", escape_control(folder));
  return true;
}

}  // namespace tulle::cli
