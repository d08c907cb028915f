#include "recover_grid.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "options.h"
#include "say.h"
#include "tulle/base/error.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/report/html.h"
#include "tulle/train/recover_run.h"

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
      cells.push_back(value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.dump());
    }
    text += fmt::format("{}\n", fmt::join(cells, ","));
  }
  return text;
}

}  // namespace

bool recover_grid(const Config& given, const GridOptions& wanted, const std::atomic<bool>& stop, bool quiet) {
  GridOptions grid = wanted;
  if (grid.methods.empty()) grid.methods.push_back(given.recover.method);
  const std::string folder = (std::filesystem::path(given.run.out) / given.run.name).string();
  const RunDirectory directory = RunDirectory::open(folder);
  Config same = given;  // what all cells share
  same.recover.hidden_width = same.recover.nnz = 1;
  same.run.seed = 0;
  same.recover.method = "strong";
  same.run.threads = 0;
  const std::string text = effective_config(same, {"what the cells of this grid share"}, kRecoverSections);
  const std::string config_path = folder + "/config.toml", lines_path = folder + "/grid.jsonl";
  if (const std::string before = read_text(config_path); !before.empty() && before != text)
    throw Error(ErrorKind::kConfig, {.file = config_path},
                "the grid in this folder, found other options, expected the same; choose another --name");
  write_file_atomically(config_path, text);

  std::vector<Json> records;
  std::map<std::string, bool> done;
  std::istringstream lines(read_text(lines_path));
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line, nullptr, false);
    if (record.is_discarded()) continue;  // torn by a crash
    if (done.emplace(cell_name(record), true).second) records.push_back(record);
  }
  const auto write = [&] {
    write_file_atomically(folder + "/grid.csv", csv_of(records));
    if (!records.empty()) write_file_atomically(folder + "/grid.html", html_report({read_run(folder)}));
  };
  for (const std::int64_t seed : parse_seeds(grid.seeds))
    for (const std::int64_t width : grid.widths)
      for (const std::int64_t budget : grid.budgets)
        for (const std::string& method : grid.methods) {
          Config config = given;
          config.run.seed = seed;
          set_config_value(config, "recover.hidden_width", fmt::format("{}", width));
          set_config_value(config, "recover.nnz", fmt::format("{}", budget));
          set_config_value(config, "recover.method", method);
          const Json cell{{"method", method}, {"hidden_width", width}, {"budget", budget}, {"seed", seed}};
          if (done.contains(cell_name(cell))) continue;
          Recovery found;
          const Json record = recover_once(config, task_of(config), stop, found);
          if (stop) {
            write();
            return false;
          }
          records.push_back(record);
          std::string all;
          for (const Json& each : records) all += each.dump() + "\n";
          write_file_atomically(lines_path, all);
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
