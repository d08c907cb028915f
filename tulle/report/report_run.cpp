#include "tulle/report/report_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "tulle/base/error.h"
#include "tulle/report/recovery_files.h"

namespace tulle {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSeedFolder = "seed-";

bool has_metrics(const std::string& directory) { return fs::is_regular_file(directory + "/metrics.jsonl"); }

// The folders seed-N that hold records, by N.
std::vector<std::string> seed_folders(const std::string& directory) {
  std::vector<std::pair<std::int64_t, std::string>> folders;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kSeedFolder) || !has_metrics(entry.path().string())) continue;
    const char* end = name.data() + name.size();
    std::int64_t seed = 0;
    const auto [rest, error] = std::from_chars(name.data() + kSeedFolder.size(), end, seed);
    if (error == std::errc() && rest == end) folders.emplace_back(seed, entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  std::vector<std::string> paths;
  for (auto& [seed, path] : folders) paths.push_back(std::move(path));
  return paths;
}

}  // namespace

std::string run_name(const std::string& directory) {
  const std::size_t end = directory.find_last_not_of('/');
  if (end == std::string::npos) return "run";
  return fs::path(directory.substr(0, end + 1)).filename().string();
}

ReportRun read_run(const std::string& directory) {
  ReportRun run{.name = run_name(directory)};
  if (has_metrics(directory))
    run.seeds.push_back(read_metrics(directory));
  else
    for (const std::string& folder : seed_folders(directory)) run.seeds.push_back(read_metrics(folder));
  run.recovery = read_recovery(directory);
  if (!run.seeds.empty() || run.recovery) return run;
  throw Error(
      ErrorKind::kMissingInput, {.file = directory},
      fmt::format("the run directory, found {}, expected metrics.jsonl, folders seed-N, result.json or "
                  "grid.jsonl",
                  fs::is_directory(directory) ? "no records" : "no such folder"));
}

}  // namespace tulle
