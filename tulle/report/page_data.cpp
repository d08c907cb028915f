#include "tulle/report/page_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

namespace tulle {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostRows = 1000;   // epochs of all runs, and steps of a recovery
constexpr std::size_t kMostClasses = 20;  // of a confusion matrix, as the page shows it

// Places 0 to count - 1, or as many of them as `most`, evenly, the last one included.
std::vector<std::size_t> choice(std::size_t count, std::size_t most) {
  std::vector<std::size_t> places;
  const std::size_t rows = std::min(count, std::max<std::size_t>(most, 1));
  for (std::size_t i = 1; i <= rows; ++i) places.push_back(i * count / rows - 1);
  return places;
}

// With 6 digits; null if it is no number.
Json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::strtod(fmt::format("{:.6g}", value).c_str(), nullptr);
}

// Figures that no epoch has are left out; the columns are equally long.
Json epochs_json(const std::vector<EpochRecord>& epochs, std::size_t most) {
  Json columns = Json::object();
  const std::vector<std::size_t> places = choice(epochs.size(), most);
  for (std::size_t row = 0; row < places.size(); ++row) {
    const Json record = Json::parse(to_json(epochs[places[row]]));
    for (const auto& [name, value] : record.items()) {
      if (!value.is_number()) continue;
      Json& column = columns[name];
      if (column.is_null()) column = Json::array();
      while (column.size() < row) column.push_back(nullptr);
      column.push_back(value.is_number_integer() ? value : rounded(value.get<double>()));
    }
  }
  for (Json& column : columns)
    while (column.size() < places.size()) column.push_back(nullptr);
  return columns;
}

Json start_json(const StartRecord& start) {
  Json json{{"seed", start.seed}, {"nnz", start.nnz},         {"dense", start.dense},
            {"isa", start.isa},   {"threads", start.threads}, {"ranks", start.ranks}};
  const std::pair<const char*, const std::string&> texts[] = {{"tulle", start.version},
                                                              {"time", start.time},
                                                              {"machine", start.machine},
                                                              {"command", start.command},
                                                              {"data", start.data}};
  for (const auto& [name, text] : texts)
    if (!text.empty()) json[name] = text;
  for (const DataFile& file : start.files)
    json["files"].push_back({{"path", file.path}, {"bytes", file.bytes}});
  return json;
}

Json confusion_json(const ResultRecord& result) {
  const std::size_t classes = result.class_names.size();
  Json rows = Json::array();
  if (classes > kMostClasses || result.confusion.size() != classes * classes) return rows;
  for (std::size_t k = 0; k < classes; ++k) {
    const auto row = result.confusion.begin() + static_cast<std::ptrdiff_t>(k * classes);
    rows.push_back(std::vector<std::int64_t>(row, row + static_cast<std::ptrdiff_t>(classes)));
  }
  return rows;
}

Json seed_json(const RunRecord& run, std::size_t most_epochs) {
  Json json{{"start", start_json(run.start)}};
  if (!run.epochs.empty()) json["epochs"] = epochs_json(run.epochs, most_epochs);
  if (run.result) {
    for (const ResultRow& row : run.result->rows) {
      Json entry{{"name", row.name}, {"sparse", rounded(row.sparse)}};
      if (row.dense) entry["dense"] = rounded(*row.dense);
      json["result"].push_back(std::move(entry));
    }
    if (Json rows = confusion_json(*run.result); !rows.empty()) {
      json["class_names"] = run.result->class_names;
      json["confusion"] = std::move(rows);
    }
  }
  if (run.end)
    json["end"] = {{"reason", run.end->reason}, {"best_epoch", run.end->best_epoch}, {"exit", run.end->exit}};
  return json;
}

Json recovery_json(const RecoveryRecord& recovery) {
  Json json{{"figures", Json::object()}};
  for (const auto& [name, value] : recovery.figures) json["figures"][name] = value;
  for (const std::size_t step : choice(recovery.psnr.size(), kMostRows))
    json["psnr"].push_back(rounded(recovery.psnr[step]));
  return json;
}

// Nothing in it can end the element that it stands in, or be taken for markup.
std::string inside_script(const Json& json) {
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string safe;
  for (const char c : text)
    if (std::string_view("<>&'").find(c) == std::string_view::npos)
      safe += c;
    else
      safe += fmt::format("\\u{:04x}", c);
  return safe;
}

}  // namespace

std::string page_data(const std::vector<ReportRun>& runs) {
  std::size_t seeds = 0;
  for (const ReportRun& run : runs) seeds += run.seeds.size();
  Json list = Json::array();
  for (const ReportRun& run : runs) {
    Json json{{"name", run.name}};
    for (const RunRecord& seed : run.seeds) json["seeds"].push_back(seed_json(seed, kMostRows / seeds));
    if (run.recovery) json["recovery"] = recovery_json(*run.recovery);
    list.push_back(std::move(json));
  }
  return fmt::format("<script type=\"application/json\" id=\"tulle-data\">{}</script>\n",
                     inside_script({{"runs", std::move(list)}}));
}

}  // namespace tulle
